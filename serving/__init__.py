"""What stands behind a pushed model: the model server, its client, and how to deploy both."""
