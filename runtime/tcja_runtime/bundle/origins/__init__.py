"""Where a bundle and its engines come from: who signed them, and which engines were added later."""
