"""What this machine is: its GPU, its clocks, its power, its JetPack."""
