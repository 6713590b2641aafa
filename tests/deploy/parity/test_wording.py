"""Every sentence of a verdict is printed if, and only if, its condition holds; the conditions are crossed."""

from __future__ import annotations

import itertools
import re

import pytest

from tcja_deploy.parity import wording
from tcja_deploy.parity.failures import EXACT, Failure
from tcja_deploy.parity.verdict import (
    Divergence,
    LayerParity,
    OutputParity,
    Parity,
    Report,
    SignalParity,
    StepwiseParity,
)
from tcja_runtime.evidence.agreement import Accuracy, Agreement
from tcja_runtime.evidence.spike_counts import CountParity

from ...sentences import faults

T = 2


def layer(name: str, spikes: int, flips: int = 0) -> LayerParity:
    return LayerParity(
        layer=name,
        neurons=10,
        spikes=[spikes, 0],
        undecided=[flips, 0],
        flips=[flips, 0],
        unexplained=[0, 0],
        free_running_flips=[flips, 0],
    )


def statistics(windows: int, labelled: int, paired: int) -> Agreement:
    return Agreement(
        source="test.npz",
        windows=windows,
        paired=paired,
        same_class=paired,
        top=3,
        in_top=paired,
        accuracy=Accuracy(labelled, labelled),
        only_original=0,
        only_exported=0,
        neither=0,
    )


def parity(layers: list[LayerParity], found: Agreement | None = None, **changed) -> Parity:
    return Parity(
        **{
            "backend": "ONNX Runtime 1",
            "model": "model.plain.onnx",
            "twins": [],
            "changed_windows": 0,
            "statistics": found,
            "output_difference": 0.0,
            "divergence": None,
            "layers": layers,
            "signals": [],
            "failures": [],
            **changed,
        }
    )


def report(backends: list[Parity], **changed) -> Report:
    fields = {"reference": "PyTorch", "source": "seed 0", "real": True, "windows": 4, "estimated": {}, **changed}
    return Report(backends=backends, **{"classified_real": fields["real"], **fields})


def output(windows: int, decided: int, **changed) -> OutputParity:
    fields = dict.fromkeys(("decided_beyond", "undecided_beyond", "further", "nearer"), 0)
    return OutputParity(
        **{
            "engine": "sm87",
            "backend": "TensorRT 10",
            "windows": windows,
            "decided": decided,
            "output_difference": 0.0,
            "bounded": True,
            **fields,
            **changed,
        }
    )


def judged_by_counts(decided: int, counts: int, settled: int) -> OutputParity:
    found = CountParity(counts=counts, settled=settled, differing=0, beyond=0, first=None)
    return output(4, decided, free_running=True, returns_counts=True, counts=found)


SILENT = {"none": [5, 5, 5], "one": [5, 0, 5], "all": [0, 0, 0]}


@pytest.mark.parametrize("silent", SILENT)
@pytest.mark.parametrize("unjudged", [[], ["psn (PSN)"], ["a (A)", "b (B)"]], ids=len)
@pytest.mark.parametrize("windows", [1, 12, 150])
def test_each_sentence_has_its_condition(windows, unjudged, silent):
    crossed = itertools.product(
        (False, True), (False, True), ("no classes", "no labels", "labels"), (False, True), (None, False, True)
    )
    for real, data, classes, flips, calibrated in crossed:
        spikes, classified = SILENT[silent], real or data
        if flips and silent == "all":
            continue
        found = {
            "no classes": None,
            "no labels": statistics(windows, 0, windows),
            "labels": statistics(windows, windows if classified else 0, windows),
        }[classes]
        labelled = bool(found and found.accuracy.labelled)
        layers = [layer(f"fc{i}", n, int(flips and i == 0)) for i, n in enumerate(spikes)]
        made = report(
            [parity(layers, found)],
            real=real,
            windows=windows,
            unjudged=unjudged,
            classified_real=classified,
            calibration={} if calibrated is None else {"source": "x", "windows": 2, "real": calibrated},
        )
        head, cautions = wording.headline(made), wording.cautions(made)
        said = " ".join([head, *cautions])
        lines = [head, *cautions, *wording.accuracies(made), *wording.exactness(made)]
        assert faults(lines) == []
        assert ("not one spike differs" in said) == (silent != "all" and not flips)
        assert ("rounding explains every spike that differs" in said) == flips
        assert ("no neuron fired" in said) == (silent == "all")
        assert ("not judged" in said) == bool(unjudged)
        assert all(name in said for name in unjudged)
        assert ("firing layers that are judged" in head) == (bool(unjudged) and silent != "all")
        assert ("never fired" in said) == (silent != "none")
        assert ("No real data was used" in said) == (not classified or (found is None and not real))
        assert ("accuracy is unknown" in said) == (found is not None and not real and not labelled)
        assert ("compared on random windows only" in said) == (found is not None and not real and data)
        assert ("calibrated on random windows" in said) == (calibrated is False)
        assert any("Accuracy in" in line for line in lines) == labelled
        assert any("Same class in" in line for line in lines) == (found is not None and not labelled and windows < 100)
        assert made.to_dict()["cautions"] == cautions
        assert made.to_dict()["verdict"] == head
        _, rows = wording.classes(made) if found else ("", [])
        few = [cell for row in rows for cell in row[1:] if cell not in ("", "-")]
        assert all(("of" in cell) == (windows < 100) and ("%" in cell) == (windows >= 100) for cell in few)


