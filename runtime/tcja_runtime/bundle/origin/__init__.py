"""Where a bundle and its engines come from: who signed them, which were added later, and which were built here."""
