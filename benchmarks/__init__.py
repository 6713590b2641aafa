"""Benchmarks: ratios against named peers, measured in one run. README.md says what each script measures."""
