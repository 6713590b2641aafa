"""report.html: what it says, that no name gets out of its place, and that a browser shows it without complaint."""

from __future__ import annotations

import dataclasses
import html
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from tcja_deploy import formatting
from tcja_deploy.parity.failures import Failure
from tcja_deploy.parity.verdict import Divergence, LayerParity, Parity, Report, SignalParity
from tcja_deploy.report.html import tag
from tcja_deploy.report.network_profile import MARGIN_EDGES, NetworkProfile
from tcja_deploy.report.page import render
from tcja_deploy.report.plots import map_of
from tcja_exporters.precision.advice import Advice
from tcja_runtime.bundle.manifest import Manifest, TimeForms
from tcja_runtime.bundle.parity_summary import ParitySummary
from tcja_runtime.bundle.signature import Layer
from tcja_runtime.data.contract import InputContract
from tcja_runtime.evidence.agreement import Accuracy, Agreement
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

VOID = {"meta"}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NARROW = 400


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


def page(found: Report, manifest: Manifest = MANIFEST, profile: NetworkProfile = PROFILE) -> Page:
    return Page(render(manifest, found, profile))


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
    return render(MANIFEST, compared(parity(layers, failures=failures, divergence=diverged)), profile)


def generator() -> str:
    """A network that makes images, in one time step, without labels, gates or flips, on drawn windows."""
    manifest = dataclasses.replace(MANIFEST, time_steps=1, classes=[], engines={}, output_shape=(1, 28, 28))
    found = compared(
        parity([layer(time_steps=1)], statistics=None, changed_windows=0, twins=[]),
        real=False,
        source="drawn at random, seed 0",
    )
    return render(manifest, found, NetworkProfile(windows=4, margins={}, gates={}))


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
    return render(manifest, compared(found, source=name), profile)


PAGES = {
    "met": lambda: render(MANIFEST, MET, PROFILE),
    "not met": lambda: render(MANIFEST, NAMED, PROFILE),
    "big": big,
    "generator": generator,
    "long names": long_names,
    "two backends": lambda: render(MANIFEST, compared(*MET.backends, *NAMED.backends), PROFILE),
}


@pytest.fixture(params=list(PAGES))
def text(request) -> str:
    return PAGES[request.param]()


