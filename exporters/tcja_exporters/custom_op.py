"""The custom operator tcja::TcjaLif: one spiking layer over a whole window.

    TcjaLif(current [T, ...]) -> spikes [T, ...], or the membranes of an integrator [T, ...]

Attributes: decay, gain, bias, threshold, v_reset, v_initial, v_rest, rate, tau (float; tau is 0 where the neuron does
not divide by it), strict (int), charge_order, reset and returns (string), as in `tcja_runtime.neuron.NeuronSpec`; slope
(float) and rescales (int) of a neuron that has a slope. A constant that differs by channel or by neuron is a list of
floats, and its shape is in a second attribute: threshold_shape (ints).

A model-local function defines the operator: a Scan over time with the equations of `tcja_runtime.neuron`, or one step
for all times if no time step depends on another (`instant`). So any ONNX runtime can run it. A TensorRT plugin of the
same name can replace the function. For the plain model, `tcja_exporters.time_forms` replaces each TcjaLif node by
standard operators.

TensorRT finds functions and plugins by the name of the operator and ignores the domain. So the name differs from those
of all standard operators, and the domain has no dot.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tcja_runtime.bundle import conformance
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.model_file import protobuf
from tcja_runtime.neuron import NeuronSpec

DOMAIN = "tcja"
NAME = "TcjaLif"
STEP = "TcjaLifStep"
"""The operator for one time step, in networks that loop over time themselves (`tcja_exporters.graph.step_joining`)."""
VERSION = 1
OPSET = 18

_STRINGS = ("charge_order", "reset", "returns")

Constants = Callable[[str], str]
"""Returns the name of the tensor that holds a constant of the neuron, given the constant's name."""


def is_own(domain: str) -> bool:
    """Whether a domain is one of this operator: "tcja", or "tcja2", "tcja3", ... of further functions (`define`)."""
    return domain.startswith(DOMAIN)


def is_neuron(node: onnx.NodeProto) -> bool:
    """Whether a node is a TcjaLif node."""
    return node.op_type == NAME and is_own(node.domain)


def fires(node: onnx.NodeProto) -> bool:
    """Whether a node is a TcjaLif node, or a step of one, whose neurons fire; the others are integrators."""
    returns = next((attribute.s for attribute in node.attribute if attribute.name == "returns"), b"spikes")
    return node.op_type in (NAME, STEP) and is_own(node.domain) and returns != b"membranes"


def attributes(spec: NeuronSpec) -> dict[str, Any]:
    """Return the attributes of a TcjaLif node, by name, from the constants of its neuron."""
    made: dict[str, Any] = {name: getattr(spec, name) or 0.0 for name in spec.CONSTANTS}
    if spec.slope is None:
        del made["slope"]
    else:
        made["rescales"] = int(spec.rescales)
    for name, value in spec.arrays.items():
        made |= {name: list(value.values), name + conformance.SHAPE: list(value.shape)}
    return {**made, **{name: getattr(spec, name) for name in _STRINGS}, "strict": int(spec.strict)}


def spec_of(node: onnx.NodeProto) -> NeuronSpec:
    """Return the neuron of a TcjaLif node, with its constants as the node stores them, in float32.

    Raises:
        ValueError: an attribute is missing, or no neuron has such constants.
    """
    return conformance.spec_of(protobuf.attributes(node.SerializeToString()))


def operations(step: Iterable[onnx.NodeProto]) -> int:
    """Return the number of arithmetic operations of one neuron in one time step.

    Every node counts as one operation, except constants, copies, casts and reshapes.

    Args:
        step: the nodes of a time step.
    """
    return sum(node.op_type not in ("Constant", "Identity", "Cast", "Reshape") for node in step)


