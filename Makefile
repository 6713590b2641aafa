# Everything is installed in .venv; PYTHON chooses the interpreter that makes it (3.10 to 3.13). With HASHES=1, only files
# are installed whose hashes are in requirements.txt, as in CI, where PyTorch's is that of a CPU build for Python 3.11.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python tools/install.py
BESIDE := $(INSTALL) --no-deps --upgrade --target .venv
INSTALLED := .venv/.installed
TESTABLE := .venv/.testable
ALL_TESTABLE := .venv/.all-testable
PACKAGING := .venv/packaging/.installed
AUDITING := .venv/audit/.installed
# A process a core, as the tests compute on one thread each; a file is one process's, so that what it makes is made once.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile
EXAMPLE := examples/fashion_mnist

.PHONY: help setup demo test test-all fuzz release sbom audit lint docs pictures kill bench clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1,\2/p' $(MAKEFILE_LIST) | while IFS=, read -r target does; do \
		printf '%-14s %s\n' "$$target" "$$does"; done

setup: $(INSTALLED) ## install in .venv what the other targets need; they do it, too

$(INSTALLED): pyproject.toml constraints.txt requirements.txt Makefile
	@echo "Set-up, once: pip installs tcja-deploy, PyTorch and the tools of development in .venv. About 60 packages,"
	@echo "0.4 GB to fetch and 1.5 GB on the disk. PyTorch with CUDA, if pip takes it, is several GB more."
	@$(PYTHON) -m venv .venv
ifdef HASHES
	@$(INSTALL) --require-hashes --no-deps -r requirements.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
else
	@$(INSTALL) -c constraints.txt -e '.[export,rtx,events,images,dev]'
endif
	@mkdir -p build
	@touch $@

# What the tests compare with: other people's neurons; what these require would replace torch.
$(TESTABLE): $(INSTALLED)
	@echo "Set-up of the tests, once: pip installs the libraries that they compare with in .venv, 20 MB."
	@$(INSTALL) -c constraints.txt --no-deps spikingjelly snntorch norse nir nirtorch h5py
	@touch $@

# Compilers and other people's releases, most of which cannot be installed beside each other.
$(ALL_TESTABLE): $(TESTABLE) $(PACKAGING) $(AUDITING)
	@echo "Set-up of all tests, once: pip installs compilers and other people's releases in .venv, 2 GB."
	$(INSTALL) -c constraints.txt --no-deps evio faery hdf5plugin
	$(INSTALL) -c constraints.txt model-signing pyopenssl
	$(INSTALL) -c constraints.txt 'tritonclient[grpc,http]' 'ray[data]'
	$(INSTALL) -c constraints.txt --no-deps rosbags apsw backports.zstd lz4 ruamel.yaml typing_extensions
	if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		$(BESIDE)/spikingjelly-2 spikingjelly==2.0.0 loguru==0.7.3; fi
	$(BESIDE)/tonic tonic==1.7.0
	$(BESIDE)/sinabs sinabs==3.1.3 pbr==7.1.3
	# For the neuron's kernel, none of which needs a GPU: CUDA's compilers and assemblers, TensorRT's
	# bindings with the lean runtime that holds the plugin registry, and the NumPy that older bindings were built for.
	$(BESIDE)/cuda-12 nvidia-cuda-nvrtc-cu12==12.6.85 nvidia-cuda-nvcc-cu12==12.6.85
	$(BESIDE)/cuda-13 nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-nvcc==13.0.88
	$(BESIDE)/tensorrt-10.9 tensorrt-cu12-bindings==10.9.0.34
	$(BESIDE)/tensorrt-10.13 tensorrt-cu12-bindings==10.13.3.9
	$(BESIDE)/tensorrt-10.16 tensorrt-cu13-bindings==10.16.1.11 tensorrt-lean-cu13-libs==10.16.1.11
	$(BESIDE)/tensorrt-11.4 tensorrt-cu13-bindings==11.4.0.106 tensorrt-lean-cu13-libs==11.4.0.106
	if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then \
		$(BESIDE)/tensorrt-10.3 tensorrt-cu12-bindings==10.3.0 && $(BESIDE)/numpy-1 numpy==1.26.4; fi
	# The schemas of Kubernetes and KServe, and the grammar of Prometheus' queries.
	$(BESIDE)/kubernetes kubernetes==34.1.0 kserve==0.21.0 promql-parser==0.12.0
	# A Triton Inference Server, whose Python is an environment of its own: its backend cannot read NumPy 2's arrays.
	if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then \
		$(PYTHON) -m venv .venv/triton && \
		.venv/triton/bin/python tools/install.py --no-deps nvidia-pytriton==0.7.0 && \
		.venv/triton/bin/python tools/install.py numpy==1.26.4 \
			onnxruntime==$$($(BIN)/python -c 'import onnxruntime; print(onnxruntime.__version__)'); fi
	touch $@