def test_numbers_of_layers_are_named():
    layers = [layer(f"l{i}", 5 * (i < 9)) for i in range(17)]
    made = report([parity(layers)], unjudged=["strange (Strange)", "psn (PSN)"])
    assert wording.headline(made) == ("Parity met: not one spike differs in the 17 firing layers that are judged.")
    assert wording.cautions(made) == [
        "2 of 19 firing layers are not judged: strange (Strange), psn (PSN). They compare values with a threshold, but "
        "are not known neurons; register their classes and export again.",
        "8 of 17 spiking layers never fired on these 4 windows, which prove little about l9, l10, l11, l12, l13 and 3 "
        "more.",
    ]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (output(4, 4), "is within the rounding bound in 4 of 4 windows without an undecided neuron. Its"),
        (output(1, 1), "is within the rounding bound in 1 of 1 window without an undecided neuron. Its"),
        (output(4, 0, undecided_beyond=1), "is beyond the bound in 1 of 4 windows with an undecided neuron. Its"),
        (
            output(4, 3, decided_beyond=1),
            "is within the rounding bound in 2 of 3 windows without an undecided neuron; it is beyond the bound in 0 "
            "of 1 window with an undecided neuron. Its",
        ),
        (
            output(4, 3, free_running=True),
            "is within the rounding bound in 3 of 3 windows without an open neuron; it is beyond the bound in 0 of 1 "
            "window with an open neuron. Its",
        ),
        (output(4, 0, free_running=True), "is beyond the bound in 0 of 4 windows with an open neuron. Its"),
        (
            output(4, 0, bounded=False),
            "need not be within the rounding bound, as it rounds to TF32; it is beyond the bound in 0 of 4 windows "
            "with an undecided neuron. Its",
        ),
    ],
)
def test_the_output_of_an_engine(found, said):
    line = wording.engine_output(found)
    assert line.startswith(f"The output of engine sm87 {said} largest difference is 0.")
    assert faults([line]) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {"counts": CountParity(counts=96, settled=90, differing=1, beyond=0, first=None)},
            "90 of 96 spike counts must be equal, and are; of the others 1 differs by rounding.",
        ),
        (
            {"counts": CountParity(counts=96, settled=0, differing=9, beyond=0, first=None)},
            "No spike count of 96 must be equal; of the others 9 differ by rounding.",
        ),
        (
            {"counts": CountParity(counts=96, settled=9, differing=9, beyond=1, first=None)},
            "1 of 96 spike counts is wrong.",
        ),
        (
            {},
            "It returns no spike counts (`spike_counts`), so only its output is compared, and not what its layers "
            "fire.",
        ),
        (
            {"returns_counts": True},
            "Its spike counts cannot be judged, as an operation of the network has no rounding bound, so only its "
            "output is compared, and not what its layers fire.",
        ),
        (
            {"free_running": True},
            "It returns no spike counts (`spike_counts`), so only its output is compared, and not what its layers "
            "fire.",
        ),
        ({"bounded": False}, "It rounds to TF32, so only its output is compared, and not what its layers fire."),
        (
            {"bounded": False, "returns_counts": True, "free_running": True},
            "It rounds to TF32, so only its output is compared, and not what its layers fire.",
        ),
    ],
)
def test_the_spike_counts_of_an_engine(found, said):
    line = wording.engine_output(output(4, 4, **found))
    assert line.endswith(f" is 0. {said}")
    assert faults([line]) == []


@pytest.mark.parametrize("labelled", [0, 4])
@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (output(4, 1), ""),
        (output(4, 0), "the output proves little: every window has an undecided neuron"),
        (output(4, 0, returns_counts=True), "the output proves little: every window has an undecided neuron"),
        (output(4, 0, free_running=True), "the output proves little: every window has an open neuron"),
        (output(4, 1, free_running=True), ""),
        (judged_by_counts(4, 96, 90), ""),
        (judged_by_counts(0, 96, 10), ""),
        (
            judged_by_counts(0, 96, 6),
            "the output and of the spike counts proves little: only 6 of 96 spike counts must be equal, as the others "
            "have open neurons",
        ),
        (
            judged_by_counts(0, 96, 0),
            "the output and of the spike counts proves little: no spike count must be equal, as all have open neurons",
        ),
        (output(4, 4, bounded=False), "the output proves little: TF32 has no rounding bounds"),
    ],
)
def test_an_engine_whose_comparison_proves_little(engine, why, labelled):
    made = report([parity([layer("fc", 5)], statistics(4, labelled, 4))], engines=[engine])
    said = " ".join(wording.cautions(made))
    advice = "" if labelled else "; give `data` with labels, and look at the accuracy"
    expected = f"The parts of sm87 are proven. The comparison of {why}{advice}."
    assert said == (expected if why else "")
    assert faults([said] if said else []) == []


