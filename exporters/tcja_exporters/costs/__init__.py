"""The costs of a network on a named board, estimated from its graph."""
