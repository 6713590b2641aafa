"""Models that are right on small counts and small batches only: does `verify` find every one of them?

    python -m benchmarks.parity.inputs [BUNDLE]...

Both models of a bundle are changed in 45 ways: inputs are clipped, narrowed to another type or changed above a
count, and windows are lost or mixed in large batches. Each changed bundle is verified. Without arguments, the bundles
are exported first, with random windows: the Fashion-MNIST example (images), the event example with frames of equal
numbers of events and of equal times, and a user's network. docs/measurements/parity.md has the result.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table
from torch import nn

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.verify.verifier import verify
from tcja_exporters.libraries import register
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL, Bundle
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.errors import ParityNotMet
from tcja_runtime.neuron import NeuronSpec

EXAMPLES = Path(__file__).parents[2] / "examples"


class Edit:
    """Puts nodes into a model, between a tensor and all that read it.

    Args:
        model: the model, which is changed.
        tensor: the name of the tensor; None for the model's input.
    """

    def __init__(self, model: onnx.ModelProto, tensor: str | None = None) -> None:
        self.graph = model.graph
        self.x = tensor or model.graph.input[0].name
        self.nodes: list[onnx.NodeProto] = []
        self._made = 0

    def constant(self, value: Any) -> str:
        self._made += 1
        name = f"changed/constant {self._made}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        self._made += 1
        name = f"changed/{operator} {self._made}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def finish(self, result: str) -> None:
        """Make all readers of the tensor read `result`. An output of the model gets the result under its own name."""
        nodes = list(self.graph.node)
        at = 1 + max((k for k, node in enumerate(nodes) if self.x in node.output), default=-1)
        if self.x == self.graph.output[0].name:
            nodes[at - 1].output[:] = ["changed/before" if i == self.x else i for i in nodes[at - 1].output]
            for node in (*self.nodes, *nodes[at:]):
                node.input[:] = ["changed/before" if i == self.x else i for i in node.input]
            self.nodes.append(helper.make_node("Identity", [result], [self.x], name="changed/output"))
        else:
            for node in nodes[at:]:
                node.input[:] = [result if i == self.x else i for i in node.input]
        del self.graph.node[:]
        self.graph.node.extend([*nodes[:at], *self.nodes, *nodes[at:]])


Value = Callable[[Edit], str]
"""A function that adds nodes and returns the name of their result."""


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A change of a model.

    Attributes:
        name: the change, for people.
        result: adds nodes that compute the changed tensor.
        of: "counts", "images" or "any": the inputs of the networks that it is for.
        at_output: whether the output is changed, not the input.
    """

    name: str
    result: Value
    of: str = "any"
    at_output: bool = False

    def apply(self, model: onnx.ModelProto) -> None:
        edit = Edit(model, model.graph.output[0].name if self.at_output else None)
        edit.finish(self.result(edit))

    def fits(self, kind: str) -> bool:
        """Whether it is for networks whose input has the name `kind`."""
        return self.of == "any" or (self.of == "counts") == (kind == "frames")


def clip(low: float, high: float) -> Value:
    return lambda e: e.add("Clip", e.x, e.constant(np.float32(low)), e.constant(np.float32(high)))


def through(element: int, scale: float = 1.0) -> Value:
    """Cast to another type and back; integers after multiplication by `scale`."""

    def result(e: Edit) -> str:
        scaled = e.add("Mul", e.x, e.constant(np.float32(scale)))
        rounded = e.add("Round", scaled) if scale != 1.0 else scaled
        back = e.add("Cast", e.add("Cast", rounded, to=element), to=TensorProto.FLOAT)
        return e.add("Div", back, e.constant(np.float32(scale)))

    return result


def blank(e: Edit) -> str:
    return e.add("Mul", e.x, e.constant(np.float32(0)))


def reversed_along(axis: int) -> Value:
    def result(e: Edit) -> str:
        ends = ([-1], [np.iinfo(np.int64).min], [axis], [-1])
        return e.add("Slice", e.x, *(e.constant(np.array(values, np.int64)) for values in ends))

    return result


def scaled(factor: float) -> Value:
    return lambda e: e.add("Mul", e.x, e.constant(np.float32(factor)))