def test_engines_with_the_same_reason_share_a_sentence():
    engines = [output(4, 0, engine=name, free_running=name == "c") for name in ("a", "b", "c")]
    said = wording.cautions(report([parity([layer("fc", 5)], statistics(4, 4, 4))], engines=engines))
    assert [each.partition(" are proven")[0] for each in said] == ["The parts of a, b", "The parts of c"]


def signal(*, exact: bool, beyond: int = 0) -> SignalParity:
    return SignalParity(scene=EXACT, signal="fc", seen=9, beyond=beyond, share=0.0, exact=exact)


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ([], []),
        ([signal(exact=False)], ["On the exact stimulus, every signal is rounded, so none is compared to the bit."]),
        ([signal(exact=True)], ["On the exact stimulus, 1 of 1 signal is equal to the bit."]),
        ([signal(exact=True)] * 2, ["On the exact stimulus, 2 of 2 signals are equal to the bit."]),
        (
            [signal(exact=True), signal(exact=True, beyond=1)],
            ["On the exact stimulus, 1 of 2 signals is equal to the bit."],
        ),
    ],
)
def test_signals_of_the_exact_stimulus(signals, said):
    assert wording.exactness(report([parity([layer("fc", 5)], signals=signals)])) == said


@pytest.mark.parametrize("windows", [1, 4])
def test_the_first_flip(windows):
    start = Divergence(layer="fc", window=0, time_step=2, spikes={"fc": 1, "out": 1})
    made = report([parity([layer("fc", 5, 1)], divergence=start, changed_windows=1)], windows=windows)
    (line,) = wording.exactness(made)
    assert line == (
        f"Free-running, 1 of {windows} window{'s' * (windows > 1)} has a flip in ONNX Runtime 1; the first is in fc, "
        "window 0, time step 2, and 1 spike of the last layer then differs."
    )


def test_backends_are_named_where_there_are_two():
    both = [parity([layer("fc", 5)], signals=[signal(exact=True)], backend=name) for name in ("ORT", "TensorRT")]
    assert [line.partition("bit")[2] for line in wording.exactness(report(both))] == [" in ORT.", " in TensorRT."]


@pytest.mark.parametrize(
    ("spikes", "differing", "said"),
    [
        (0, 0, "Stepwise in ORT: 1 window, 0 spikes; every output equals that of whole windows, to the bit."),
        (7, 0, "Stepwise in ORT: 1 window, 7 spikes; every spike and every output equals that of whole windows, to"),
        (
            7,
            1,
            "Stepwise in ORT: 1 window, 7 spikes, of which 1 differs from those of whole windows, and outputs by up",
        ),
    ],
)
def test_a_stepwise_network(spikes, differing, said):
    made = StepwiseParity(
        parity=parity([layer("fc", 5, differing)], backend="ORT"),
        output=output(1, 1),
        spikes=spikes,
        differing_spikes=differing,
        output_difference=0.0,
    )
    assert wording.stepwise(made).startswith(said)
    assert faults([wording.stepwise(made)]) == []
    whole = report([parity([layer("fc", 5)])], stepwise=made)
    assert ("not one spike differs" in wording.headline(whole)) == (not differing)


def test_accuracy_where_the_trained_networks_is_not_known():
    some, none = (report([parity([layer("fc", 5)], statistics(12, 12, paired))]) for paired in (4, 0))
    assert (
        "; right only before the export 0, only after it 0 of the 4 windows of the export (Mc"
        in wording.accuracies(some)[0]
    )
    assert wording.accuracies(none) == [
        "Accuracy in ONNX Runtime 1: 12 of 12 windows with a label (75.75\N{NO-BREAK SPACE}% to "
        "100.00\N{NO-BREAK SPACE}% with 95 % confidence); the trained network's is not known, as the bundle has no "
        "predictions for these windows."
    ]


def test_a_verdict_that_is_not_met_says_why():
    failed = parity([layer("fc", 5)], failures=[Failure(kind="spikes", text="2 spikes differ", model="m")])
    assert wording.headline(report([failed])) == "Parity not met: ONNX Runtime 1: 2 spikes differ"
    assert not re.search("met:.*met:", wording.headline(report([failed])))
