"""Damaged and hostile content for every parser: by hypothesis in `make test-all`, guided by coverage in `make fuzz`."""
