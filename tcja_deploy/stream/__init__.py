"""`stream`: events classified as they come."""
