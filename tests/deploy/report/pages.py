"""Reports of exports that were never made: manifests, comparisons and profiles, their pages, and what is read there."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np

from tcja_deploy.parity.failures import Failure
from tcja_deploy.parity.verdict import Divergence, LayerParity, Parity, Report, SignalParity
from tcja_deploy.report.answers import Answers, Samples
from tcja_deploy.report.network_profile import MARGIN_EDGES, NetworkProfile
from tcja_deploy.report.page import render
from tcja_deploy.report.page_data import PageData
from tcja_exporters.graph.outline import Block
from tcja_runtime.bundle.manifest import Manifest, TimeForms
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.bundle.parity_summary import ParitySummary
from tcja_runtime.data.contract import InputContract
from tcja_runtime.evidence.agreement import Accuracy, Agreement
from tcja_runtime.evidence.anytime import FRAMES_SHOWN, STEPS_READ, Curve
from tcja_runtime.neuron import NeuronSpec

from ...sidecars import engine_info

MANIFEST = Manifest(
    producer="test",
    created="2026-01-01T00:00:00+00:00",
    checkpoint={"name": "a.pth", "sha256": "0123456789abcdef" * 4, "bytes": 1234},
    network="dvs128",
    dialect="spikingjelly",
    evidence=["because of its keys"],
    time_steps=4,
    parameters=7654321,
    input=InputContract.frames(4, 128, 128),
    output="rates",
    output_shape=(3,),
    classes=["clap", "wave", "roll"],
    layers=[Layer(name="conv.1", shape=(2, 3), neuron=NeuronSpec.leaky(decay_input=True, tau=2.0))],
    taps=[],
    answer=None,
    weights=[],
    passes=[{"name": "fold_batch_norm", "changes": 5, "exact": False, "note": "rounds differently"}],
    time_form=TimeForms(form="scan", why="asked for", layers={}),
    precision="fp32",
    calibration={},
    targets=["onnx"],
    engines={"orin": engine_info(bytes=4321, batch=[1, 1, 8], layers=12)},
    parity=ParitySummary(reference="PyTorch"),
    tools={"python": "3.11.7"},
)

VOID = {"meta", "img"}


def layer(name: str = "conv.1", time_steps: int = 4, **changes) -> LayerParity:
    none = [0] * time_steps
    counts = ("undecided", "flips", "unexplained", "free_running_flips")
    fields = {"spikes": [3] * time_steps, **dict.fromkeys(counts, none)}
    return LayerParity(**{"layer": name, "neurons": 6, **fields, **changes})


STATISTICS = Agreement(
    source="test.npz",
    windows=4,
    paired=4,
    same_class=3,
    top=3,
    in_top=4,
    accuracy=Accuracy(right=2, labelled=4),
    only_original=1,
    only_exported=0,
    neither=1,
)


def parity(layers: list[LayerParity], **changes) -> Parity:
    signals = [
        SignalParity(scene="windows", signal="conv.1", seen=10, beyond=0, share=0.123, exact=False),
        SignalParity(scene="dyadic", signal="conv.1", seen=10, beyond=0, share=0.0, exact=True),
    ]
    fields = {
        "backend": "ONNX Runtime 1.32.0",
        "model": "model.plain.onnx",
        "twins": ["model.onnx"],
        "changed_windows": 1,
        "statistics": STATISTICS,
        "output_difference": 0.05,
        "divergence": None,
        "layers": layers,
        "signals": signals,
        "failures": [],
    }
    return Parity(**{**fields, **changes})


def compared(*backends: Parity, **changes) -> Report:
    fields = {
        "reference": "PyTorch 2.13.0",
        "source": "test.npz",
        "real": True,
        "windows": 4,
        "estimated": {},
        "backends": list(backends),
    }
    return Report(**{**fields, **changes})


def failure(text: str) -> Failure:
    return Failure(kind="values", text=text, model="model.plain.onnx")


def margins(*at: int) -> list[int]:
    counts = [0] * (len(MARGIN_EDGES) + 1)
    for place in at:
        counts[place] += 1
    return counts


FLIPPED = layer(
    flips=[0, 0, 7, 1],
    unexplained=[0, 0, 2, 0],
    undecided=[0, 0, 18, 6],
    free_running_flips=[0, 0, 1234, 12345],
    margin=1e-6,
)
DIVERGED = Divergence(layer="conv.1", window=1, time_step=3, spikes={"conv.1": 1, "fc": 9, "out": 4})
MET = compared(parity([layer()]))
NAMED = compared(
    parity([FLIPPED, layer("fc"), layer("out")], divergence=DIVERGED, failures=[failure("2 spikes differ")])
)
PROFILE = NetworkProfile(
    windows=4,
    margins={"conv.1": margins(9, 15, 15, 16), "silent": margins()},
    gates={"att": [[0.0, 0.5, 0.5, 1.0], [0.25] * 4, [1.0] * 4, [0.0] * 4]},
)


class Page(HTMLParser):
    """A page taken apart; it fails where a tag is not closed, or closes another."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self._open[-1] if self._open else "", data))

    @property
    def text(self) -> str:
        """What is read, in one line."""
        words = " ".join(data for tag, data in self.texts if tag != "style")
        return re.sub(r"\s+", " ", words.replace("\N{NO-BREAK SPACE}", " "))

    def classes(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if name in (attributes.get("class") or "").split()]


