"""The figures of the explanations, from a real run: the Fashion-MNIST example in fp16 against its float64 reference.

python tools/figures.py docs/images
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

import tcja_deploy
from tcja_runtime import Bundle, NeuronSpec
from tcja_runtime.backends.probe import onnxruntime_probes
from tcja_runtime.evidence import golden
from tcja_runtime.evidence.rounding import MODEL_ARITHMETIC, membranes_within

EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist"
LAYER = "conv.2"
BLUE, ORANGE, GREY = "#1565c0", "#d84315", "#616161"


@dataclasses.dataclass(frozen=True)
class Membranes:
    """K neurons of a layer in T steps.

    Attributes:
        spec: the constants of the neurons.
        reference: the membranes of the reference before firing, float64 [T, K].
        bound: their rounding bounds, [T, K].
        exported: the membranes of the exported network, [T, K], in which each layer gets the reference's spikes.
        spikes: the spikes of the reference, bool [T, K].
        flips: where the exported network's spike is the neuron's first that is not the reference's, bool [T, K].
    """

    spec: NeuronSpec
    reference: npt.NDArray[np.float64]
    bound: npt.NDArray[np.float64]
    exported: npt.NDArray[np.float64]
    spikes: npt.NDArray[np.bool_]
    flips: npt.NDArray[np.bool_]

    @property
    def distance(self) -> npt.NDArray[np.float64]:
        """The distances of the reference's membranes from the threshold, [T, K]."""
        return np.abs(self.reference - self.spec.threshold)


def measured(path: Path, layer: str = LAYER) -> Membranes:
    """The membranes of a layer on the golden windows of a bundle, in ONNX Runtime."""
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    vectors = golden.read(bundle, manifest.input)
    (recording,) = vectors.batches(10**6)
    reference = recording.reference
    probe, _ = onnxruntime_probes(bundle, manifest.signature)
    observed = probe.forced(recording.inputs, reference)
    (spec,) = (each.neuron for each in manifest.layers if each.name == layer)
    witnesses, arithmetic = reference.witnesses[layer], MODEL_ARITHMETIC[manifest.precision]
    spikes, fired = witnesses.of(reference.spikes[layer]), witnesses.of(observed.spikes[layer])
    h, within = membranes_within(spec, arithmetic, witnesses.values, witnesses.bounds.astype(np.float64), spikes)
    current = witnesses.of(observed.signals[layer]).astype(np.float64)
    exported, _ = membranes_within(spec, arithmetic, current, np.zeros_like(current), spikes)
    differs = spikes != fired
    first = differs & (np.cumsum(differs, axis=0) == 1)  # the membrane of a neuron that flipped goes on otherwise
    return Membranes(spec, h, within, exported, spikes, first)


