"""Serving of pushed models: the model server, its clients, and deployment files."""
