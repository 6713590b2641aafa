"""Mistakes that an exporter could make, each made in the models of a real bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tcja_exporters import custom_op, time_forms
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL, Bundle
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.model_file import scan_pooling
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor
from tcja_runtime.neuron import NeuronSpec

Change = Callable[[onnx.ModelProto], None]


def change(bundle: Path, apply: Change, *, both: bool = True, inside: bool = True) -> None:
    """Change both models of a bundle, or the plain one, and put the hashes right, as a faulty exporter would.

    Args:
        bundle: to be changed.
        apply: changes a model.
        both: whether model.onnx becomes the changed one, too.
        inside: whether every layer's spikes are to be in it (`tcja_runtime.model_file.scan_pooling`).
    """
    manifest = Bundle.open(bundle).manifest
    model = onnx.load(bundle / PLAIN_MODEL)
    model = opened(model) if inside else model
    apply(model)
    onnx.save(model, bundle / PLAIN_MODEL)
    if both:
        onnx.save(model, bundle / MODEL)
    write_manifest(bundle, manifest)


def opened(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model with every layer's spikes in it."""
    return onnx.ModelProto.FromString(scan_pooling.expose_spikes(model.SerializeToString()))


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One mistake.

    Attributes:
        name: of it.
        apply: makes it.
        module: the PyTorch module that it is in.
        kind: a word that bisection should say of it.
    """

    name: str
    apply: Change
    module: str
    kind: str


def of_neurons(manifest: Manifest) -> Iterator[Mutation]:
    """Of the layer in the middle."""
    layer = manifest.layers[len(manifest.layers) // 2]
    other = dataclasses.replace
    rate = {"decay": 0.49}
    if layer.neuron.charge_order == "decayed":
        rate |= {"rate": 0.51, "tau": None, "gain": 0.51}

    def mutation(what: str, apply: Change, kind: str) -> Mutation:
        return Mutation(f"{layer.name}: {what}", apply, layer.name, kind)

    neuron = layer.neuron
    yield mutation(">= for >", of_another(layer, other(neuron, strict=not neuron.strict)), "comparison")
    yield mutation("soft reset", of_another(layer, other(neuron, reset="soft")), "reset")
    yield mutation("decay 0.49", of_another(layer, other(neuron, **rate)), "decay")
    yield mutation("threshold 1.001", of_another(layer, other(neuron, threshold=1.001)), "threshold")
    yield mutation("windows run on", windows_run_on(layer), "windows")
    yield mutation("time reversed", reversed_time(layer), "time order")


def of_weights(manifest: Manifest) -> Iterator[Mutation]:
    """One weight of every layer."""
    for weight in manifest.weights:
        yield Mutation(f"{weight.module}: a weight 1 %", one_weight(weight.tensor), weight.module, "weight")


def of_norms(manifest: Manifest, variances: dict[str, np.ndarray]) -> Iterator[Mutation]:
    """Another epsilon in every batch norm; its running variances are given by module."""
    for weight in manifest.weights:
        if weight.norm:
            variance = variances[weight.norm]
            factor = np.sqrt((variance + 1e-5) / (variance + 1e-3)).astype(np.float32)
            apply = scaled_channels(weight.tensor, factor)
            yield Mutation(f"{weight.norm}: epsilon 1e-3", apply, weight.module, "scale")


def of_attention(manifest: Manifest) -> Iterator[Mutation]:
    """Both convolutions of every block."""
    for tap in manifest.taps:
        if tap.tensor.endswith("/Conv"):
            module = tap.tensor.removesuffix("/Conv")
            yield Mutation(f"{module}: padding side", padding_side(tap.tensor), module, "padding")
            yield Mutation(f"{module}: kernels exchanged", exchanged_kernels(tap.tensor), module, "exchanged")


def of_input(manifest: Manifest) -> Iterator[Mutation]:
    """Frames in another order; images have none."""
    if manifest.input.name == "frames":
        module = manifest.weights[0].module
        yield Mutation("frames: time reversed", flipped_input("frames", 1), module, "time order")
        yield Mutation("frames: polarity swapped", flipped_input("frames", 2), module, "polarity")


def of_pooling(model: onnx.ModelProto) -> Iterator[Mutation]:
    """The other kind of pooling in every pool."""
    for node in all_nodes(model):
        if node.op_type in POOLING:
            yield Mutation(
                f"{node.name}: other pooling", other_pooling(node.name), node.name.rpartition("/")[0], "pooling"
            )


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Those of a model's graph, and of the bodies of its Scans."""
    for node in model.graph.node:
        yield node
        for attribute in node.attribute:
            yield from attribute.g.node


