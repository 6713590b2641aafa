"""report.html: what it says, that no name gets out of its place, and that it loads nothing."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tcja_deploy import formatting
from tcja_deploy.parity.verdict import Divergence, SignalParity
from tcja_deploy.report.html import tag
from tcja_deploy.report.network_profile import NetworkProfile
from tcja_deploy.report.plots import map_of
from tcja_exporters.precision.advice import Advice
from tcja_runtime.bundle.manifest import TimeForms
from tcja_runtime.bundle.sidecar import KernelPlan
from tcja_runtime.data.contract import InputContract
from tcja_runtime.evidence.agreement import Accuracy

from .pages import (
    MANIFEST,
    MET,
    NAMED,
    PAGES,
    PROFILE,
    STATISTICS,
    Page,
    big,
    compared,
    failure,
    generator,
    layer,
    margins,
    page,
    parity,
    rendered,
)


@pytest.fixture(params=list(PAGES))
def text(request) -> str:
    return PAGES[request.param]()


def test_it_is_one_file_that_loads_and_runs_nothing(text):
    found = Page(text)
    names = {name for name, _ in found.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "image", "use"}
    for name, attributes in found.tags:
        assert not {"href", "srcset", "data", "action"} & set(attributes), name
        assert (name == "img") == ("src" in attributes)
        assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
        assert not any(key.startswith("on") for key in attributes), name
    assert not re.search(r"https?://|url\(|@import|@font-face", text)
    policy = next(a["content"] for name, a in found.tags if name == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_every_plot_is_described(text):
    found = Page(text)
    drawn = [attributes for name, attributes in found.tags if name == "svg" and "aria-hidden" not in attributes]
    assert drawn
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawn)
    assert all(attributes["alt"] for name, attributes in found.tags if name == "img")
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
    assert "exported from a\\xff.pth" in rendered(manifest, MET, PROFILE).encode().decode()


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
    unreal = "No real data was used (the option data), so accuracy is unknown."
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
    cells = [attributes for attributes in found.classes("step") if "time step" in attributes.get("title", "")]
    assert [cell["title"] for cell in cells] == [
        "conv.1, time step 3: 7, 2 of them unexplained",
        "conv.1, time step 4: 1",
        "conv.1, time step 3: 1,234",
        "conv.1, time step 4: 12,345",
    ]
    assert cells[0]["class"] == "step wrong"
    assert "deep" in cells[3]["class"].split()
    shown = [text for name, text in found.texts if name == "td" and text.strip()]
    shown = shown[shown.index("7 !2") - 2 :]
    assert shown[:7] == ["\u00b7", "\u00b7", "7 !2", "1", "8", "2", "25\N{NO-BREAK SPACE}%"]
    assert "12k" in shown


def test_the_first_divergence_is_told():
    text = page(NAMED).text
    assert "differs in conv.1, in window 1 (from 0), time step 3 (from 1). In that window 1 spike of conv.1" in text
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
    (drawn,) = [
        a["aria-label"] for name, a in found.tags if name == "svg" and "membranes" in (a.get("aria-label") or "")
    ]
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
    left = float(re.match(r"M([\d.]+) ", bars)[1]) - 10 * 9 - 1  # the first bar is of bin 9
    assert mark.startswith(f"M{left + 10 * 5:.1f} ")


def test_firing_rates():
    found = page(compared(parity([layer(spikes=[0, 3, 6, 3]), layer("fc", spikes=[6, 6, 6, 6])])))
    assert [a["style"] for a in found.classes("bar")] == ["width: 12.3%", "width: 50.0%", "width: 100.0%"]
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


def test_what_lower_precisions_would_do():
    advice = [
        Advice(precision="fp16", flips={"conv.1": 2.8e-4, "fc": 0.0}, per_spike={"conv.1": 2.2e-3, "fc": 0.0}),
        Advice(precision="int8", flips={"conv.1": 0.0057, "fc": 1e-4}, per_spike={"conv.1": 0.044, "fc": 1e-6}),
    ]
    found = Page(
        rendered(MANIFEST, compared(parity([layer()])), NetworkProfile(windows=4, margins={}, gates={}, advice=advice))
    )
    said = found.text.replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "In fp16, conv.1 should stay in float32: the worst layer would have 2.20 flips for each 1,000 spikes, and the "
        "limit for fp16 is 1. In int8, no layer needs to stay in float32: the worst layer would have 44 flips for each "
        "1,000 spikes, and the limit for int8 is 100."
    ) in said
    assert "layer fp16 (limit 1) int8 (limit 100) conv.1 2.20 (keep) 44 fc 0.00 < 0.01" in said
    assert "each precision has a limit of its own" in said


def test_every_section_says_what_to_conclude():
    for make in PAGES.values():
        found = Page(make())
        titles = [text for name, text in found.texts if name == "h2"]
        assert len(titles) > 8
        leads = found.classes("lead")
        assert len(leads) == len(titles)


def conclusion(found: Page, title: str) -> str:
    """The first sentences of a section."""
    return found.text.split(f" {title} ", 1)[1]


@pytest.mark.parametrize(
    ("report", "flips", "signals"),
    [
        (
            MET,
            "Not one spike flips: each layer",
            "Rounding explains every difference: the largest one, in conv.1, is 12 %",
        ),
        (compared(parity([layer(flips=[0, 0, 0, 2])])), "Rounding explains all 2 flips: each layer", "Rounding"),
        (NAMED, "Rounding does not explain 2 flips, in conv.1: the export has a bug.", "Rounding explains"),
        (
            compared(
                parity(
                    [layer()],
                    signals=[SignalParity(scene="dyadic", signal="fc", seen=9, beyond=1, share=2.0, exact=False)],
                )
            ),
            "Not one spike flips",
            "Rounding does not explain the values of fc: the export has a bug.",
        ),
        (
            compared(
                parity(
                    [layer()], signals=[SignalParity(scene="x", signal="fc", seen=9, beyond=0, share=0.0, exact=True)]
                )
            ),
            "Not one spike flips",
            "Every signal is equal to the bit.",
        ),
    ],
)
def test_the_conclusion_is_that_of_the_figures(report, flips, signals):
    found = page(report)
    assert conclusion(found, "Where spikes flip").startswith(flips)
    assert conclusion(found, "Differences of signals, as shares of their rounding bounds").startswith(signals)


def test_silent_layers_and_near_membranes_are_concluded():
    found = page(compared(parity([layer(), layer("fc", spikes=[0] * 4)])))
    rates = conclusion(found, "Firing rates of the trained network")
    assert rates.startswith("fc never fired on these windows: nothing is known of it.")
    assert "Every spiking layer fires, at 12.50 % to 12.50 % of the time steps" in page(MET).text
    nearer = dataclasses.replace(PROFILE, margins={"conv.1": margins(8, 9, 15, 16), "fc": margins(9)})
    near = conclusion(page(MET, profile=nearer), "How near neurons come to their thresholds")
    assert near.startswith("In conv.1, 25 % of the sampled membranes are within 10\u207b\u2074 of the threshold, more")
    far = dataclasses.replace(PROFILE, margins={"conv.1": margins(9)})
    none = "No sampled membrane is within 10\u207b\u2074 of its threshold"
    assert f"{none}: small rounding errors can flip few spikes." in page(MET, profile=far).text
    flipped = compared(parity([layer(flips=[0, 0, 0, 1], margin=1.2e-7)]))
    assert (
        f"{none}, so few spikes can flip by rounding. Among all neurons, not only the sampled ones, 1 spike did, at "
        "most 1e-07 of the threshold away."
    ) in page(flipped, profile=far).text
    assert "Rounding explains the 1 flip: each layer" in page(flipped).text


def test_words_are_explained_where_they_are_shown():
    beyond = SignalParity(scene="windows", signal="fc", seen=9, beyond=1, share=2.0, exact=False)
    explained = "\u201cBeyond\u201d: the number"
    assert explained not in page(MET).text
    assert explained in page(compared(parity([layer()], signals=[beyond]))).text
    assert "values: counts of events" in page(MET).text
    assert "In a network with attention, later frames" in Page(PAGES["curves"]()).text


def test_classes_without_names_are_named_once():
    found = page(MET, dataclasses.replace(MANIFEST, classes=["0", "1", "2"]))
    assert [text for kind, text in found.texts if text in ("0 0", "1 1")] == []
    named = page(MET, dataclasses.replace(MANIFEST, classes=["cat", "1", "2"]))
    assert "0 cat" in named.text


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.bundle", ["tcja-deploy build a.bundle", "tcja-deploy run a.bundle RECORDING", "tcja.load('a.bundle')"]),
        ("it's.bundle", ["""tcja-deploy verify 'it'"'"'s.bundle'""", """tcja.load("it's.bundle")"""]),
    ],
)
def test_the_next_commands_name_the_bundle(name, lines):
    found = Page(rendered(MANIFEST, MET, PROFILE, bundle=name))
    commands = [text for kind, text in found.texts if kind == "pre"]
    assert len(commands) == 5
    assert all(any(line in command for command in commands) for line in lines)


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ({}, ["RECORDING"]),
        ({"input": InputContract.images(1, 28, 28)}, ["DATA.npz"]),
        ({"classes": []}, []),
    ],
)
def test_the_next_commands_fit_the_network(changed, taken):
    found = Page(rendered(dataclasses.replace(MANIFEST, **changed), MET, PROFILE, bundle="a.bundle"))
    commands = [text for kind, text in found.texts if kind == "pre"]
    runs = [command for command in commands if "run" in command.split()]
    assert runs == [f"tcja-deploy run a.bundle {word}" for word in taken]


def test_without_parity_no_command_needs_the_bundle():
    found = page(NAMED)
    assert not [text for kind, text in found.texts if kind == "pre"]
    said = conclusion(found, "What to do next")
    assert said.startswith("No bundle is written, as the exported network is not the trained one. The first layer with")
    assert "unexplained flips is conv.1: look at what comes before it. Send this page" in said
    half = page(NAMED, dataclasses.replace(MANIFEST, precision="fp16"))
    assert "Export again with --precision fp32, which shows whether the precision" in half.text


def test_size_and_speed_are_what_was_measured():
    found = conclusion(page(MET), "Size and speed")
    assert found.startswith("The models take 1.68 MB; 1.67 MB of it are the weights (7,654,321 parameters, fp32). The ")
    assert "engines/orin/model.engine 4,321 0.00" in found
    assert (
        "Engine orin: What its kernels move is not known: it was built by a version that recorded no kernels." in found
    )
    plan = KernelPlan(kernels=33, bytes=513_000_000, weight_bytes=7_330_000, largest=[])
    engine = dataclasses.replace(MANIFEST.engines["orin"], plan=plan)
    known = conclusion(page(MET, dataclasses.replace(MANIFEST, engines={"orin": engine})), "Size and speed")
    assert "Engine orin: 33 kernels move 513 MB of data a window, and 7.33 MB of weights." in known.replace(
        formatting.NBSP, " "
    )
    assert "The latency of the whole network was not measured" in found
    assert "Measured time" not in found
    forms = {"conv.1": {"form": "scan", "scan_ms": 0.25, "unrolled_ms": 1.5}}
    timed = dataclasses.replace(MANIFEST, time_form=TimeForms(form="scan", why="the fastest here", layers=forms))
    found = conclusion(page(MET, timed), "Size and speed")
    assert "for one window: the fastest here. " in found
    assert "conv.1 0.250 1.500 scan" in found
