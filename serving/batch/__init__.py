"""Predictions of whole folders and files, without a server: `cifar predict --batch`."""
