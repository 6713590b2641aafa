from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import Request
from tcja_exporters.graph import export
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.networks import NETWORKS

from . import networks

torch.set_num_threads(1)  # the networks are small, and threads that wait for each other cost more than they help

# A job in the background of a script ignores Ctrl-C, and so would what the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory) -> Iterator[None]:
    """A cache folder for the tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
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


@pytest.fixture(params=list(networks.SMALL))
def name(request) -> str:
    """Each network of networks.SMALL."""
    return request.param


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> dict[str, tuple[Exported, Path]]:
    """The small networks exported: both models in memory, and the folder they were saved to."""
    done = {}
    for name, small in networks.SMALL.items():
        network = small.network
        contract = network.contract(networks.SMALL[name].sizes)
        exported = export.export(
            networks.SMALL[name].module(), contract, network.output, {"producer": "tests", "T": "5"}
        )
        folder = tmp_path_factory.mktemp(name)
        save(exported, folder)
        done[name] = exported, folder
    return done


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> dict[str, Path]:
    """For each small network a data file of 12 windows, labelled with what the trained network says of all but two."""
    files = {}
    for name in networks.SMALL:
        inputs = networks.SMALL[name].inputs(12, seed=7)
        with torch.no_grad():
            labels = networks.SMALL[name].module()(inputs).argmax(1).numpy()
        labels[:2] = (labels[:2] + 1) % len(NETWORKS[name].classes(networks.SMALL[name].sizes))
        files[name] = tmp_path_factory.mktemp("data") / f"{name}.npz"
        array = {NETWORKS[name].contract(networks.SMALL[name].sizes).name: inputs.numpy()}
        np.savez_compressed(files[name], labels=labels, **array)
    return files


@pytest.fixture(scope="session")
def _bundles(tmp_path_factory, data) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    for name in networks.SMALL:
        checkpoint = networks.SMALL[name].checkpoint(folder / f"{name}.pth")
        pipeline.export(Request(checkpoint=checkpoint, out=folder / f"{name}.bundle", data=data[name], target="onnx"))
    return {name: folder / f"{name}.bundle" for name in networks.SMALL}


@pytest.fixture
def bundle(_bundles, name, tmp_path) -> Path:
    """A bundle of each small network, to do with as one likes."""
    return Path(shutil.copytree(_bundles[name], tmp_path / f"{name}.bundle"))
