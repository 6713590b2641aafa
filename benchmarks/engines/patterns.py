"""What stands right behind the spikes of a fused layer, and how long NVIDIA's builder takes: as it is, and replaced.

    python -m benchmarks.engines.patterns [PATTERN]... [--steps 20] [--limit 10] [--markdown]

TensorRT-RTX, which needs no GPU, builds a model of one layer with each pattern. The layer is small, so a Concat joins
its spikes (`tcja_exporters.time_forms.fused`). The exports replace the reductions
(`tcja_exporters.time_forms.reductions`). A build that has not ended after `--limit` seconds is ended.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tcja_exporters import custom_op
from tcja_exporters.time_forms import lower
from tcja_runtime.errors import BuildTimeout
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.tensorrt.build import Batch, BuildOptions, BuildRequest, build

LAYER, SPIKES = "layer", "layer/spikes"
SPEC = NeuronSpec.leaky(decay_input=True, tau=2.0)


def op(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> onnx.NodeProto:
    """A node with one output."""
    return helper.make_node(kind, inputs, [out], name=out, **attributes)


def reduced(kind: str, *axes: int, of: str = SPIKES, out: str = "y", keepdims: int = 0) -> onnx.NodeProto:
    """A reduction over some axes of [T, N, C, H, W]."""
    return op(kind, of, "axes " + " ".join(map(str, axes)), out=out, keepdims=keepdims)


def conv(of: str, out: str) -> list[onnx.NodeProto]:
    """A convolution of the spikes of all steps, without a Reshape back."""
    return [
        op("Reshape", of, "images", out=f"{out} images"),
        op("Conv", f"{out} images", "weight", out=out, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]


PATTERNS: dict[str, Sequence[onnx.NodeProto]] = {
    "mean over the map": [reduced("ReduceMean", 3, 4)],
    "mean over the map, axes kept": [reduced("ReduceMean", 3, 4, keepdims=1)],
    "mean over rows": [reduced("ReduceMean", 3)],
    "mean over columns": [reduced("ReduceMean", 4)],
    "mean over channels": [reduced("ReduceMean", 2, keepdims=1)],
    "mean over channels and map": [reduced("ReduceMean", 2, 3, 4)],
    "mean over time": [reduced("ReduceMean", 0)],
    "mean over time and map": [reduced("ReduceMean", 0, 3, 4)],
    "sum over time": [reduced("ReduceSum", 0)],
    "sum over the map": [reduced("ReduceSum", -2, -1)],
    "maximum over time": [reduced("ReduceMax", 0)],
    "maximum over the map": [reduced("ReduceMax", -2, -1, keepdims=1)],
    "global average pooling": [op("Reshape", SPIKES, "images", out="i"), op("GlobalAveragePool", "i")],
    "global maximum pooling": [op("Reshape", SPIKES, "images", out="i"), op("GlobalMaxPool", "i")],
    "average pooling of the map": [
        op("Reshape", SPIKES, "images", out="i"),
        op("AveragePool", "i", kernel_shape=[16, 16]),
    ],
    "mean of flat features": [op("Reshape", SPIKES, "vectors", out="i"), reduced("ReduceMean", 1, of="i")],
    "mean of scaled spikes": [op("Mul", SPIKES, "scale", out="m"), reduced("ReduceMean", 3, 4, of="m")],
    "mean of transposed spikes": [
        op("Transpose", SPIKES, out="m", perm=[1, 0, 3, 4, 2]),
        reduced("ReduceMean", 2, 3, of="m", keepdims=1),
    ],
    "mean of a slice": [op("Slice", SPIKES, "zero", "two", "zero", out="m"), reduced("ReduceMean", 3, 4, of="m")],
    "residual sum with the current": [op("Add", SPIKES, "layer/current", out="m"), reduced("ReduceMean", 3, 4, of="m")],
    "maximum pooling, then mean": [
        op("Reshape", SPIKES, "images", out="i"),
        op("MaxPool", "i", out="m", kernel_shape=[2, 2], strides=[2, 2]),
        reduced("ReduceMean", 2, 3, of="m"),
    ],
    "average pooling, then mean": [
        op("Reshape", SPIKES, "images", out="i"),
        op("AveragePool", "i", out="m", kernel_shape=[2, 2], strides=[2, 2]),
        reduced("ReduceMean", 2, 3, of="m"),
    ],
    "convolution, then mean": [*conv(SPIKES, "c"), reduced("ReduceMean", 2, 3, of="c")],
    "linear layer, then mean over time": [
        op("Reshape", SPIKES, "features", out="i"),
        op("MatMul", "i", "matrix", out="m"),
        reduced("ReduceMean", 0, of="m"),
    ],
    "product of spikes with spikes": [
        op("Transpose", SPIKES, out="m", perm=[0, 1, 2, 4, 3]),
        op("MatMul", SPIKES, "m"),
    ],
    "softmax": [op("Softmax", SPIKES)],
    "layer normalization": [op("LayerNormalization", SPIKES, "ones")],
    "norm": [reduced("ReduceL2", 3, 4)],
    "count of values": [
        op("Greater", SPIKES, "scale", out="b"),
        op("Cast", "b", out="i", to=TensorProto.INT64),
        reduced("ReduceSum", 3, 4, of="i", out="counts"),
        op("Cast", "counts", to=TensorProto.FLOAT),
    ],
    "attention to channels, by mean and maximum": [
        reduced("ReduceMean", 3, 4, out="mean", keepdims=1),
        reduced("ReduceMax", 3, 4, out="most", keepdims=1),
        op("Add", "mean", "most", out="logits"),
        op("Sigmoid", "logits", out="gate"),
        op("Mul", SPIKES, "gate", out="gated"),
        reduced("ReduceMean", 3, 4, of="gated"),
    ],
    "attention to time": [
        reduced("ReduceMean", 2, 3, 4, out="mean", keepdims=1),
        op("Softmax", "mean", out="gate", axis=0),
        op("Mul", SPIKES, "gate", out="gated"),
        reduced("ReduceSum", 0, of="gated"),
    ],
}
"""What stands behind the spikes [T, N, C, H, W]: nodes whose last result is "y"."""


def model(
    pattern: str, steps: int, form: str = "fused", *, replaced: bool = True, described: bool = True, side: int = 16
) -> onnx.ModelProto:
    """A model of a convolution, one spiking layer and a pattern, from `frames` [N, T, 2, side, side] to `y`.

    Args:
        pattern: a key of `PATTERNS`.
        steps: the number of time steps T.
        form: the time form of the layer.
        replaced: whether the pattern is lowered as in an export; else it is in the model as it is.
        described: whether the model describes the sizes of the tensors of the pattern.
        side: rows and columns of the maps.
    """
    channels, rng, whole = 16, np.random.default_rng(0), PATTERNS[pattern]
    weights = {
        "first": rng.normal(size=(channels, 2, 3, 3)),
        "weight": 0.1 * rng.normal(size=(channels, channels, 3, 3)),
        "matrix": 0.1 * rng.normal(size=(channels * side**2, 10)),
        "scale": rng.normal(size=(channels, 1, 1)),
        "ones": np.ones(side),
    }
    integers = {
        "steps": [steps, -1, channels, side, side],
        "joined": [-1, 2, side, side],
        "images": [-1, channels, side, side],
        "vectors": [-1, channels * side**2],
        "features": [steps, -1, channels * side**2],
        "zero": [0],
        "two": [2],
        **{name: [*map(int, name.split()[1:])] for node in whole for name in node.input if name.startswith("axes ")},
    }
    lif = helper.make_node(
        custom_op.NAME,
        ["layer/current"],
        [SPIKES],
        name=f"{LAYER}/{custom_op.NAME}",
        domain=custom_op.DOMAIN,
        **custom_op.attributes(SPEC),
    )
    before = [
        op("Transpose", "frames", out="t", perm=[1, 0, 2, 3, 4]),
        op("Reshape", "t", "joined", out="j"),
        op("Conv", "j", "first", out="c1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        op("Reshape", "c1", "steps", out="layer/current"),
    ]
    maps: list[int | str | None] = [steps, "batch", channels, side, side]
    graph = helper.make_graph(
        [*before, lif, *(whole if replaced else [])],
        "pattern",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["batch", steps, 2, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            *(numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()),
            *(numpy_helper.from_array(np.array(value, np.int64), name) for name, value in integers.items()),
        ],
        value_info=[helper.make_tensor_value_info(name, TensorProto.FLOAT, maps) for name in (SPIKES, "layer/current")],
    )
    opsets = [helper.make_opsetid("", custom_op.OPSET), helper.make_opsetid(custom_op.DOMAIN, custom_op.VERSION)]
    canonical = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    plain = lower(onnx.shape_inference.infer_shapes(canonical) if described else canonical, {LAYER: form})
    plain.graph.node.extend([] if replaced else whole)
    return plain


def built(of: onnx.ModelProto, steps: int, limit: int) -> tuple[str, str, str]:
    """Build the engine of a model; return seconds, kernels and megabytes as texts."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(of, file)
        request = BuildRequest(
            model=file,
            engines=Path(folder),
            target="tensorrt-rtx",
            precision="fp32",
            time_steps=steps,
            options=BuildOptions(batch=Batch(1, 1, 1), build_timeout=limit),
        )
        try:
            info = build(request).info
        except BuildTimeout:
            return f"not done in {limit}", "", ""
    plan = info.plan
    return f"{info.build_seconds:.1f}", str(plan.kernels) if plan else "", f"{plan.bytes / 1e6:.2f}" if plan else ""


