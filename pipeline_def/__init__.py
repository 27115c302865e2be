"""The one pipeline definition, its config and its local runner."""
