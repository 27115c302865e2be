"""Batches → examples, and the gates between the stages."""