demo: setup ## export the example network and prove it
	@rm -rf build/fashion_mnist.bundle
	$(BIN)/tcja-deploy export $(EXAMPLE)/checkpoint.pth --data $(EXAMPLE)/test_1000.npz --out build/fashion_mnist.bundle
	@echo "The report is a page: open build/fashion_mnist.bundle/report.html in a browser."
	@echo "To use the command tcja-deploy in this shell: . $(BIN)/activate"

test: $(TESTABLE) ## run the quick tests: at most five minutes on two cores
	$(PYTEST) -m "not slow and not releases"

test-all: $(ALL_TESTABLE) ## run all tests, as CI does
	$(PYTEST)

# atheris, the coverage-guided fuzzer, is beside the tests' packages; only the campaign needs it.
fuzz: $(TESTABLE) ## damage files of all kinds, 100,000 inputs a parser; takes hours
	@test -d .venv/atheris || $(INSTALL) -c constraints.txt --no-deps --target .venv/atheris atheris
	PYTHONPATH=.venv/atheris $(BIN)/python -m tests.fuzz.campaign

# Two builds are equal to the byte; `build` and setuptools have versions for that.
release: $(PACKAGING) sbom ## build a release in dist, each time the same to the byte
	PYTHONPATH=.venv/packaging $(BIN)/python tools/release.py

$(PACKAGING): $(INSTALLED)
	@$(INSTALL) --upgrade --target .venv/packaging build==1.6.1 cffconvert==2.0.0 twine==7.0.0
	@touch $@

sbom: $(AUDITING) ## write what is installed, and its licences, in dist (CycloneDX)
	@mkdir -p dist
	.venv/audit/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --output-file dist/tcja-deploy.cdx.json

audit: $(AUDITING) ## ask for known weaknesses of what is installed
	$(BIN)/python tools/audit.py

$(AUDITING): $(INSTALLED)
	@$(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/python tools/install.py pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

lint: setup ## check the code with ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The site, in build/site. Its builder has an environment of its own, and reads the source without importing it.
docs: .venv/docs/.installed ## build the site in build/site
	NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build

.venv/docs/.installed: constraints.txt
	@mkdir -p .venv
	@echo "Set-up of the site, once: pip installs what builds it in .venv/docs, 0.2 GB on the disk."
	@$(PYTHON) -m venv .venv/docs
	@.venv/docs/bin/python tools/install.py -c constraints.txt mkdocs-material 'mkdocstrings[python]' ruff
	@touch $@

pictures: setup ## make the pictures of the documents from real runs; needs Chromium
	$(BIN)/python tools/pictures.py
	$(BIN)/python tools/figures.py docs/images

kill: setup ## kill commands at 100 random moments; takes a quarter of an hour
	$(BIN)/python -m benchmarks.robustness.kill

bench: $(TESTABLE) ## measure ratios against named peers; takes most of an hour
	$(BIN)/python -m benchmarks.speed.speed --json build/speed.json --plot build/speed.svg
	$(BIN)/python -m benchmarks.export.cost
	$(BIN)/python -m benchmarks.events.integration

clean: ## remove what was installed and built
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
