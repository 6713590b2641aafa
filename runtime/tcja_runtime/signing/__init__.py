"""Signatures: the keys, who signed a list of files, and whom the user trusts. It knows nothing of bundles."""
