"""Classifying events as they come: `stream`."""
