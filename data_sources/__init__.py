"""Fetches, finds, verifies and reads the images."""