def of_another(layer: Layer, neuron: NeuronSpec) -> Change:
    """Put the nodes of another neuron in the place of a layer's."""

    def apply(model: onnx.ModelProto) -> None:
        own = [node for node in model.graph.node if of_neuron(node, layer)]
        first = list(model.graph.node).index(own[0])
        forms = {layer.name: form_of(own, layer)}
        kept = [node for node in model.graph.node if node not in own]
        current = current_tensor(layer.name)
        halves = {node.input[0] for node in own if node.op_type == "Split"} - {current}  # cast behind the Split
        casts = [
            helper.make_node("Cast", [half], [current], name=current, to=onnx.TensorProto.FLOAT) for half in halves
        ]
        call = helper.make_node(
            custom_op.NAME,
            [current],
            [spikes_tensor(layer.name)],
            name=f"{layer.name}/{custom_op.NAME}",
            domain=custom_op.DOMAIN,
            **custom_op.attributes(neuron),
        )
        del model.graph.node[:]
        model.graph.node.extend([*kept[:first], *casts, call, *kept[first:]])
        constants = {
            f"{layer.name}/{name}" for name in ("v_reset", "rate", "tau", "decay", "gain", "threshold", "bias")
        }
        kept_tensors = [tensor for tensor in model.graph.initializer if tensor.name not in constants]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept_tensors)
        model.CopyFrom(time_forms.lower(model, forms))

    return apply


def form_of(nodes: Iterable[onnx.NodeProto], layer: Layer) -> str:
    """The time form of a layer in a plain model, by its neurons' nodes."""
    if any(node.op_type == "Scan" for node in nodes):
        return "scan"
    return "fused" if any(f"{layer.name}/0/f" in node.output for node in nodes) else "unrolled"


def of_neuron(node: onnx.NodeProto, layer: Layer) -> bool:
    """Whether a node of a plain model belongs to a layer's neurons, and not to the casts and pooling behind them."""
    if spikes_tensor(layer.name) in node.input:
        return False
    pools = {f"{layer.name}/split", f"{layer.name}/maps"} & set(node.output) or node.name == f"{layer.name}/maps"
    return node.name.startswith(f"{layer.name}/") and current_tensor(layer.name) not in node.output and not pools


def reversed_time(layer: Layer) -> Change:
    """Take the last step first, in any time form."""

    def apply(model: onnx.ModelProto) -> None:
        own = {node.op_type: node for node in model.graph.node if of_neuron(node, layer)}
        if "Scan" in own:
            for which in ("scan_input_directions", "scan_output_directions"):
                own["Scan"].attribute.append(helper.make_attribute(which, [1]))
        else:
            own["Split"].output[:] = own["Split"].output[::-1]
            for tensor in (each for each in model.graph.initializer if f"{layer.name}/shares_" in each.name):
                last_first = numpy_helper.to_array(tensor)[::-1]
                tensor.CopyFrom(numpy_helper.from_array(last_first.copy(), tensor.name))
            own["Concat"].input[:] = own["Concat"].input[::-1]

    return apply