def outlined(*names: str) -> list[Block]:
    """A network of spiking layers behind convolutions, the last with a connection that passes layers."""
    blocks = [Block(kind="input", name="frames", about="input", shape=(4, 2, 128, 128))]
    for name in names:
        before = len(blocks) - 1
        shape = (128, 64, 64)
        blocks.append(
            Block(kind="product", name=f"{name}.0", about="convolution 3 x 3", shape=shape, sources=(before,))
        )
        blocks.append(Block(kind="spiking", name=name, about="spiking layer", shape=shape, sources=(before + 1,)))
    last = len(blocks) - 1
    blocks.append(Block(kind="attention", name="att", about="attention", sources=(last,)))
    blocks.append(Block(kind="join", name="", about="sum", sources=(0, last + 1)))
    blocks.append(Block(kind="unjudged", name="odd", about="fires, is not judged (Odd)", sources=(last + 2,)))
    return [*blocks, Block(kind="output", name="rates", about="output", shape=(3,), sources=(last + 3,))]


def answered(classes: int = 3, shape: tuple[int, ...] = (4, 2, 16, 16), n: int = 3) -> Answers:
    """Windows of which the last is answered wrongly by the exported network alone, and their confusions."""
    random = np.random.default_rng(0)
    trained = np.eye(classes, dtype=np.float32)[np.arange(n) % classes]
    exported = trained.copy()
    exported[-1] = np.roll(trained[-1], 1)
    samples = Samples(
        numbers=list(range(2, n + 2)),
        inputs=random.poisson(0.2, (n, *shape)).astype(np.float32),
        labels=np.arange(n) % classes,
        trained=trained,
        exported=exported,
        of=16,
    )
    confusion = np.diag(np.arange(1, classes + 1))
    confusion[0, -1], confusion[-1, 0] = 4, 2
    return Answers(samples=samples, confusion=confusion)


def rendered(manifest: Manifest, found: Report, profile: NetworkProfile, **data: object) -> str:
    """The page of an export, with samples, a drawing and sizes unless others are given."""
    fields = {
        "bundle": "a.bundle",
        "answers": answered(len(manifest.classes)) if manifest.classes else None,
        "outline": outlined(*(each.layer for each in found.backends[0].layers)),
        "files": {"model.onnx": 10_722, "weights.bin": 1_670_272, "engines/orin/model.engine": 4321},
    }
    return render(manifest, found, PageData(profile=profile, **{**fields, **data}))


def page(found: Report, manifest: Manifest = MANIFEST, profile: NetworkProfile = PROFILE) -> Page:
    return Page(rendered(manifest, found, profile))


