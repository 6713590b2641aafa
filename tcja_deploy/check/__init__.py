"""The work of `check`: what an export would make of a network, without exporting it."""
