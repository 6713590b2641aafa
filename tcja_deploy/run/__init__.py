"""`run`: recordings and windows classified."""
