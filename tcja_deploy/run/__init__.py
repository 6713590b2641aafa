"""`run`: classifying recordings and windows."""
