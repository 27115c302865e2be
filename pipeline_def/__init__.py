"""The one pipeline definition, its config, its local runner and its command line."""
