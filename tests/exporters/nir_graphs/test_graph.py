"""Graphs that cannot be computed, and the order of those that can."""

import h5py
import nir
import numpy as np
import pytest

from tcja_exporters.nir_graphs.graph import load
from tcja_runtime.errors import BadInput

from . import graphs


def with_edges(*edges: tuple[str, str], **nodes: nir.NIRNode):
    """The small graph with more nodes and edges."""

    def make(folder):
        graph = graphs.small()
        graph.nodes.update(nodes)
        graph.edges.extend(edges)
        return graphs.written(graph, folder)

    return make


def by(change):
    return lambda folder: graphs.changed(change, folder)


def unknown(nodes):
    graphs.replaced(nodes, "lif/type", "Izhikevich")


def no_edges(nodes):
    del nodes.parent["edges"]


def odd_edges(nodes):
    graphs.replaced(nodes.parent, "edges", np.array([["a", "b", "c"]], dtype=h5py.string_dtype()))


def without(name):
    def change(nodes):
        del nodes[name]

    return by(change)


def other_shape(nodes):
    graphs.replaced(nodes, "lif/tau", np.ones(4, np.float32))


def recurrent_block(folder):
    """A graph in the graph, as snnTorch writes its recurrent neurons."""
    block = nir.NIRGraph(
        {"input": nir.Input(np.array([5])), "lif": graphs.lif(5), "w_rec": graphs.affine(5, 5)}
        | {"output": nir.Output(np.array([5]))},
        [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
        type_check=False,
    )
    return graphs.written(graphs.chain((6,), (5,), fc=graphs.affine(6, 5), block=block), folder)


BROKEN = {
    "a recurrent edge": (with_edges(("lif", "lif")), "net.nir is recurrent: lif -> lif. Only networks without cycles"),
    "a cycle": (
        with_edges(("lif", "w_rec"), ("w_rec", "lif"), w_rec=graphs.affine(5, 5)),
        "is recurrent: (lif -> w_rec -> lif|w_rec -> lif -> w_rec)",
    ),
    "a cycle in a block": (recurrent_block, r"is recurrent: (block.lif -> block.w_rec|block.w_rec -> block.lif) -> "),
    "an unknown node": (by(unknown), "the node 'lif' has the type Izhikevich, which NIR does not have"),
    "no edges": (by(no_edges), "the graph is not complete: it needs the type NIRGraph, nodes and edges"),
    "edges of three names": (by(odd_edges), r"the edges of the graph have shape \[1, 3\]; an edge is two names"),
    "a missing node": (without("fc"), "an edge of the graph is input -> fc, but there is no node 'fc'"),
    "a missing type": (without("fc/type"), "the node 'fc' has no type"),
    "a missing weight": (without("fc/weight"), r"the node 'fc' \(Affine\) is not complete, .*weight"),
    "wrong shapes": (
        by(other_shape),
        r"the node 'lif' \(LIF\) is not complete, or its arrays do not fit together \(All",
    ),
    "an edge twice": (
        with_edges(("fc", "lif")),
        "the edge fc -> lif is there 2 times; it is not clear what this means",
    ),
    "two inputs": (
        with_edges(("input_2", "fc"), input_2=nir.Input(np.array([6]))),
        r"the graph has 2 nodes of type Input \(input, input_2\); it must have one",
    ),
    "no output": (lambda folder: without_output(folder), "the graph has 0 nodes of type Output; it must have one"),
    "a node without input": (with_edges(("fc_2", "lif"), fc_2=graphs.affine(6, 5)), "no edge leads to the node 'fc_2'"),
    "no way to the output": (lambda folder: cut(folder), r"no edge leads to the node 'output' \(Output\)"),
}


def without_output(folder):
    graph = graphs.small()
    del graph.nodes["output"]
    graph.edges.remove(("lif", "output"))
    return graphs.written(graph, folder)


def cut(folder):
    graph = graphs.small()
    graph.edges.remove(("lif", "output"))
    return graphs.written(graph, folder)


@pytest.mark.parametrize("broken", BROKEN)
def test_graphs_that_cannot_be_computed_are_refused_in_a_line(broken, tmp_path):
    make, text = BROKEN[broken]
    file = make(tmp_path)
    with pytest.raises(BadInput, match=text) as raised:
        load(file)
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)


def test_a_graph_in_a_graph_is_taken_apart(tmp_path):
    block = graphs.small()
    graph = graphs.chain((6,), (5,), block=block, last=graphs.lif(5))
    graph.nodes["probe"] = graphs.lif(5)
    graph.edges.append(("last", "probe"))
    found = load(graphs.written(graph, tmp_path))
    names = [node.name for node in found.nodes]
    assert names == ["input", "block.input", "block.fc", "block.lif", "block.output", "last", "output"]
    assert {node.name: node.sources for node in found.nodes}["last"] == ("block.output",)
    assert found.unused == ("probe",)
