"""The custom operator of an exported network: tcja::TcjaLif, one spiking layer over a whole window.

    TcjaLif(current [T, ...]) -> spikes [T, ...]

Attributes: decay, gain, bias, threshold, v_reset, rate, tau (float; tau is 0 where nothing is divided by it), strict
(int), charge_order and reset (string), as in `tcja_runtime.neuron.NeuronSpec`. The operator is defined by a local
function of the model, a Scan over time with the equations of that module, so any ONNX runtime can run it; a plugin may
take its place by its name, and `tcja_exporters.graph.time_forms` puts standard operators in its place.

TensorRT finds functions and plugins by the operator's name alone, so the name is unlike any standard one and the
domain has no dot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import onnx
from onnx import helper

from tcja_runtime.neuron import NeuronSpec

DOMAIN = "tcja"
NAME = "TcjaLif"
STEP = "TcjaLifStep"
"""One call of a neuron in a network that loops over time itself (`tcja_exporters.graph.step_joining`)."""
VERSION = 1
OPSET = 18

_FLOATS = ("decay", "gain", "bias", "threshold", "v_reset", "rate")
_STRINGS = ("charge_order", "reset")

Constants = Callable[[str], str]
"""From the name of a neuron's constant to the tensor that holds it."""


def attributes(spec: NeuronSpec) -> dict[str, Any]:
    """A neuron's constants as attributes of its node."""
    floats = {name: getattr(spec, name) for name in _FLOATS}
    strings = {name: getattr(spec, name) for name in _STRINGS}
    return {**floats, **strings, "tau": spec.tau or 0.0, "strict": int(spec.strict)}


def spec_of(node: onnx.NodeProto) -> NeuronSpec:
    """The neuron of a TcjaLif node, its constants rounded to float32."""
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return NeuronSpec(
        **{name: values[name] for name in _FLOATS},
        **{name: values[name].decode() for name in _STRINGS},
        tau=values["tau"] or None,
        strict=bool(values["strict"]),
    )


def operations(step: Iterable[onnx.NodeProto]) -> int:
    """Arithmetic operations a neuron of a time step, whose nodes these are: all but constants, copies and casts."""
    return sum(node.op_type not in ("Constant", "Identity", "Cast", "Reshape") for node in step)


def step_of(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """What a TcjaLif node does at a time step, in standard operators."""
    return step_nodes(spec_of(node), "v", "x", lambda name: name, "")[0]


def define(model: onnx.ModelProto) -> None:
    """Add to a model the functions that its TcjaLif nodes need.

    Terms that change no bit (a gain of 1, a bias of 0) are left out of a function, so nodes may need different ones;
    all but the first are told apart by their overload.
    """
    overloads: dict[bytes, str] = {}
    for node in model.graph.node:
        if node.domain != DOMAIN:
            continue
        function = _function(spec_of(node))
        content = function.SerializeToString(deterministic=True)
        if content not in overloads:
            overloads[content] = str(len(overloads)) if overloads else ""
            function.overload = overloads[content]
            model.functions.append(function)
        node.overload = overloads[content]


def _function(spec: NeuronSpec) -> onnx.FunctionProto:
    used: dict[str, onnx.NodeProto] = {}

    def constant(name: str) -> str:
        used[name] = helper.make_node("Constant", [], [name], name=name)
        value = onnx.AttributeProto(name="value_float", ref_attr_name=name, type=onnx.AttributeProto.FLOAT)
        used[name].attribute.append(value)
        return name

    scan = _scan(spec, "current", "spikes", constant, "")
    return helper.make_function(
        DOMAIN,
        NAME,
        ["current"],
        ["spikes"],
        [*used.values(), *scan],
        [helper.make_opsetid("", OPSET)],
        attributes=list(attributes(spec)),
    )


def _scan(spec: NeuronSpec, current: str, spikes: str, constant: Constants, prefix: str) -> list[onnx.NodeProto]:
    """Nodes that run the neuron over the first axis of `current`, from rest."""
    v, x = prefix + "v", prefix + "x"
    step, v_next, s = step_nodes(spec, v, x, constant, prefix)
    return scan(current, spikes, constant("v_reset"), body(step, (v, x), (v_next, s), prefix), prefix)


def body(
    step: list[onnx.NodeProto], takes: tuple[str, str], makes: tuple[str, str], prefix: str, *, rank: int = 1
) -> onnx.GraphProto:
    """The body of a Scan over time steps.

    Args:
        step: nodes of a time step.
        takes: the membrane and the current that they read.
        makes: the next membrane and what else they make.
        prefix: what names start with.
        rank: of what else they make. ONNX Runtime up to 1.23 must be told the rank of what a Scan returns; neurons are
            one axis, so that it is the same for every layer.
    """

    def value(name: str, axes: int = 1) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * axes)

    return helper.make_graph(step, prefix + "step", list(map(value, takes)), [value(makes[0]), value(makes[1], rank)])


