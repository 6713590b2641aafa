"""The nodes of a NIR graph in the order in which they are computed.

Graphs inside a graph are taken apart: the node `lif` of the graph `block` is `block.lif`. Where several edges lead to
a node, its input is their sum.

Source: Pedersen et al., "Neuromorphic intermediate representation", Nature Communications 15 (2024), 8122; ``nir/ir``
of nir 1.0.8.
"""

from __future__ import annotations

import dataclasses
import graphlib
import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tcja_exporters.nir_graphs.file import Fields, content_of, read
from tcja_runtime.counting import listed
from tcja_runtime.errors import BadInput, first_line

_SHOWN = 6  # the number of names in a message
_GRAPH, _INPUT, _OUTPUT = "NIRGraph", "Input", "Output"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """A node of a graph.

    Attributes:
        name: its name.
        kind: its type, such as "LIF".
        values: the node of the package nir, with its arrays.
        sources: the names of the nodes whose outputs are added to its input.
    """

    name: str
    kind: str
    values: Any
    sources: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
    """A graph with one input and one output, without cycles.

    Attributes:
        nodes: the nodes, each after its sources; the first is the input, the last the output.
        unused: the names of the nodes of which the output does not depend. They are not in `nodes`.
        sha256: the hash of the file that was read.
        bytes: the size of the file.
    """

    nodes: tuple[Node, ...]
    unused: tuple[str, ...]
    sha256: str
    bytes: int


def load(path: Path) -> Graph:
    """Return the graph in a NIR file.

    Raises:
        BadInput: the file cannot be read (`tcja_exporters.nir_graphs.file.read`), or the graph cannot be computed: a
            node is unknown or not complete, edges are missing, or nodes form a cycle.
        Unavailable: a package is missing.
    """
    content = content_of(path)
    found = _Found(path)
    first, last = found.graph("", read(path, content))
    order = _ordered(path, found)
    needed = {last}
    for name in reversed(order):
        if name in needed:
            needed.update(found.sources[name])
    for name in order:
        if name in needed and name != first and not found.sources[name]:
            raise BadInput(f"{path}: no edge leads to the node '{name}' ({_kind(found.nodes[name])})")
    nodes = {
        name: Node(name=name, kind=_kind(found.nodes[name]), values=found.nodes[name], sources=tuple(sources))
        for name, sources in found.sources.items()
    }
    rest = [name for name in order if name in needed and name not in (first, last)]
    return Graph(
        nodes=(nodes[first], *(nodes[name] for name in rest), nodes[last]),
        unused=tuple(sorted(set(order) - needed)),
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
    )


class _Found:
    """The nodes of a file and of the graphs in it, by name, and the sources of each.

    Args:
        path: the file, for messages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nodes: dict[str, Any] = {}
        self.sources: dict[str, list[str]] = {}

    def graph(self, name: str, fields: Fields) -> tuple[str, str]:
        """Add the nodes of a graph; return the names of its input and its output."""
        title = f"the graph '{name}'" if name else "the graph"
        nodes, edges = fields.get("nodes"), fields.get("edges")
        if (
            fields.get("type") != _GRAPH
            or not isinstance(nodes, dict)
            or edges is None
            or isinstance(edges, (str, dict))
        ):
            raise BadInput(f"{self.path}: {title} is not complete: it needs the type {_GRAPH}, nodes and edges")
        prefix = f"{name}." if name else ""
        ends: dict[str, tuple[str, str]] = {}
        for key, node in nodes.items():
            if isinstance(node, dict) and node.get("type") == _GRAPH:
                ends[key] = self.graph(prefix + key, node)
            else:
                self._add(prefix + key, node)
                ends[key] = (prefix + key, prefix + key)
        if edges.size and edges.shape[1:] != (2,):
            raise BadInput(f"{self.path}: the edges of {title} have shape {list(edges.shape)}; an edge is two names")
        self._connect(title, [(str(a), str(b)) for a, b in edges], ends)
        return self._end(title, _INPUT, ends), self._end(title, _OUTPUT, ends)

    def _add(self, name: str, fields: Any) -> None:
        import nir

        kind = fields.get("type") if isinstance(fields, dict) else None
        if not isinstance(kind, str):
            raise BadInput(f"{self.path}: the node '{name}' has no type")
        if kind not in vars(nir.ir):
            raise BadInput(f"{self.path}: the node '{name}' has the type {kind}, which NIR does not have")
        if name in self.nodes:
            raise BadInput(f"{self.path} has two nodes '{name}'")
        try:
            self.nodes[name] = nir.dict2NIRNode(_without_shapes(fields))
        except Exception as error:  # the package asserts, and raises errors of any kind
            raise BadInput(
                f"{self.path}: the node '{name}' ({kind}) is not complete, or its arrays do not fit together "
                f"({first_line(error)})"
            ) from error
        self.sources[name] = []

    def _connect(self, title: str, edges: list[tuple[str, str]], ends: Mapping[str, tuple[str, str]]) -> None:
        """Add edges between nodes, given the input and output of each node and graph."""
        for (a, b), count in Counter(edges).items():
            missing = next((name for name in (a, b) if name not in ends), None)
            if missing is not None:
                raise BadInput(f"{self.path}: an edge of {title} is {a} -> {b}, but there is no node '{missing}'")
            if count > 1:
                raise BadInput(
                    f"{self.path}: the edge {a} -> {b} is there {count} times; it is not clear what this means"
                )
            self.sources[ends[b][0]].append(ends[a][1])

    def _end(self, title: str, kind: str, ends: Mapping[str, tuple[str, str]]) -> str:
        """Return the name of the input or the output of a graph."""
        names = [name for name, (first, last) in ends.items() if first == last and _kind(self.nodes[first]) == kind]
        if len(names) != 1:
            there = f" ({listed(names, _SHOWN)})" if names else ""
            raise BadInput(f"{self.path}: {title} has {len(names)} nodes of type {kind}{there}; it must have one")
        return ends[names[0]][0]


def _without_shapes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a node without the shape of its input, which follows from the windows of the network.

    Some writers leave it out, and the package nir computes with it before anything is checked.
    """
    own = {name: value for name, value in fields.items() if name not in ("input_shape", "input_type")}
    return {**own, "input_shape": None} if own["type"] in ("Conv1d", "Conv2d") else own


def _ordered(path: Path, found: _Found) -> list[str]:
    """Return the names of all nodes, each after its sources.

    Raises:
        BadInput: nodes form a cycle.
    """
    try:
        return list(graphlib.TopologicalSorter(found.sources).static_order())
    except graphlib.CycleError as error:
        cycle = list(reversed(error.args[1]))  # graphlib goes from a node to its source
        shown = " -> ".join(cycle[:_SHOWN] + ["..."] * (len(cycle) > _SHOWN))
        raise BadInput(
            f"{path} is recurrent: {shown}. Only networks without cycles can be exported: in a cycle, a layer waits "
            "for its own spikes of the time step before"
        ) from error


def _kind(node: Any) -> str:
    return type(node).__name__
