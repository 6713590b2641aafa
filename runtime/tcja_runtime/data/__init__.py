"""Windows that a network takes: their contract, and where they come from."""
