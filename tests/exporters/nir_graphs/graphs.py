"""Small NIR files, written by the package nir, and damaged ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import nir
import numpy as np


def lif(*shape: int, **constants: float) -> nir.LIF:
    values = {"tau": 4e-4, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.5, "v_reset": 0.0, **constants}
    return nir.LIF(**{name: np.full(shape, value, np.float32) for name, value in values.items()})


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-8, 12, shape).astype(np.float32) / 4


def affine(ins: int, outs: int) -> nir.Affine:
    return nir.Affine(weight=weights(outs, ins), bias=np.zeros(outs, np.float32))


def conv(**changed: object) -> nir.Conv2d:
    fields = {
        "input_shape": None,
        "weight": weights(3, 2, 3, 3),
        "stride": (1, 1),
        "padding": (1, 1),
        "dilation": (1, 1),
        "groups": 1,
        "bias": np.zeros(3, np.float32),
    }
    return nir.Conv2d(**{**fields, **changed})


def chain(item: tuple[int, ...], units: tuple[int, ...], **nodes: nir.NIRNode) -> nir.NIRGraph:
    """A graph of nodes one after the other."""
    named = {"input": nir.Input(np.array(item)), **nodes, "output": nir.Output(np.array(units))}
    names = list(named)
    return nir.NIRGraph(named, list(itertools.pairwise(names)), type_check=False)


def small() -> nir.NIRGraph:
    return chain((6,), (5,), fc=affine(6, 5), lif=lif(5))


def written(graph: nir.NIRGraph, folder: Path, name: str = "net.nir") -> Path:
    for node in graph.nodes.values():  # nir.write needs the shapes of these inputs, and they are not read
        if isinstance(node, (nir.Conv1d, nir.Conv2d)):
            node.input_shape = (1, 1)
        if isinstance(node, nir.Flatten):
            node.input_type = {"input": np.array([1])}
    file = folder / name
    nir.write(file, graph, compression=None)
    return file


@contextmanager
def opened(file: Path) -> Iterator[h5py.Group]:
    """The group of the nodes of a file, to be changed."""
    with h5py.File(file, "r+") as content:
        yield content["node/nodes"]


def changed(change: Callable[[h5py.Group], None], folder: Path) -> Path:
    """The small graph, with a change of the group of its nodes."""
    file = written(small(), folder)
    with opened(file) as nodes:
        change(nodes)
    return file


def replaced(group: h5py.Group, name: str, value: object) -> None:
    del group[name]
    group.create_dataset(name, data=value)
