"""The float64 reference of a network, and the rounding bound of each of its values."""