def scan(
    current: str, made: str, start: str, step: onnx.GraphProto, prefix: str, *, flat: bool = False
) -> list[onnx.NodeProto]:
    """Nodes that run a body over the first axis of a current.

    Args:
        current: [T, ...].
        made: what it makes: of the current's shape, unless it is left flat.
        start: the membrane before the first step, a scalar.
        step: the body.
        prefix: what the names of nodes start with.
        flat: whether `made` is left as the Scan returns it.
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
    """Whether a neuron's leak must divide: by a power of two it is multiplied by the inverse, to the bit."""
    return spec.tau is not None and math.frexp(spec.tau)[0] != 0.5


def step_nodes(
    spec: NeuronSpec, v: str, x: str, constant: Constants, prefix: str
) -> tuple[list[onnx.NodeProto], str, str]:
    """The time step that defines the operator, in standard operators: its nodes, the next membrane and the spikes."""
    nodes: list[onnx.NodeProto] = []

    def op(kind: str, inputs: list[str], name: str, **attrs: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [prefix + name], name=prefix + name, **attrs))
        return prefix + name

    def leak(u: str) -> str:
        return op(*(("Div", [u, constant("tau")]) if divides(spec) else ("Mul", [u, constant("rate")])), "leak")

    def fired(membrane: str, name: str) -> tuple[str, str]:
        fires = op("Greater" if spec.strict else "GreaterOrEqual", [membrane, constant("threshold")], f"{name}_fires")
        return fires, op("Cast", [fires], name, to=onnx.TensorProto.FLOAT)

    def without_threshold(membrane: str, s: str, name: str) -> str:
        return op("Sub", [membrane, op("Mul", [s, constant("threshold")], f"{name}_subtracted")], name)

    # h_t, in the order of `NeuronSpec.charge`
    if spec.charge_order == "linear":
        decayed = op("Mul", [v, constant("decay")], "decayed") if spec.decay != 1.0 else v
        driven = op("Mul", [x, constant("gain")], "driven") if spec.gain != 1.0 else x
        h = op("Add", [decayed, driven], "h")
        h = op("Add", [h, constant("bias")], "biased") if spec.bias else h
        if spec.reset == "late":  # v is h_{t-1}, which tells s_{t-1}
            h = without_threshold(h, fired(v, "s_before")[1], "h_reset")
    else:
        u = op("Sub", [v, constant("v_reset")], "u") if spec.v_reset else v
        if spec.charge_order == "decayed":
            h = op("Add", [v, leak(op("Sub", [x, u], "drive"))], "h")
        else:
            h = op("Add", [op("Sub", [v, leak(u)], "leaked"), x], "h")
    # s_t
    fires, s = fired(h, "s")
    # v_t
    if spec.reset == "hard":
        v_next = op("Where", [fires, constant("v_reset"), h], "v_next")
    elif spec.reset == "soft":
        v_next = without_threshold(h, s, "v_next")
    else:
        v_next = op("Identity", [h], "v_next")
    return nodes, v_next, s
