# Everything is installed in .venv; PYTHON chooses the interpreter that makes it (3.10 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
EXAMPLE := examples/fashion_mnist

.PHONY: setup demo test test-slow lint bench clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[export,rtx,dev]'
	# Other people's neurons, for the tests; their own requirements would replace torch. The second SpikingJelly cannot
	# be installed beside the first.
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps \
		spikingjelly snntorch norse nir nirtorch h5py
	if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade \
			--target .venv/spikingjelly-2 spikingjelly==2.0.0 loguru==0.7.3; fi
	mkdir -p build
	touch $@

demo: setup
	rm -rf build/fashion_mnist.bundle
	$(BIN)/tcja-deploy export $(EXAMPLE)/checkpoint.pth --data $(EXAMPLE)/test_1000.npz --out build/fashion_mnist.bundle

test: setup
	$(BIN)/python -m pytest -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/export_cost.py

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache *.egg-info