def test_it_is_one_file_that_loads_and_runs_nothing(text):
    found = Page(text)
    names = {name for name, _ in found.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
    for name, attributes in found.tags:
        assert not {"src", "href", "srcset", "data", "action"} & set(attributes), name
        assert not any(key.startswith("on") for key in attributes), name
    assert not re.search(r"https?://|url\(|@import|@font-face|base64", text)
    policy = next(a["content"] for name, a in found.tags if name == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_every_plot_is_described(text):
    found = Page(text)
    drawn = [attributes for name, attributes in found.tags if name == "svg"]
    assert drawn
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawn)
    boxes = found.classes("wide")
    assert all(attributes["aria-label"] and attributes["tabindex"] == "0" for attributes in boxes)
    assert sum(name == "figure" for name, _ in found.tags) == sum(name == "figcaption" for name, _ in found.tags)


HOSTILE = "</style></title><script>alert(1)</script>\"' onload=x <b>&amp;"


def test_names_stay_text():
    manifest = dataclasses.replace(
        MANIFEST,
        network=HOSTILE,
        checkpoint={**MANIFEST.checkpoint, "name": HOSTILE},
        evidence=[HOSTILE],
        classes=[HOSTILE],
        layers=[dataclasses.replace(MANIFEST.layers[0], name=HOSTILE)],
        passes=[{"name": HOSTILE, "changes": 1, "exact": True, "note": HOSTILE}],
        engines={HOSTILE: MANIFEST.engines["orin"]},
        tools={HOSTILE: HOSTILE},
        producer=HOSTILE,
    )
    named = layer(HOSTILE, flips=[1] * 4, unexplained=[0, 0, 1, 0], free_running_flips=[1] * 4)
    found = compared(
        parity(
            [named, layer("silent" + HOSTILE, spikes=[0] * 4)],
            backend=HOSTILE,
            model=HOSTILE,
            twins=[HOSTILE],
            failures=[failure(HOSTILE), failure(HOSTILE)],
            divergence=Divergence(layer=HOSTILE, window=0, time_step=1, spikes={HOSTILE: 1}),
            signals=[SignalParity(scene=HOSTILE, signal=HOSTILE, seen=1, beyond=0, share=0.5, exact=False)],
        ),
        source=HOSTILE,
        reference=HOSTILE,
        estimated={HOSTILE: [HOSTILE]},
    )
    plain = page(NAMED)
    shown = page(
        found,
        manifest,
        NetworkProfile(windows=4, margins={HOSTILE: margins(9)}, gates={HOSTILE: PROFILE.gates["att"]}),
    )
    assert {name for name, _ in shown.tags} == {name for name, _ in plain.tags}
    assert {key for _, a in shown.tags for key in a} == {key for _, a in plain.tags for key in a}
    assert shown.text.count(HOSTILE) > 20


def test_a_file_name_that_is_no_text_can_be_written():
    manifest = dataclasses.replace(MANIFEST, checkpoint={**MANIFEST.checkpoint, "name": "a\udcff.pth"})
    assert "exported from a\\xff.pth" in render(manifest, MET, PROFILE).encode().decode()


def test_text_is_escaped_and_markup_is_not():
    assert tag("p", "<&", tag("b", '"'), class_="a b", aria_label='"', title=None) == (
        '<p class="a b" aria-label="&quot;">&lt;&amp;<b>&quot;</b></p>'
    )


def test_met_without_a_flip():
    text = page(MET).text
    assert "Parity met: the exported network fires the trained network's spikes, every one of them." in text
    assert "Judged spike by spike against PyTorch 2.13.0, on 4 windows of real data (test.npz)." in text
    assert "No real data" not in text
    assert "fires every spike of the trained one" in text
    assert "Rounding changes the predicted class of 1 window in ONNX Runtime 1.32.0." in text


@pytest.mark.parametrize(("flips", "words"), [(1, "the 1 spike that differs."), (3, "the 3 spikes that differ.")])
def test_met_with_flips(flips, words):
    assert f"rounding explains {words}" in page(compared(parity([layer(flips=[0, 0, 0, flips])]))).text


def test_drawn_windows_and_estimates_and_silence_are_said():
    found = compared(
        parity([layer(), layer("fc", spikes=[0] * 4)]),
        real=False,
        source="drawn at random, seed 0",
        estimated={"fc": ["Gelu", "Mish"]},
    )
    text = page(found).text
    silent = "1 of 2 spiking layers never fired on these 4 windows, which prove little about fc."
    unreal = "No real data was used (`data`), so accuracy is unknown."
    assert f"on 4 windows (drawn at random, seed 0). {silent} {unreal}" in text
    estimate = "The rounding bound of a signal is an estimate, as an operation has no rule for it: fc (Gelu, Mish)."
    assert estimate in text


def test_one_failure_is_the_verdict():
    found = page(NAMED)
    assert "Parity not met: ONNX Runtime 1.32.0: 2 spikes differ." in found.text
    assert found.classes("unmet")
    assert not found.classes("met")


def test_many_failures_have_a_line_each():
    found = Page(big())
    lines = [text for name, text in found.texts if name == "li" and "values are wrong" in text]
    assert "Parity not met, for 50 reasons:" in found.text
    assert lines == [f"ONNX Runtime 1.32.0: {n} values are wrong" for n in range(50)]
    assert "and 42 more" in found.text


def tiles(found: Page, n: int = 9) -> dict[str, tuple[str, str]]:
    texts = [text.replace("\N{NO-BREAK SPACE}", " ") for name, text in found.texts if name in ("dt", "dd")]
    return {texts[i]: (texts[i + 1], texts[i + 2]) for i in range(0, 3 * n, 3)}


def test_key_figures():
    assert tiles(page(NAMED)) == {
        "Accuracy, trained": ("3 of 4", "30.06 % to 95.44 % with 95 % confidence"),
        "Accuracy, exported": ("2 of 4", "15.00 % to 85.00 % with 95 % confidence"),
        "Same class": ("3 of 4", "in 3 of 4 windows, 30.06 % to 95.44 % with 95 % confidence"),
        "Top 3": ("4 of 4", "the exported class is among the trained network's 3 likeliest"),
        "McNemar's test": ("p = 1", "1 right only before, 0 only after the export"),
        "Spike flips": ("8", "6 explained by rounding"),
        "Unexplained flips": ("2", "not rounding: a bug"),
        "Windows judged": ("4", "1 with a flip, free-running"),
        "Output differs by": ("0.05", "at most, free-running"),
    }


def test_without_labels_or_classes():
    nothing = dataclasses.replace(STATISTICS, accuracy=Accuracy(0, 0), only_original=0, neither=0)
    unlabelled = tiles(page(compared(parity([layer()], statistics=nothing))), 8)
    assert unlabelled["Accuracy, trained"] == unlabelled["Accuracy, exported"] == ("-", "no labels")
    assert tiles(Page(generator()), 7)["Same class"] == ("-", "the network does not classify")


def test_classes_may_be_counted_on_more_windows_than_are_judged():
    more = dataclasses.replace(STATISTICS, windows=400, paired=400, same_class=399, in_top=400)
    found = page(compared(parity([layer()], statistics=more)))
    assert "Classes are counted on 400 windows (test.npz)." in found.text
    assert tiles(found)["Same class"] == ("99.75 %", "in 399 of 400 windows, 98.60 % to 99.96 % with 95 % confidence")
    assert "Classes are counted on" not in page(NAMED).text
    unknown = dataclasses.replace(STATISTICS, paired=0, same_class=0, in_top=0, only_original=0, neither=0)
    known = tiles(page(compared(parity([layer()], statistics=unknown))), 7)
    assert known["Same class"] == ("-", "the trained network's classes are not known")
    assert known["Accuracy, trained"] == ("-", "not known on these windows")
    assert known["Accuracy, exported"] == ("2 of 4", "15.00 % to 85.00 % with 95 % confidence")


def test_flips_are_in_their_cells():
    found = page(NAMED)
    cells = [attributes for attributes in found.classes("step") if "title" in attributes]
    assert [cell["title"] for cell in cells] == [
        "conv.1, time step 3: 7, 2 of them unexplained",
        "conv.1, time step 4: 1",
        "conv.1, time step 3: 1,234",
        "conv.1, time step 4: 12,345",
    ]
    assert cells[0]["class"] == "step wrong"
    assert "deep" in cells[3]["class"].split()
    shown = [text for name, text in found.texts if name == "td" and text.strip()]
    assert shown[:7] == ["\u00b7", "\u00b7", "7 !2", "1", "8", "2", "25\N{NO-BREAK SPACE}%"]
    assert "12k" in shown


def test_the_first_divergence_is_told():
    text = page(NAMED).text
    assert "first differs in conv.1, in window 2 at time step 3. In that window 1 spike of conv.1 differs; " in text
    assert "; 9 of fc, the most of all layers; 4 of out, the last layer. A flip changes" in text
    mixed = "Attention mixes all time steps"
    assert mixed in text
    assert mixed not in page(NAMED, profile=NetworkProfile(windows=4, margins={}, gates={})).text


def test_a_divergence_in_the_last_layer_spreads_no_further():
    start = Divergence(layer="out", window=0, time_step=1, spikes={"conv.1": 0, "out": 2})
    text = page(compared(parity([layer(), layer("out", free_running_flips=[2, 0, 0, 0])], divergence=start))).text
    assert "In that window 2 spikes of out differ. A flip" in text


def test_margins_are_told_and_drawn():
    found = page(NAMED)
    (drawn,) = [a["aria-label"] for name, a in found.tags if name == "svg" and "membranes" in (a["aria-label"] or "")]
    assert drawn == (
        "conv.1: distance of 4 membranes from the threshold, as a share of it: none nearer than 0.0001, "
        "half of them within 0.32"
    )
    bars = next(a["d"] for name, a in found.tags if name == "path" and a.get("class") == "heat-fill" and a["d"])
    heights = [float(height) for height in re.findall(r"v-([\d.]+)h", bars)]
    assert len(heights) == 3
    assert heights[0] == heights[2] < heights[1]
    # 1e-6 is the edge after the fourth whole bin, and the bin below the edges comes first.
    mark = next(a["d"] for a in found.classes("mark"))
    assert mark.startswith(f"M{46 + 10 * 5:.1f} ")


def test_firing_rates():
    found = page(compared(parity([layer(spikes=[0, 3, 6, 3]), layer("fc", spikes=[6, 6, 6, 6])])))
    assert [a["style"] for a in found.classes("bar")][:2] == ["width: 50.0%", "width: 100.0%"]
    assert "conv.1 by time step: 0 %, 12.5 %, 25 %, 12.5 %" in [a.get("aria-label") for _, a in found.tags]
    path = next(a["d"] for name, a in found.tags if name == "path" and a["d"].startswith("M0.1 1"))
    assert re.findall(r"v-([\d.]+)", path) == ["0.000", "0.500", "1.000", "0.500"]


def test_gates_are_runs_of_equal_shade():
    drawn = Page(map_of("gate", PROFILE.gates["att"]))
    paths = {a["fill-opacity"]: a["d"] for name, a in drawn.tags if name == "path"}
    assert paths == {
        "0.26": "M0 1h4v1h-4z",
        "0.52": "M1 0h2v1h-2z",
        "1.00": "M3 0h1v1h-1zM0 2h4v1h-4z",
    }
    text = page(MET).text
    assert "The mean of 4 windows, from 0.00 to 1.00, 0.44 on average; most open at time step 3 (1.00)" in text


def test_a_gate_that_is_no_number_is_left_out():
    assert "M0 0" not in map_of("gate", [[float("nan"), 1.0]])


def test_signals():
    signals = [
        SignalParity(scene="drawn", signal="fc", seen=1000, beyond=12, share=float("inf"), exact=False),
        SignalParity(scene="windows", signal="fc", seen=10, beyond=0, share=0.0000123, exact=False),
        SignalParity(scene="dyadic", signal="fc", seen=10, beyond=0, share=0.0, exact=True),
    ]
    text = page(compared(parity([layer()], signals=signals))).text
    assert "windows random stimulus exact stimulus fc 0.0012 % of the bound ! 12 of 1,000 beyond to the bit" in text


@pytest.mark.parametrize(
    ("count", "text"),
    [(9999, "9999"), (10_000, "10k"), (999_499, "999k"), (999_500, "1.0M"), (99_949_999, "99.9M"), (10**9, "1.0G")],
)
def test_counts_in_cells_are_short(count, text):
    assert formatting.compact(count) == text


def test_facts_and_provenance():
    text = page(MET).text
    for fact in (
        "0123456789abcdef" * 4,
        "7,654,321",
        "python 3.11.7",
        "because of its keys",
        "h >= 1",
        "1:1:8",
        "4,321",
    ):
        assert fact in text
    assert "fold_batch_norm 5 no rounds differently" in text
    assert "No engine was built." in Page(generator()).text


def test_several_backends_are_told_apart():
    found = Page(PAGES["two backends"]())
    assert found.text.count("Where spikes flip: ONNX Runtime 1.32.0") == 2


def test_a_big_network_makes_no_big_file():
    assert len(big().encode()) < 1_500_000


def chromium(*arguments: object) -> subprocess.CompletedProcess[str]:
    # Errors of the browser's own, such as no message bus, are told from a page's by the word CONSOLE.
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0")
    return subprocess.run([CHROMIUM, *flags, *map(str, arguments)], capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium to show the report with")
@pytest.mark.parametrize("name", ["met", "not met", "big", "generator", "long names"])
def test_a_browser_shows_it(name, tmp_path):
    """At two widths, in one start: a window cannot be so narrow, but a frame in it can."""
    text = html.escape(PAGES[name]())
    frames = "".join(f'<iframe width="{width}" height="900" srcdoc="{text}"></iframe>' for width in (1280, NARROW))
    script = (
        "onload = () => { document.title = [...document.querySelectorAll('iframe')].map(frame => { "
        "const root = frame.contentDocument.documentElement; "
        "return [root.clientWidth, root.scrollWidth, root.querySelectorAll('svg').length].join(' '); }).join(', ') }"
    )
    file = tmp_path / "frames.html"
    file.write_text(
        f"<!doctype html><title></title><style>iframe {{ border: 0 }}</style>{frames}<script>{script}</script>"
    )
    done = chromium("--window-size=1800,1000", f"--screenshot={tmp_path / 'report.png'}", "--dump-dom", file.as_uri())
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title, done.stderr
    sizes = [[int(n) for n in found.split()] for found in title[1].split(", ")]
    plots = sizes[0][2]
    assert plots > 0
    assert sizes == [[1280, 1280, plots], [NARROW, NARROW, plots]]


def test_what_lower_precisions_would_do():
    advice = [
        Advice(precision="fp16", flips={"conv.1": 1.5e-5, "fc": 0.0}, keep=[]),
        Advice(precision="int8", flips={"conv.1": 0.02, "fc": 1e-4}, keep=["conv.1"]),
    ]
    found = Page(
        render(MANIFEST, compared(parity([layer()])), NetworkProfile(windows=4, margins={}, gates={}, advice=advice))
    )
    said = found.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Layers better kept in float32. fp16: none. int8: conv.1." in said
    assert "2.0 % (keep)" in said
    assert "0.0015 %" in said
