"""A bundle's network in Python: loaded, called, and fed with recordings and streams."""
