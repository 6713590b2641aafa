"""A user's own network: its neurons replaced, and the result compared with it."""
