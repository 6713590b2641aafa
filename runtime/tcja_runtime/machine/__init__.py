"""This machine: its GPU, its clocks, its power and its JetPack."""
