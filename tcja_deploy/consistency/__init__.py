"""What a bundle's golden vectors can prove: they contradict nothing, and their rounding bounds are not too wide."""