def way_out(pattern: str, steps: int) -> str:
    """Say what the exports write in place of a pattern; "-" if they leave it."""
    before, after = (model(pattern, steps, replaced=each).graph.node for each in (False, True))
    kinds, now = (Counter(node.op_type for node in nodes) for nodes in (before, after))
    ways = {
        "slices": now["Slice"] > kinds["Slice"],
        "pooling": any(kind.startswith(("Reduce", "Global")) for kind in kinds - now),
        "barrier": any(node.name.endswith("/barrier") for node in after),
    }
    return ", ".join(way for way, taken in ways.items() if taken) or "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="default: all")
    parser.add_argument("--steps", type=int, default=20, metavar="T")
    parser.add_argument("--limit", type=int, default=10, metavar="SECONDS", help="of a build")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    args = parser.parse_args()
    heads = ("behind the spikes", "as it is, s", "kernels", "MB", "written as", "s", "kernels", "MB")
    lines = [heads, ["---"] * len(heads)] if args.markdown else [heads]
    for line in lines:
        _print(line, args.markdown)
    for pattern in args.patterns or PATTERNS:
        before = built(model(pattern, args.steps, replaced=False), args.steps, args.limit)
        after = built(model(pattern, args.steps), args.steps, args.limit)
        _print((pattern, *before, way_out(pattern, args.steps), *after), args.markdown)


def _print(cells: Sequence[str], markdown: bool) -> None:
    widths = (44, 15, 7, 7, 16, 15, 7, 7)
    line = (
        f"| {' | '.join(cells)} |"
        if markdown
        else "".join(cell.ljust(w + 1) for cell, w in zip(cells, widths, strict=True))
    )
    print(line.rstrip(), flush=True)


if __name__ == "__main__":
    main()
