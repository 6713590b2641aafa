"""The results of the functions for Python, a module each."""
