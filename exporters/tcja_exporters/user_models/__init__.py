"""Converts a user's own network: replaces its neurons, and compares the result with the original."""