def step_of(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the nodes of one time step of a TcjaLif node, in standard operators."""
    return step_nodes(spec_of(node), "v", "x", lambda name: name, "")[0]


def define(model: onnx.ModelProto) -> None:
    """Add the functions that define a model's TcjaLif nodes, in place.

    A function leaves out terms that change no bit (a gain of 1, a bias of 0), so different neurons may need different
    functions. The first one is of the domain "tcja", the next ones are of "tcja2", "tcja3", ... An overload would tell
    them apart, too, but ONNX Runtime up to 1.23 at least ignores it, and computes every neuron by the first function.
    """
    domains: dict[bytes, str] = {}
    for node in filter(is_neuron, model.graph.node):
        function = _function(spec_of(node))
        content = function.SerializeToString(deterministic=True)
        if content not in domains:
            domains[content] = f"{DOMAIN}{len(domains) + 1}" if domains else DOMAIN
            function.domain = domains[content]
            model.functions.append(function)
        node.domain = domains[content]
    _import(model, domains.values())


def undefine(model: onnx.ModelProto) -> None:
    """Remove the functions that define a model's TcjaLif nodes, and what told the nodes apart, in place."""
    del model.functions[:]
    for node in filter(is_neuron, model.graph.node):
        node.domain = DOMAIN
    _import(model, [DOMAIN])


def _import(model: onnx.ModelProto, domains: Iterable[str]) -> None:
    """Let a model import domains of this operator, and no other ones of it."""
    others = [opset for opset in model.opset_import if not is_own(opset.domain)]
    del model.opset_import[:]
    model.opset_import.extend([*others, *(helper.make_opsetid(domain, VERSION) for domain in domains)])


def _function(spec: NeuronSpec) -> onnx.FunctionProto:
    """Return the function that defines the TcjaLif operator for one neuron."""
    used: dict[str, list[onnx.NodeProto]] = {}

    def constant(name: str) -> str:
        if name not in used:
            used[name] = _stored(spec, name, "" if spec.instant else "current")
        return name

    if spec.instant:
        nodes = instant_nodes(spec, "current", constant, "")
    else:
        nodes = _scan(spec, "current", "spikes", constant, "")
    return helper.make_function(
        DOMAIN,
        NAME,
        ["current"],
        ["spikes"],
        [*itertools.chain(*used.values()), *nodes],
        [helper.make_opsetid("", OPSET)],
        attributes=list(attributes(spec)),
    )


def _stored(spec: NeuronSpec, name: str, current: str) -> list[onnx.NodeProto]:
    """Return the nodes that read a constant from the attributes of a function.

    Args:
        spec: the neuron.
        name: the name of the constant.
        current: the name of the current [T, N, ...] over whose neurons an array is spread, which are then on one axis;
            empty if an array is not spread.
    """

    def attribute(of: str, kind: str, output: str) -> onnx.NodeProto:
        node = helper.make_node("Constant", [], [output], name=output)
        number = onnx.AttributeProto.AttributeType.Value(kind.upper())
        node.attribute.append(onnx.AttributeProto(name=f"value_{kind}", ref_attr_name=of, type=number))
        return node

    if name not in spec.arrays:
        return [attribute(name, "float", name)]
    values, shape = f"{name}_values", name + conformance.SHAPE
    return [
        attribute(name, "floats", values),
        attribute(shape, "ints", shape),
        helper.make_node("Reshape", [values, shape], [f"{name}_array" if current else name], name=f"{name}_array"),
        *(spread(f"{name}_array", current, name) if current else ()),
    ]


def spread(array: str, current: str, name: str) -> list[onnx.NodeProto]:
    """Return the nodes that spread a constant over all neurons of a layer, which are on one axis.

    Args:
        array: the name of the constant, whose shape broadcasts to that of one step of the current.
        current: the name of the current [T, N, ...].
        name: the name of the result.
    """
    nodes: list[onnx.NodeProto] = []

    def op(kind: str, inputs: list[str], made: str, **attrs: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [made], name=made, **attrs))
        return made

    step = op("Shape", [current], f"{name}/step", start=1)
    one_axis = op("Constant", [], f"{name}/one_axis", value_ints=[-1])
    op("Reshape", [op("Expand", [array, step], f"{name}/all"), one_axis], name)
    return nodes


def _scan(spec: NeuronSpec, current: str, spikes: str, constant: Constants, prefix: str) -> list[onnx.NodeProto]:
    """Return the nodes that run the neuron from rest over the first axis of `current`, which is time."""
    v, x = prefix + "v", prefix + "x"
    step, v_next, s = step_nodes(spec, v, x, constant, prefix)
    return scan(current, spikes, constant("v_initial"), body(step, (v, x), (v_next, s), prefix), prefix)


def instant_nodes(spec: NeuronSpec, current: str, constant: Constants, prefix: str) -> list[onnx.NodeProto]:
    """Return the nodes of a neuron whose spikes depend on the current of the same step alone, for all steps at once.

    Args:
        spec: the neuron, of which `instant` is true.
        current: the name of the current [T, ...].
        constant: a function that returns the name of the tensor of a constant, given the constant's name.
        prefix: the start of the nodes' names. The name of the spikes is this prefix and "spikes".
    """
    nodes: list[onnx.NodeProto] = []

    def op(kind: str, inputs: list[str], name: str, **attrs: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [prefix + name], name=prefix + name, **attrs))
        return prefix + name

    h = op("Mul", [current, constant("gain")], "driven") if spec.gain != 1.0 else current
    h = op("Add", [h, constant("bias")], "biased") if spec.bias else h
    fires = op("Greater" if spec.strict else "GreaterOrEqual", [h, constant("threshold")], "fires")
    op("Cast", [fires], "spikes", to=onnx.TensorProto.FLOAT)
    return nodes


def body(
    step: list[onnx.NodeProto], takes: tuple[str, str], makes: tuple[str, str], prefix: str, *, rank: int = 1
) -> onnx.GraphProto:
    """Return the body of a Scan over time steps.

    Args:
        step: the nodes of a time step.
        takes: the names of the two inputs of the step: the membrane and the current.
        makes: the names of the two outputs of the step: the next membrane, and the result (such as the spikes).
        prefix: the start of the names.
        rank: the number of axes of the result, which ONNX Runtime up to 1.23 needs. All neurons of a layer are on one
            axis, so `rank` is 1 for spikes.
    """

    def value(name: str, axes: int = 1) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * axes)

    return helper.make_graph(step, prefix + "step", list(map(value, takes)), [value(makes[0]), value(makes[1], rank)])