def where(condition: Value, changed: Value) -> Value:
    return lambda e: e.add("Where", condition(e), changed(e), e.x)


def each_above(count: float) -> Value:
    return lambda e: e.add("Greater", e.x, e.constant(np.float32(count)))


def any_above(count: float) -> Value:
    def result(e: Edit) -> str:
        return e.add("Greater", e.add("ReduceMax", e.x, keepdims=0), e.constant(np.float32(count)))

    return result


def batch_above(n: int) -> Value:
    return lambda e: e.add("Greater", e.add("Shape", e.x, start=0, end=1), e.constant(np.array([n])))


def _numbers(e: Edit) -> str:
    """The number of each window in the batch, [N, 1, 1, ...]."""
    size = e.add("Squeeze", e.add("Shape", e.x, start=0, end=1))
    counted = e.add("Range", e.constant(np.array(0)), size, e.constant(np.array(1)))
    rank = len(e.graph.input[0].type.tensor_type.shape.dim) if e.x == e.graph.input[0].name else None
    rank = rank or len(e.graph.output[0].type.tensor_type.shape.dim)
    return e.add("Reshape", counted, e.constant(np.array([-1] + [1] * (rank - 1))))


def from_window(k: int) -> Value:
    """Windows k and later of a batch, from 0."""
    return lambda e: e.add("GreaterOrEqual", _numbers(e), e.constant(np.array(k)))


def window(k: int) -> Value:
    return lambda e: e.add("Equal", _numbers(e), e.constant(np.array(k)))


def first_window(e: Edit) -> str:
    """The first window of the batch in place of every window."""
    return e.add("Gather", e.x, e.constant(np.array([0])), axis=0)


def leaked(e: Edit) -> str:
    """Each window after the first with the frames of the window before it added."""
    last = e.add("Slice", e.x, e.constant(np.array([0])), e.constant(np.array([-1])), e.constant(np.array([0])))
    first = e.add("Slice", e.x, e.constant(np.array([0])), e.constant(np.array([1])), e.constant(np.array([0])))
    return e.add("Add", e.x, e.add("Concat", e.add("Mul", first, e.constant(np.float32(0))), last, axis=0))


MUTATIONS = (
    *(Mutation(f"counts clipped at {n}", clip(0, n), "counts") for n in (10, 15, 20, 100, 255, 4095)),
    Mutation("counts through uint8", through(TensorProto.UINT8), "counts"),
    Mutation("counts through int8", through(TensorProto.INT8), "counts"),
    Mutation("counts through int16", through(TensorProto.INT16), "counts"),
    Mutation("counts through uint16", through(TensorProto.UINT16), "counts"),
    Mutation("inputs through float16", through(TensorProto.FLOAT16)),
    Mutation("inputs through bfloat16", through(TensorProto.BFLOAT16)),
    *(Mutation(f"blank where a count > {n}", where(any_above(n), blank), "counts") for n in (12, 20, 100, 1000)),
    *(
        Mutation(f"polarities swapped where a count > {n}", where(any_above(n), reversed_along(2)), "counts")
        for n in (12, 100)
    ),
    Mutation("time reversed where a count > 12", where(any_above(12), reversed_along(1)), "counts"),
    *(Mutation(f"counts > {n} taken as 0", where(each_above(n), blank), "counts") for n in (12, 50, 500)),
    Mutation("counts > 30 halved", where(each_above(30), scaled(0.5)), "counts"),
    Mutation("counts > 12 times 1.001", where(each_above(12), scaled(1.001)), "counts"),
    Mutation("intensities through uint8", through(TensorProto.UINT8, 255), "images"),
    Mutation("intensities in steps of 1/1024", through(TensorProto.INT32, 1024), "images"),
    Mutation("intensities clipped at 0.98", clip(0, 0.98), "images"),
    Mutation("intensities clipped below 0.02", clip(0.02, 1), "images"),
    Mutation("blank where an intensity > 0.999", where(any_above(0.999), blank), "images"),
    *(Mutation(f"blank where batch > {n}", where(batch_above(n), blank)) for n in (8, 16, 64)),
    *(Mutation(f"output 0 where batch > {n}", where(batch_above(n), blank), at_output=True) for n in (8, 64)),
    *(Mutation(f"windows {k} and later blank", where(from_window(k), blank)) for k in (8, 32, 64)),
    *(Mutation(f"only window {k} blank", where(window(k), blank)) for k in (9, 33, 63)),
    Mutation("outputs of windows 32 and later 0", where(from_window(32), blank), at_output=True),
    Mutation("windows in reverse where batch > 8", where(batch_above(8), reversed_along(0))),
    Mutation("windows 16 and later are the first", where(from_window(16), first_window)),
    Mutation("each window leaks into the next", leaked),
    Mutation("each window leaks into the next, from 16 on", where(from_window(16), leaked)),
)
"""All changes: those of "counts", of "images", and of any input."""


