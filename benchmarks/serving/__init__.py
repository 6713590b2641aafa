"""Benchmarks: see README.md in the folder above."""
