"""A comparison in sentences: the verdict, what it does not prove, and the figures of single backends and engines.

Every sentence is true of what was done: it depends on the windows that were judged, on those that were classified, and
on their labels. Shares of fewer than `tcja_deploy.formatting.FEW` windows are given as counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tcja_deploy.formatting import FEW, interval, part, portion, share_of, windows
from tcja_deploy.parity.failures import EXACT
from tcja_runtime.counting import agree, counted, listed
from tcja_runtime.evidence.anytime import FRAMES_SHOWN, SETTLED

if TYPE_CHECKING:
    from tcja_deploy.parity.verdict import OutputParity, Parity, Report, StepwiseParity

_PROVES_LITTLE = "The parts of {engines} are proven. The comparison of {what} proves little: {why}{advice}."
_FEW_COUNTS = 0.1  # the share of the spike counts that must be equal, below which their comparison proves little


def headline(report: Report) -> str:
    """Return the verdict: parity is not met and why; or it is met, and what was seen of the spikes."""
    if not report.met:
        return f"Parity not met: {report.why_not}"
    if not report.fired:
        return f"Parity met, but no neuron fired on {_these(report)}, so no spike was compared."
    if report.differs:
        return f"Parity met: rounding explains every spike that differs{judged_layers(report)}."
    return f"Parity met: not one spike differs{judged_layers(report)}."


def judged_layers(report: Report) -> str:
    """Return a phrase that names the number of judged layers; empty if all layers that fire are judged."""
    if not report.unjudged:
        return ""
    n = len(report.backends[0].layers)
    return f" in the {counted(n, 'firing layer')} that {agree(n, 'is', 'are')} judged"


def cautions(report: Report) -> list[str]:
    """Return what the verdict does not prove, a sentence or two for each limit."""
    found = [*_unjudged(report), *_silent(report), *_data(report), *_calibration(report), *_unproven(report)]
    for parity in report.backends:
        statistics = parity.statistics
        changed = statistics.paired - statistics.same_class if statistics else 0
        if changed and report.met:
            found.append(f"Rounding changes the predicted class of {windows(changed)} in {parity.backend}.")
    if report.estimated:
        signals = (f"{signal} ({', '.join(names)})" for signal, names in report.estimated.items())
        n = len(report.estimated)
        bound = agree(n, "bound of a signal is an estimate", f"bounds of {n} signals are estimates")
        found.append(f"The rounding {bound}, as an operation has no rule for it: {listed(signals)}.")
    if not report.ranged:
        found.append(
            "The range stimulus was not compared, so nothing is known of inputs that are larger than those of the "
            "windows."
        )
    if report.wide_bounds:
        n = len(report.wide_bounds)
        found.append(
            f"The rounding {agree(n, 'bound of a signal is', f'bounds of {n} signals are')} so wide that "
            f"{agree(n, 'its', 'their')} comparison proves little: {listed(report.wide_bounds)}."
        )
    return found


def _unjudged(report: Report) -> list[str]:
    n = len(report.unjudged)
    if not n:
        return []
    layers = part(n, n + len(report.backends[0].layers), "firing layer")
    return [
        f"{layers} {agree(n, 'is', 'are')} not judged: {listed(report.unjudged)}. "
        f"{agree(n, 'It compares', 'They compare')} values with a threshold, but {agree(n, 'is', 'are')} not "
        f"{agree(n, 'a known neuron', 'known neurons')}; register {agree(n, 'its class', 'their classes')} and export "
        "again."
    ]


def _silent(report: Report) -> list[str]:
    silent, n = report.silent, len(report.silent)
    if not n:
        return []
    layers = part(n, len(report.backends[0].layers), "spiking layer")
    return [f"{layers} never fired on {_these(report)}, which {_prove(report)} little about {listed(silent)}."]


def _these(report: Report) -> str:
    return agree(report.windows, "this window", f"these {report.windows:,} windows")


def _prove(report: Report) -> str:
    return agree(report.windows, "proves", "prove")


def _data(report: Report) -> list[str]:
    """Return a sentence if the spikes were judged on random windows."""
    if report.real:
        return []
    statistics = [found.statistics for found in report.backends if found.statistics]
    if report.classified_real and statistics:
        unlabelled = not any(found.accuracy.labelled for found in statistics)
        accuracy = "; the data have no labels, so accuracy is unknown" if unlabelled else ""
        return [f"The spikes were compared on random windows only{accuracy}."]
    return ["No real data was used (`data`), so accuracy is unknown." if statistics else "No real data was used."]


def _calibration(report: Report) -> list[str]:
    if not report.calibration or report.calibration["real"]:
        return []
    return ["The int8 scales were calibrated on random windows: export with `data` to measure them on real ones."]


def _unproven(report: Report) -> list[str]:
    """Return a sentence for the engines whose comparison proves little, for each reason."""
    labelled = any(found.statistics and found.statistics.accuracy.labelled for found in report.backends)
    advice = "" if labelled else "; give `data` with labels, and look at the accuracy"
    reasons: dict[tuple[str, str], list[str]] = {}
    for each in report.engines:
        if reason := _proves_little(each):
            reasons.setdefault(reason, []).append(str(each.engine))
    return [
        _PROVES_LITTLE.format(engines=listed(engines), what=what, why=why, advice=advice)
        for (what, why), engines in reasons.items()
    ]


def _proves_little(found: OutputParity) -> tuple[str, str] | None:
    """Return what of an engine was compared and why this proves little; None if it proves much."""
    output, counts = "the output", found.counts
    if not found.bounded:
        return output, "TF32 has no rounding bounds"
    if counts is None:
        return None if found.decided else (output, f"every window has an {_uncertain(found)} neuron")
    if counts.settled >= _FEW_COUNTS * counts.counts:
        return None
    why = "no spike count must be equal, as all have open neurons"
    if counts.settled:
        why = (
            f"only {part(counts.settled, counts.counts, 'spike count')} must be equal, as the others have open neurons"
        )
    return f"{output} and of the spike counts", why


def _uncertain(found: OutputParity) -> str:
    """Return the word for the neurons that rounding may let fire otherwise, as an engine is judged."""
    return "open" if found.free_running else "undecided"


def accuracy_change(report: Report) -> list[str]:
    """Return a sentence for each backend on the accuracy before and after the export, or on the classes without labels.

    The list is empty if the network has no classes.
    """
    return [line for found in report.backends for line in _change(found)]


def _change(found: Parity) -> Iterable[str]:
    statistics = found.statistics
    if statistics is None:
        return
    before, after = statistics.original_accuracy, statistics.accuracy
    if after.labelled and statistics.compared:
        yield (
            f"Accuracy: {portion(before.right, before.labelled, 'window')} before the export, "
            f"{portion(after.right, after.labelled, 'window')} after it in {found.backend} "
            f"({interval(after.interval)})."
        )
    elif after.labelled:
        yield from _accuracy(found)
    elif statistics.paired:
        same = portion(statistics.same_class, statistics.paired, "window")
        yield f"Same class as before the export: {same} in {found.backend} ({interval(statistics.same_interval)})."


def judged(report: Report) -> str:
    """Return a sentence that says on which windows, and in which backends, the spikes were compared, and with what."""
    where = listed([found.backend for found in report.backends])
    layers = counted(len(report.backends[0].layers), "layer")
    judged_windows = f"{windows(report.windows)} ({report.source})"
    return f"Compared spike by spike with {report.reference}: {layers}, {judged_windows}, {where}."


def early_predictions(report: Report) -> list[str]:
    """Return a sentence for each network that was shown only the first frames: from which frame on it is settled."""
    return [
        f"Early prediction: the final class from frame {each.settled} of {len(each.same)} on ({each.network}, "
        f"{'' if each.windows < FEW else f'at least {100 * SETTLED:g} % of '}{windows(each.windows)})."
        for each in report.anytime
        if each.counted == FRAMES_SHOWN
    ]


def accuracies(report: Report) -> list[str]:
    """Return a sentence on the accuracy in each backend; without labels, one on the classes if the windows are few."""
    return [line for found in report.backends for line in _accuracy(found)]


def _accuracy(found: Parity) -> Iterable[str]:
    statistics = found.statistics
    if statistics is None:
        return
    accuracy = statistics.accuracy
    if accuracy.labelled:
        right = part(accuracy.right, accuracy.labelled, "window")
        line = f"Accuracy in {found.backend}: {right} with a label ({interval(accuracy.interval)})"
        if not statistics.compared:
            line += "; the trained network's is not known, as the bundle has no predictions for these windows"
        else:
            some = statistics.compared < accuracy.labelled
            of = f" of the {windows(statistics.compared)} of the export" if some else ""
            line += (
                f"; right only before the export {statistics.only_original:,}, only after it "
                f"{statistics.only_exported:,}{of} (McNemar's p = {statistics.p_value:.2g})"
            )
        yield f"{line}."
    elif 0 < statistics.paired < FEW:
        same = part(statistics.same_class, statistics.paired, "window")
        yield f"Same class in {found.backend}: {same} ({interval(statistics.same_interval)})."


def exactness(report: Report) -> list[str]:
    """Return sentences on each backend: signals equal to the bit on the exact stimulus, and how large inputs were.

    If a spike flips in the free-running network, a sentence on the first flip follows.
    """
    lines = []
    for found in report.backends:
        where = f" in {found.backend}" if len(report.backends) > 1 else ""
        seen = [signal for signal in found.signals if signal.scene == EXACT]
        exact = [signal for signal in seen if signal.exact]
        equal = sum(not signal.beyond for signal in exact)
        if exact:
            signals = f"{part(equal, len(exact), 'signal')} {agree(equal, 'is', 'are')}"
            lines.append(f"On the exact stimulus, {signals} equal to the bit{where}.")
        elif seen:
            lines.append(f"On the exact stimulus, every signal is rounded, so none is compared to the bit{where}.")
        counts = f"counts of up to {report.largest_count:,}, and " if report.largest_count else ""
        if found.largest_batch:
            lines.append(f"Judged in {found.backend} for {counts}batches of up to {windows(found.largest_batch)}.")
        if found.divergence:
            at, changed = found.divergence, part(found.changed_windows, report.windows, "window")
            last = list(at.spikes.values())[-1]
            lines.append(
                f"Free-running, {changed} {agree(found.changed_windows, 'has', 'have')} a flip in {found.backend}; the "
                f"first is in {at.layer}, window {at.window}, time step {at.time_step}, and "
                f"{counted(last, 'spike')} of the last layer then {agree(last, 'differs', 'differ')}."
            )
    return lines


def engine_output(found: OutputParity) -> str:
    """Return the comparison of an engine's output, and of its spike counts if it returns them, in sentences."""
    others, uncertain = found.windows - found.decided, _uncertain(found)
    parts = []
    if not found.bounded:
        parts.append("need not be within the rounding bound, as it rounds to TF32")
    elif found.decided:
        within = part(found.decided - found.decided_beyond, found.decided, "window")
        parts.append(f"is within the rounding bound in {within} without an {uncertain} neuron")
    if others:
        what = f"{counted(others, 'window')} with an {uncertain} neuron"
        subject = "it is" if parts else "is"
        parts.append(f"{subject} beyond the bound in {found.undecided_beyond:,} of {what}")
    return (
        f"The output of engine {found.engine} {'; '.join(parts)}. Its largest difference is "
        f"{found.output_difference:.2g}. {_spike_counts(found)}"
    )


