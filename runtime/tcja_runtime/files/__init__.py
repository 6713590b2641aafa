"""Folders that are written as a whole or not at all, journals of long work, and archives of arrays."""
