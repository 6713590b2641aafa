"""Folders that are written whole or not at all, journals of long work, and archives of arrays."""
