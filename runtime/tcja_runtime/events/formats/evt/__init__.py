"""Prophesee .raw: lines that begin with '%', then words of 16, 32 or 64 bits: EVT3, EVT2 and EVT 2.1."""
