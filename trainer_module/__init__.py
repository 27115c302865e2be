"""The Estimator model: what a team replaces to run its own."""
