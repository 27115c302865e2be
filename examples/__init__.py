"""Trainer modules to start from; docs/your_own_estimator.md walks through them."""