def windows_run_on(layer: Layer) -> Change:
    """Run the windows of a batch as one long window: no membrane is reset between them."""
    rank = len(layer.shape) + 2
    swap = [1, 0, *range(2, rank)]

    def apply(model: onnx.ModelProto) -> None:
        def constant(name: str, values: list[int]) -> str:
            model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
            return name

        nodes = list(model.graph.node)
        first = 1 + next(i for i, node in enumerate(nodes) if current_tensor(layer.name) in node.output)
        readers = [n for n in nodes if n.name.startswith(f"{layer.name}/") and current_tensor(layer.name) in n.input]
        for node in readers:
            node.input[:] = [f"{layer.name}/long" if i == current_tensor(layer.name) else i for i in node.input]
        one = constant(f"{layer.name}/one window", [-1, 1])
        before = [
            helper.make_node("Transpose", [current_tensor(layer.name)], [f"{layer.name}/by window"], perm=swap),
            helper.make_node("Shape", [f"{layer.name}/by window"], [f"{layer.name}/by window shape"]),
            helper.make_node("Shape", [f"{layer.name}/by window"], [f"{layer.name}/neurons"], start=2),
            helper.make_node("Concat", [one, f"{layer.name}/neurons"], [f"{layer.name}/long shape"], axis=0),
            helper.make_node(
                "Reshape", [f"{layer.name}/by window", f"{layer.name}/long shape"], [f"{layer.name}/long"]
            ),
        ]
        last = next(node for node in nodes if spikes_tensor(layer.name) in node.output)
        last.output[0] = f"{layer.name}/long spikes"
        after = [
            helper.make_node(
                "Reshape", [last.output[0], f"{layer.name}/by window shape"], [f"{layer.name}/spikes by window"]
            ),
            helper.make_node("Transpose", [f"{layer.name}/spikes by window"], [spikes_tensor(layer.name)], perm=swap),
        ]
        at = nodes.index(last) + 1
        del model.graph.node[:]
        model.graph.node.extend([*nodes[:first], *before, *nodes[first:at], *after, *nodes[at:]])

    return apply


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def edited(name: str, edit: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Change a weight."""

    def apply(model: onnx.ModelProto) -> None:
        tensor = initializer(model, name)
        tensor.CopyFrom(numpy_helper.from_array(edit(numpy_helper.to_array(tensor).copy()), name))

    return apply


def one_weight(name: str, factor: float = 1.01) -> Change:
    """Change one weight of a median size."""

    def edit(values: np.ndarray) -> np.ndarray:
        middle = np.argsort(np.abs(values), axis=None)[values.size // 2]
        values.flat[middle] *= factor
        return values

    return edited(name, edit)


def of_another_tensor(name: str, other: str) -> Change:
    """Give a tensor the values of another one."""

    def apply(model: onnx.ModelProto) -> None:
        edited(name, lambda _: numpy_helper.to_array(initializer(model, other)))(model)

    return apply


def scaled_channels(name: str, factor: np.ndarray) -> Change:
    return edited(name, lambda values: values * factor.reshape(-1, *(1,) * (values.ndim - 1)))


def node_of(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if tensor in node.output)


def padding_side(tensor: str) -> Change:
    """Move the padding of a one-dimensional convolution by one."""

    def apply(model: onnx.ModelProto) -> None:
        pads = next(a for a in node_of(model, tensor).attribute if a.name == "pads")
        left, right = pads.ints
        pads.ints[:] = [left + 1, right - 1] if right else [left - 1, right + 1]

    return apply


def exchanged_kernels(tensor: str) -> Change:
    """Exchange the kernels of the first two outputs."""

    def apply(model: onnx.ModelProto) -> None:
        def edit(values: np.ndarray) -> np.ndarray:
            values[[0, 1]] = values[[1, 0]]
            return values

        edited(node_of(model, tensor).input[1], edit)(model)

    return apply


def flipped_input(name: str, axis: int) -> Change:
    """Turn an axis of the input round."""

    def apply(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["turned" if i == name else i for i in node.input]
        ends = {"starts": [-1], "ends": [np.iinfo(np.int64).min], "axes": [axis], "steps": [-1]}
        for key, values in ends.items():
            model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), f"turned/{key}"))
        turned = helper.make_node("Slice", [name, *(f"turned/{key}" for key in ends)], ["turned"])
        model.graph.node.insert(0, turned)

    return apply


POOLING = {"MaxPool": "AveragePool", "AveragePool": "MaxPool"}


def other_pooling(name: str) -> Change:
    """Average instead of taking the largest, or the other way round, in one node."""

    def apply(model: onnx.ModelProto) -> None:
        node = next(node for node in all_nodes(model) if node.name == name)
        node.op_type = POOLING[node.op_type]
        kept = [a for a in node.attribute if a.name in ("kernel_shape", "strides", "pads", "ceil_mode")]
        del node.attribute[:]
        node.attribute.extend(kept)

    return apply


def inserted(model: onnx.ModelProto, tensor: str, operator: str, *more: np.ndarray) -> None:
    """Put an operator behind what makes a tensor."""
    maker = node_of(model, tensor)
    maker.output[list(maker.output).index(tensor)] = f"{tensor} before"
    names = [f"{tensor} {operator} {i}" for i in range(len(more))]
    for name, values in zip(names, more, strict=True):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    at = list(model.graph.node).index(maker) + 1
    model.graph.node.insert(at, helper.make_node(operator, [f"{tensor} before", *names], [tensor]))
