"""The windows that a network takes: their contract, and the files, recordings and streams that they come from."""
