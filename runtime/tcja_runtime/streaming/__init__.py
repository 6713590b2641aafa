"""Classifying events as they come."""