def scan(
    current: str, made: str, start: str, step: onnx.GraphProto, prefix: str, *, flat: bool = False
) -> list[onnx.NodeProto]:
    """Return the nodes that run the body of a Scan over the first axis of a current.

    Args:
        current: the name of the current [T, ...].
        made: the name of the result. The result has the shape of the current, unless `flat` is true.
        start: the name of the membrane before the first step, a number or a value for each neuron [N * neurons].
        step: the body of the Scan.
        prefix: the start of the nodes' names.
        flat: whether the result has the shape that the Scan returns, [T, neurons].
    """
    nodes: list[onnx.NodeProto] = []

    def op(kind: str, inputs: list[str], name: str, **attrs: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [prefix + name], name=prefix + name, **attrs))
        return prefix + name

    rows = op("Reshape", [current, op("Constant", [], "rows", value_ints=[0, -1])], "flat")
    v_0 = op("Expand", [start, op("Shape", [rows], "width", start=1)], "v_0")
    results = [prefix + "v_last", made if flat else prefix + "fired"]
    nodes.append(helper.make_node("Scan", [v_0, rows], results, name=prefix + "Scan", body=step, num_scan_inputs=1))
    if not flat:
        shape = op("Shape", [current], "shape")
        nodes.append(helper.make_node("Reshape", [results[1], shape], [made], name=prefix + "spikes"))
    return nodes


def divides(spec: NeuronSpec) -> bool:
    """Whether the leak must divide by tau. If tau is a power of two, multiplying by 1 / tau gives the same bits."""
    return spec.tau is not None and bool((np.frexp(array_of(spec.tau))[0] != 0.5).any())


def step_nodes(
    spec: NeuronSpec, v: str, x: str, constant: Constants, prefix: str
) -> tuple[list[onnx.NodeProto], str, str]:
    """Return one time step of a neuron in standard operators; these nodes define the operator.

    Args:
        spec: the neuron.
        v: the name of the membrane before the step.
        x: the name of the current.
        constant: a function that returns the name of the tensor of a constant, given the constant's name.
        prefix: the start of the nodes' names.

    Returns:
        The nodes, and the names of the next membrane and of the result: the spikes, or the membrane h of an integrator.
    """
    nodes: list[onnx.NodeProto] = []

    def op(kind: str, inputs: list[str], name: str, **attrs: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [prefix + name], name=prefix + name, **attrs))
        return prefix + name

    def leak(u: str) -> str:
        return op(*(("Div", [u, constant("tau")]) if divides(spec) else ("Mul", [u, constant("rate")])), "leak")

    def fired(membrane: str, name: str) -> str:
        return op("Greater" if spec.strict else "GreaterOrEqual", [membrane, constant("threshold")], name)

    def number(fires: str, name: str) -> str:
        return op("Cast", [fires], name, to=onnx.TensorProto.FLOAT)

    def without_threshold(membrane: str, s: str, name: str) -> str:
        taken = op("Mul", [s, constant("threshold")], f"{name}_subtracted")
        taken = op("Div", [taken, constant("slope")], f"{name}_rescaled") if spec.rescales else taken
        return op("Sub", [membrane, taken], name)

    # h_t, in the order of `NeuronSpec.charge`
    u = op("Sub", [v, constant("v_rest")], "u") if spec.v_rest and spec.charge_order != "linear" else v
    if spec.charge_order == "linear":
        decayed = op("Mul", [v, constant("decay")], "decayed") if spec.decay != 1.0 else v
        driven = op("Mul", [x, constant("gain")], "driven") if spec.gain != 1.0 else x
        h = op("Add", [decayed, driven], "h")
        h = op("Add", [h, constant("bias")], "biased") if spec.bias else h
        if spec.reset == "late":  # v is h_{t-1}, from which s_{t-1} follows
            h = without_threshold(h, number(fired(v, "s_before_fires"), "s_before"), "h_reset")
        elif spec.reset == "refractory":
            h = op("Where", [fired(v, "s_before_fires"), constant("v_reset"), h], "h_reset")
    elif spec.charge_order == "decayed":
        h = op("Add", [v, leak(op("Sub", [x, u], "drive"))], "h")
    else:
        h = op("Add", [op("Sub", [v, leak(u)], "leaked"), x], "h")
    if spec.slope is not None:
        h = op("Relu", [op("Mul", [h, constant("slope")], "scaled")], "rectified")
    fires = "" if spec.integrates else fired(h, "s_fires")
    s = number(fires, "s") if fires else h  # s_t; an integrator has h_t in its place
    kept = op("Div", [h, constant("slope")], "kept") if spec.rescales else h
    if spec.reset == "hard":
        return nodes, op("Where", [fires, constant("v_reset"), kept], "v_next"), s
    if spec.reset == "soft":
        return nodes, without_threshold(kept, s, "v_next"), s
    return nodes, op("Identity", [h], "v_next"), s