def _spike_counts(found: OutputParity) -> str:
    counts = found.counts
    if counts is None:
        why = "It returns no spike counts (`spike_counts`)"
        if not found.bounded:
            why = "It rounds to TF32"
        elif found.returns_counts:
            why = "Its spike counts cannot be judged, as an operation of the network has no rounding bound"
        return f"{why}, so only its output is compared, and not what its layers fire."
    if counts.beyond:
        return f"{part(counts.beyond, counts.counts, 'spike count')} {agree(counts.beyond, 'is', 'are')} wrong."
    settled = (
        f"{part(counts.settled, counts.counts, 'spike count')} must be equal, and {agree(counts.settled, 'is', 'are')}"
        if counts.settled
        else f"No spike count of {counts.counts:,} must be equal"
    )
    return f"{settled}; of the others {counts.differing:,} {agree(counts.differing, 'differs', 'differ')} by rounding."


def stepwise(found: StepwiseParity) -> str:
    """Return the comparison of a stepwise network with that of whole windows, as text."""
    seen = f"{windows(found.output.windows)}, {counted(found.spikes, 'spike')}"
    line = f"Stepwise in {found.backend}: {seen}"
    if found.identical:
        every = "every spike and every output equals that" if found.spikes else "every output equals that"
        return f"{line}; {every} of whole windows, to the bit."
    flips, differing = found.parity.flips, found.differing_spikes
    return (
        f"{line}, of which {differing:,} {agree(differing, 'differs', 'differ')} from those of whole windows, and "
        f"outputs by up to {found.output_difference:.2g}; teacher-forced, {counted(flips, 'spike')} "
        f"{agree(flips, 'flips', 'flip')}, {found.parity.unexplained:,} of them unexplained."
    )


def classes(report: Report) -> tuple[str, list[tuple[str, str, str]]]:
    """Return a title, and for each network its name, its accuracy and its share of the trained network's classes.

    There must be a backend with statistics.
    """
    known = [found for found in report.backends if found.statistics]
    first = known[0].statistics
    if first is None:
        raise ValueError("no backend has statistics")
    original = first.original_accuracy
    rows = [(report.reference, share_of(original.right, original.labelled), "")]
    for found in known:
        if found.statistics:
            right, same = found.statistics.accuracy, found.statistics
            cells = share_of(right.right, right.labelled), share_of(same.same_class, same.paired)
            rows.append((found.backend, *cells))
    return f"Classes of {windows(first.windows)} ({first.source})", rows
