"""`inspect`: what a file is, and what it costs on a board."""