def text(x: float, y: float, words: str, anchor: str = "middle", colour: str = "#212121") -> str:
    """A text at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def line(x1: float, y1: float, x2: float, y2: float, more: str = f'stroke="{GREY}"') -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'


def dot(x: float, y: float, colour: str, radius: float = 4, opacity: float = 1) -> str:
    """A filled circle."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" fill-opacity="{opacity}"/>'


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """An SVG picture on a white ground, so that it can be read on a dark page, too."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="sans-serif" font-size="13"><title>{title}</title>'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def course(found: Membranes) -> str:
    """The membrane of one neuron over time; and how near to the threshold it is at the step where its spike flips."""
    steps = len(found.reference)
    candidates = np.argwhere(found.flips)
    step, k = max(candidates, key=lambda at: found.spikes[:, at[1]].sum())
    h, threshold = found.reference[:, k], found.spec.threshold
    low, high = min(0.0, h.min()), max(threshold, h.max())

    def x_of(t: float) -> float:
        return 60 + 300 * (t + 0.5) / steps

    def y_of(v: float) -> float:
        return 250 - 200 * (v - low) / (high - low)

    parts = [
        text(210, 25, f"one neuron of {LAYER} over {steps} time steps"),
        line(60, y_of(threshold), 360, y_of(threshold), f'stroke="{GREY}" stroke-dasharray="5 4"'),
        text(56, y_of(threshold) + 4, "threshold", "end", GREY).replace("threshold<", f"{threshold:g}<"),
        line(60, 250, 360, 250),
    ]
    for t in range(steps):
        parts += [line(x_of(t), y_of(0), x_of(t), y_of(h[t]), f'stroke="{BLUE}" stroke-width="2"')]
        parts += [dot(x_of(t), y_of(h[t]), BLUE), text(x_of(t), 268, str(t + 1))]
        parts += [text(x_of(t), 288, "spike", colour=BLUE)] if found.spikes[t, k] else []
    parts += [f'<circle cx="{x_of(step):.1f}" cy="{y_of(h[step]):.1f}" r="10" fill="none" stroke="{ORANGE}"/>']

    # The same membrane, seen from the threshold.
    d, bound, e = h[step] - threshold, found.bound[step, k], found.exported[step, k] - threshold
    largest = 1.15 * max(abs(d) + bound, abs(e))

    def zoomed(v: float) -> float:
        return 150 - 110 * v / largest

    parts += [
        text(560, 25, f"step {step + 1}: the distance from the threshold"),
        line(430, zoomed(0), 690, zoomed(0), f'stroke="{GREY}" stroke-dasharray="5 4"'),
        text(695, zoomed(0) + 4, "0", "start", GREY),
        line(500, zoomed(d - bound), 500, zoomed(d + bound), f'stroke="{BLUE}" stroke-width="8" stroke-opacity="0.3"'),
        dot(500, zoomed(d), BLUE),
        dot(600, zoomed(e), ORANGE),
        text(500, 288, f"float64: {d:+.1e}", colour=BLUE),
        text(620, 288, f"exported: {e:+.1e}", colour=ORANGE),
        text(515, zoomed(d + bound) + 12, f"rounding bound ±{bound:.1e}", "start", BLUE),
    ]
    return picture(740, 300, "A membrane near its threshold", parts)


def logarithmic(values: npt.NDArray[np.float64], begin: float, end: float) -> tuple[Callable[[float], float], range]:
    """A scale from powers of ten to places, and the powers of ten on it."""
    low, high = math.floor(math.log10(values.min())), math.ceil(math.log10(values.max()))
    return (lambda v: begin + (end - begin) * (math.log10(v) - low) / (high - low)), range(low, high + 1)


def scatter(found: Membranes) -> str:
    """Each neuron and step: its distance from the threshold, and the error that was made."""
    distance, error = found.distance.ravel(), np.abs(found.exported - found.reference).ravel()
    flips, within = found.flips.ravel(), found.bound.ravel()
    shown = (error > 0) & (distance > 0)
    both = np.concatenate([distance[shown], error[shown]])
    x_of, powers = logarithmic(both, 80, 520)
    y_of, _ = logarithmic(both, 440, 40)
    parts = [line(80, 440, 520, 440), line(80, 440, 80, 40)]
    for power in powers:
        parts += [text(x_of(10.0**power), 458, f"1e{power}"), text(74, y_of(10.0**power) + 4, f"1e{power}", "end")]
    parts += [
        line(80, 440, 520, 40, f'stroke="{GREY}" stroke-dasharray="5 4"'),
        text(300, 485, "distance of the float64 membrane from the threshold"),
        f'<g transform="rotate(-90 20 240)">{text(20, 240, "error of the exported membrane")}</g>',
        text(200, 60, "error larger than distance", colour=GREY),
    ]
    undecided = shown & (distance <= within) & ~flips
    some = np.random.default_rng(0).random(len(distance)) < min(1.0, 1500 / len(distance))
    for which, colour, radius in (
        (shown & ~undecided & ~flips & some, "#90a4ae", 1.2),
        (undecided, BLUE, 3),
        (shown & flips, ORANGE, 4),
    ):
        parts += [
            dot(x_of(x), y_of(y), colour, radius, 0.7) for x, y in zip(distance[which], error[which], strict=True)
        ]
    counts = ((distance > within).sum(), undecided.sum(), flips.sum())
    keys = (f"decided ({some.mean():.0%} drawn)", "undecided: within the bound", "flipped")
    for place, (colour, n, name) in enumerate(zip(("#90a4ae", BLUE, ORANGE), counts, keys, strict=True)):
        parts += [dot(545, 60 + 24 * place, colour), text(556, 64 + 24 * place, f"{name}: {n:,}", "start")]
    return picture(780, 500, "Distances from the threshold, errors and flips", parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder to write flips.svg and membrane.svg into")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "fp16.bundle"
        data = EXAMPLE / "test_1000.npz"
        tcja_deploy.export(
            EXAMPLE / "checkpoint.pth", data=data, samples=64, precision="fp16", target="onnx", out=bundle
        )
        found = measured(bundle)
    (folder / "membrane.svg").write_text(course(found))
    (folder / "flips.svg").write_text(scatter(found))
    print(
        f"{found.flips.sum()} flips; none further from the threshold than its bound: "
        f"{bool((found.distance <= found.bound)[found.flips].all())}"
    )


if __name__ == "__main__":
    main()
