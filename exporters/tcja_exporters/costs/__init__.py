"""What a network costs on a named board, estimated from its graph."""
