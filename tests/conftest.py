from __future__ import annotations

import fcntl
import functools
import gc
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch.onnx._internal.exporter import _registration

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest has it

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.graph.exported import Exported, save
from tcja_runtime.tensorrt.build import installed

from . import networks

torch.set_num_threads(1)  # the networks are small, and threads that wait for each other cost more than they help

# Each export of torch reads the sources of its 500 functions that make ONNX nodes, and makes the same table of them.
_registration.ONNXRegistry.from_torchlib = staticmethod(functools.cache(_registration.ONNXRegistry.from_torchlib))

# A job in the background of a script ignores Ctrl-C, and so would what the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory) -> Iterator[None]:
    """Folders for caches, states and configurations for the tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        for name in ("TCJA_PUBLIC_KEYS", "TCJA_REQUIRE_SIGNATURE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def simulated(monkeypatch) -> pytest.MonkeyPatch:
    """A machine with a GPU and TensorRT, both simulated (tests/simulated/README.md); sets what they are."""
    folder = Path(__file__).parent / "simulated"
    real = [name for name in sys.modules if name.partition(".")[0] in ("tensorrt", "cuda")]
    for name in real:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]))
    importlib.invalidate_caches()
    yield monkeypatch
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tensorrt", "cuda")]:
        del sys.modules[name]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests with NVIDIA's real builder where it is not installed."""
    if item.get_closest_marker("rtx") and "tensorrt-rtx" not in installed():
        pytest.skip("tensorrt-rtx is not installed")


MANY = 50
"""So many new modules, as those of PyTorch that the first export imports, are worth a walk through all objects."""

_frozen: set[str] = set()
"""The modules that the garbage collector leaves alone."""


def pytest_collection_finish() -> None:
    """Keep what was imported out of the garbage collector, which else walks all of it in every export."""
    if len(sys.modules) >= len(_frozen) + MANY:
        gc.collect()
        gc.freeze()
        _frozen.update(sys.modules)


def pytest_runtest_logfinish() -> None:
    """Do so again when a test has imported much."""
    pytest_collection_finish()


Made = TypeVar("Made")


Entries = Mapping[str, Mapping[str, str]]


@pytest.fixture
def install(tmp_path, monkeypatch) -> Iterator[Callable[..., None]]:
    """Install the package in tests/extension_package: with the entry points of its pyproject.toml, or with others."""

    def installed(entries: Entries | None = None, package: str = "blink") -> None:
        source, site = Path(__file__).parent / "extension_package", tmp_path / f"site-{package}"
        told = tomllib.loads((source / "pyproject.toml").read_text())["project"]
        shutil.copytree(source / "blink", site / "blink")
        about = site / f"{package}-{told['version']}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {told['version']}\n")
        lines = [
            line
            for group, added in (told["entry-points"] if entries is None else entries).items()
            for line in (f"[{group}]", *(f"{name} = {place}" for name, place in added.items()))
        ]
        (about / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(site)

    yield installed
    for name in [name for name in sys.modules if name.partition(".")[0] == "blink"]:
        del sys.modules[name]


class Once(dict[str, Made]):
    """What is made of each small network when it is first asked for.

    Args:
        make: makes it of a network's name.
    """

    def __init__(self, make: Callable[[str], Made]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> Made:
        self[name] = self._make(name)
        return self[name]


@pytest.fixture(params=["fashion_mnist", pytest.param("dvs128", marks=pytest.mark.slow)])
def name(request) -> str:
    """One network of `networks.SMALL`, and where slow tests run the other one; `networks.BOTH` asks for both."""
    return request.param


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> Once[tuple[Exported, Path]]:
    """The small networks exported: both models in memory, and the folder they were saved to."""

    def make(name: str) -> tuple[Exported, Path]:
        small, folder = networks.SMALL[name], tmp_path_factory.mktemp(name)
        contract, metadata = small.network.contract(small.sizes), {"producer": "tests", "T": "5"}
        exported = export_onnx(small.module(), contract, small.network.output, metadata)
        save(exported, folder)
        return exported, folder

    return Once(make)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Once[Path]:
    """For each small network a data file of 12 windows, labelled with what the trained network says of all but two."""

    def make(name: str) -> Path:
        small = networks.SMALL[name]
        inputs = small.inputs(12, seed=7)
        with torch.no_grad():
            labels = small.module()(inputs).argmax(1).numpy()
        labels[:2] = (labels[:2] + 1) % len(small.network.classes(small.sizes))
        file = tmp_path_factory.mktemp("data") / f"{name}.npz"
        np.savez_compressed(file, labels=labels, **{small.network.contract(small.sizes).name: inputs.numpy()})
        return file

    return Once(make)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """A folder that all processes of a run of the tests have in common; the first that asks for it fills it."""
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "shared"

    def filled(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        root.mkdir(exist_ok=True)
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return filled


@pytest.fixture(scope="session")
def _bundles(shared, data) -> Once[Path]:
    def make(name: str) -> Path:
        def export(folder: Path) -> None:
            checkpoint = networks.SMALL[name].checkpoint(folder / f"{name}.pth")
            out = folder / f"{name}.bundle"
            pipeline.export(ExportRequest(checkpoint=checkpoint, out=out, data=data[name], target="onnx"))

        return shared(f"bundle-{name}", export) / f"{name}.bundle"

    return Once(make)


@pytest.fixture
def bundle(_bundles, name, tmp_path) -> Path:
    """A bundle of each small network, to do with as one likes."""
    return Path(shutil.copytree(_bundles[name], tmp_path / f"{name}.bundle"))


@pytest.fixture(scope="session")
def streamed(shared, tmp_path_factory) -> Callable[[networks.Small], Path]:
    """Export a small network with --streaming, once; the bundle is to be read alone."""

    @functools.cache
    def exported(small: networks.Small) -> Path:
        def export(folder: Path) -> None:
            checkpoint, out = small.checkpoint(folder / "model.pth"), folder / "original.bundle"
            pipeline.export(ExportRequest(checkpoint=checkpoint, out=out, target="onnx", samples=4, streaming=True))

        if networks.SMALL.get(small.name) is small:
            return shared(f"streamed-{small.name}", export) / "original.bundle"
        export(folder := tmp_path_factory.mktemp(small.name))
        return folder / "original.bundle"

    return exported