def big() -> str:
    """40 layers with flips everywhere, 50 failures, and two blocks of 20 x 512 gates of which no two are alike."""
    random = np.random.default_rng(0)
    layers = [
        layer(
            f"stage{i // 8}.block{i % 8}.a_rather_long_name_of_a_neuron",
            20,
            flips=random.integers(1, 99999, 20).tolist(),
            unexplained=random.integers(0, 2, 20).tolist(),
            free_running_flips=random.integers(1, 999999, 20).tolist(),
        )
        for i in range(40)
    ]
    spikes = {found.layer: 123456 for found in layers}
    diverged = Divergence(layer=layers[0].layer, window=0, time_step=1, spikes=spikes)
    failures = [failure(f"{n} values are wrong") for n in range(50)]
    profile = NetworkProfile(
        windows=4,
        margins={found.layer: random.integers(0, 9999, len(MARGIN_EDGES) + 1).tolist() for found in layers},
        gates={name: random.uniform(size=(20, 512)).tolist() for name in ("a.gate", "b.gate")},
    )
    return rendered(MANIFEST, compared(parity(layers, failures=failures, divergence=diverged)), profile)


def generator() -> str:
    """A network that makes images, in one time step, without labels, gates or flips, on drawn windows."""
    manifest = dataclasses.replace(MANIFEST, time_steps=1, classes=[], engines={}, output_shape=(1, 28, 28))
    found = compared(
        parity([layer(time_steps=1)], statistics=None, changed_windows=0, twins=[]),
        real=False,
        source="drawn at random, seed 0",
    )
    images = np.random.default_rng(0).uniform(-1, 1, (2, 1, 28, 28)).astype(np.float32)
    samples = Samples(
        numbers=[1, 2], inputs=np.ones((2, 1, 20), np.float32), labels=None, trained=images, exported=images, of=2
    )
    answers = Answers(samples=samples, confusion=None)
    return rendered(manifest, found, NetworkProfile(windows=4, margins={}, gates={}), answers=answers)


def long_names() -> str:
    """Names that cannot be broken at a space."""
    name = 300 * "x"
    manifest = dataclasses.replace(
        MANIFEST,
        network=name,
        classes=[name],
        layers=[dataclasses.replace(MANIFEST.layers[0], name=name)],
        tools={name: name},
    )
    signal = SignalParity(scene="windows", signal=name, seen=1, beyond=0, share=0.1, exact=False)
    diverged = Divergence(layer=name, window=0, time_step=1, spikes={name: 1})
    found = parity([layer(name, free_running_flips=[1] * 4)], model=name, signals=[signal], divergence=diverged)
    profile = NetworkProfile(windows=4, margins={name: margins(3)}, gates={name: PROFILE.gates["att"]})
    outline = [dataclasses.replace(block, name=block.name and name) for block in outlined(name)]
    answers = answered(1, n=1)
    return rendered(manifest, compared(found, source=name), profile, bundle=name, outline=outline, answers=answers)


def many_classes() -> str:
    """A network of 101 classes, whose confusions are pairs, and one of many layers, whose drawing is folded."""
    manifest = dataclasses.replace(MANIFEST, classes=[f"class number {at}" for at in range(101)])
    outline = outlined(*(f"layer{at}.conv" for at in range(20)))
    return rendered(manifest, MET, PROFILE, outline=outline, answers=answered(101, shape=(1, 28, 28)))


def twenty_classes() -> str:
    """A network of as many classes as a matrix shows, with long names."""
    manifest = dataclasses.replace(MANIFEST, classes=[f"a rather long name of class {at}" for at in range(20)])
    return rendered(manifest, MET, PROFILE)


def curves() -> str:
    """A network of 20 time steps whose predictions are known after each of them, in two networks and two ways."""
    found = [
        Curve(
            network=network,
            counted=counted,
            windows=1000,
            same=[50 * t for t in range(1, 21)],
            accuracy=[Accuracy(right=45 * t, labelled=1000) for t in range(1, 21)],
        )
        for network in ("PyTorch 2.13.0, float64", "ONNX Runtime 1.32.0")
        for counted in (STEPS_READ, FRAMES_SHOWN)
    ]
    return rendered(MANIFEST, compared(parity([layer()]), anytime=found), PROFILE)


PAGES = {
    "curves": curves,
    "met": lambda: rendered(MANIFEST, MET, PROFILE),
    "not met": lambda: rendered(MANIFEST, NAMED, PROFILE),
    "big": big,
    "generator": generator,
    "long names": long_names,
    "many classes": many_classes,
    "twenty classes": twenty_classes,
    "two backends": lambda: rendered(MANIFEST, compared(*MET.backends, *NAMED.backends), PROFILE),
}