def change(bundle: Path, mutation: Mutation, models: Sequence[str] = (PLAIN_MODEL, MODEL)) -> None:
    """Change models of a bundle, and put the hashes right."""
    manifest = Bundle.open(bundle).manifest
    for name in models:
        model = onnx.load(bundle / name, load_external_data=False)
        mutation.apply(model)
        (bundle / name).write_bytes(model.SerializeToString())
    write_manifest(bundle, manifest)


def found(bundle: Path, mutation: Mutation, folder: Path) -> str | None:
    """The first failure of a changed copy of a bundle; None if it passes."""
    copy = folder / "changed.bundle"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(bundle, copy)
    change(copy, mutation)
    try:
        return next(iter(verify(copy).report.failures), None)
    except ParityNotMet as error:
        return str(error)


class LIF(nn.Module):
    """A user's neuron: leaky, with hard reset, on [T, N, ...]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v, spikes = torch.zeros_like(x[0]), []
        for step in x:
            v = v * 0.5 + step
            spikes.append((v > 1).to(x.dtype))
            v = v * (1 - spikes[-1])
        return torch.stack(spikes)


class UsersNetwork(nn.Module):
    """A user's network of two convolutions, on [T, N, 2, 16, 16]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(2, 8, 3), nn.Conv2d(8, 12, 3, stride=2)
        self.fc, self.lif1, self.lif2, self.lif3 = nn.Linear(432, 5), LIF(), LIF(), LIF()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = x.shape[:2]
        x = self.lif1(self.a(x.flatten(0, 1)).unflatten(0, steps))
        x = self.lif2(3 * self.b(x.flatten(0, 1)).unflatten(0, steps))
        return self.lif3(4 * self.fc(x.flatten(2))).mean(0)


def exported(folder: Path) -> dict[str, Path]:
    """Export the bundles, without data."""
    register(LIF, lambda _: NeuronSpec.linear(decay=0.5, strict=True))
    images, events = (EXAMPLES / name / "checkpoint.pth" for name in ("fashion_mnist", "event_fashion_mnist"))
    requests: dict[str, dict[str, Any]] = {
        "images": {"checkpoint": images},
        "events by number": {"checkpoint": events, "split": "number"},
        "events by time": {"checkpoint": events, "split": "time"},
        "a user's network": {"model": UsersNetwork().eval(), "shape": (4, 2, 16, 16), "layout": "TN"},
    }
    for name, request in requests.items():
        pipeline.export(ExportRequest(out=folder / f"{name}.bundle", target="onnx", samples=8, **request))
    return {name: folder / f"{name}.bundle" for name in requests}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="*", type=Path)
    given = parser.parse_args().bundles
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundles = {path.stem: path for path in given} if given else exported(folder)
        kinds = {title: Bundle.open(path).manifest.input.name for title, path in bundles.items()}
        table, passed = Table("change", *bundles), 0
        for mutation in MUTATIONS:
            cells = []
            for title, path in bundles.items():
                text = "-"
                if mutation.fits(kinds[title]):
                    failure = found(path, mutation, folder)
                    passed += failure is None
                    text = "PASSES" if failure is None else "found"
                cells.append(text)
            table.add_row(mutation.name, *cells)
        Console(width=120).print(table)
    print(f"{len(MUTATIONS)} changes; {passed} of them passed in some network")
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
