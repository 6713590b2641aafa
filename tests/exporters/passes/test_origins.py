"""Where the constants of a graph come from, after passes that move, compute and fold them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import helper
from torch import nn

from tcja_exporters import passes
from tcja_exporters.passes.origins import NOTHING, Norm, Origin, first_names, mark_parameters, origin_of

from .graphs import floats, model


def folded(nodes, **constants) -> dict[str, Origin]:
    """The origins of the constants that the nodes from x [2, 4] to y read, after all passes."""
    graph = gs.import_onnx(model(nodes, ["n", 4], **constants))
    mark_parameters(graph, {name: name for name in constants if not name.startswith("_")})
    passes.run(graph)
    return {t.name: origin_of(t) for t in graph.tensors().values() if isinstance(t, gs.Constant)}


def product(tensor: str) -> onnx.NodeProto:
    return helper.make_node("MatMul", ["x", tensor], ["y"])


COMPUTED = Origin(parameters=frozenset(["w"]))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([], Origin(parameters=frozenset(["w"]), copied="w")),
        ([("Identity", {})], Origin(parameters=frozenset(["w"]), copied="w")),
        ([("Transpose", {"perm": [1, 0]})], Origin(parameters=frozenset(["w"]), copied="w", transposed=True)),
        ([("Transpose", {})], Origin(parameters=frozenset(["w"]), copied="w", transposed=True)),
        ([("Transpose", {"perm": [1, 0]})] * 2, Origin(parameters=frozenset(["w"]), copied="w")),
        ([("Abs", {})], COMPUTED),
        ([("Neg", {}), ("Transpose", {"perm": [1, 0]})], COMPUTED),
        ([("Transpose", {"perm": [1, 0]}), ("Sign", {})], COMPUTED),
    ],
)
def test_a_copy_is_told_from_a_computed_constant(nodes, expected):
    made = ["w", *(f"w{i}" for i in range(len(nodes)))]
    chain = [helper.make_node(op, [a], [b], **kw) for (op, kw), a, b in zip(nodes, made, made[1:], strict=False)]
    (found,) = folded([*chain, product(made[-1])], w=floats(4, 4)).values()
    assert found == expected


def test_a_constant_of_several_parameters_depends_on_all():
    nodes = [
        helper.make_node("Mul", ["w", "scale"], ["m"]),
        helper.make_node("Add", ["m", "_one"], ["n"]),
        product("n"),
    ]
    found = folded(nodes, w=floats(4, 4), scale=floats(1), _one=floats(1))
    assert list(found.values()) == [Origin(parameters=frozenset(["w", "scale"]))]


def test_a_constant_of_no_parameter_has_no_origin():
    assert list(folded([product("_w")], _w=floats(4, 4)).values()) == [NOTHING]


NORM = Norm(scale="scale", shift="shift", mean="mean", variance="variance", epsilon=float(np.float32(1e-3)))


def normed(computed: str = "", **given: np.ndarray) -> dict[str, Origin]:
    """Of a Gemm and a batch norm after it; one constant of the batch norm is computed by Abs."""
    names = ["scale", "shift", "mean", "variance"]
    used = [f"{name}_abs" if name == computed else name for name in names]
    nodes = [helper.make_node("Abs", [computed], [f"{computed}_abs"])] if computed else []
    nodes += [
        helper.make_node("Gemm", ["x", "w", "b"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *used], ["y"], epsilon=1e-3),
    ]
    constants = {name: np.abs(floats(4)) for name in names} | given
    renamed = {name: f"_{name}" for name in given}
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    return folded(nodes, w=floats(4, 4), b=floats(4), **{renamed.get(k, k): v for k, v in constants.items()})


def test_a_folded_batch_norm_is_remembered():
    everything = frozenset(["scale", "shift", "mean", "variance"])
    assert normed() == {
        "y/weight": Origin(parameters=everything | {"w"}, copied="w", norm=NORM),
        "y/bias": Origin(parameters=everything | {"b"}, copied="b", norm=NORM),
    }


@pytest.mark.parametrize("computed", ["scale", "shift", "mean", "variance"])
def test_a_folded_batch_norm_of_computed_constants_is_computed(computed):
    found = normed(computed)
    assert {each.copied for each in found.values()} == {None}
    assert all(computed in each.parameters for each in found.values())


@pytest.mark.parametrize(("value", "copied"), [(1.0, "w"), (2.0, None)])
def test_a_batch_norm_without_scale_has_ones(value, copied):
    found = normed(scale=np.full(4, value, np.float32))["y/weight"]
    assert found.copied == copied
    assert copied is None or found.norm.scale is None


def test_a_parameter_of_two_names_has_the_first():
    net = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2)])
    net[1].weight = net[0].weight
    net.append(net[2])
    names = first_names(net)
    assert (names["0.weight"], names["1.weight"], names["1.bias"]) == ("0.weight", "0.weight", "1.bias")
    assert (names["3.running_mean"], names["3.weight"]) == ("2.running_mean", "2.weight")
