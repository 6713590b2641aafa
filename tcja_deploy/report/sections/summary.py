"""The top of the report: the verdict, and the key figures of each backend."""

from __future__ import annotations

from collections.abc import Sequence

from tcja_deploy import formatting
from tcja_deploy.formatting import interval, part, share_of, windows
from tcja_deploy.parity import wording
from tcja_deploy.parity.verdict import Parity, Report
from tcja_deploy.report.html import Html, joined, tag, worded
from tcja_runtime.counting import agree, counted
from tcja_runtime.evidence.agreement import Agreement

NO_CLASSES = "the network does not classify"

_SHOWN = 8  # the number of failures that are always shown


def verdict(report: Report) -> Html:
    """Return the verdict with its reasons, the data on which parity was judged, and what the verdict does not prove."""
    failures, flips = report.failures, sum(found.flips for found in report.backends)
    reasons: list[Html] = []
    if report.met and not report.fired:
        line = f"\u2713 {wording.headline(report)}"
    elif report.met:
        differ = f"the {counted(flips, 'spike')} that {agree(flips, 'differs', 'differ')}"
        differ = f"; rounding explains {differ if flips else 'every spike that differs'}"
        end = differ if report.differs else ", every one of them"
        judged = wording.judged_layers(report)
        line = f"\u2713 Parity met: the exported network fires the trained network's spikes{judged}{end}."
    elif len(failures) == 1:
        line = f"\u2717 Parity not met: {failures[0]}."
    else:
        line = f"\u2717 Parity not met, for {len(failures)} reasons:"
        reasons = _folded([tag("li", failure) for failure in failures])
    data = f"{windows(report.windows)}{' of real data' if report.real else ''}"
    cautions = [*wording.cautions(report), *report.anytime_missing, *report.left_out]
    judged = f"Judged spike by spike against {report.reference}, on {data} ({report.source})."
    return tag(
        "div",
        tag("p", line),
        *reasons,
        *(tag("p", worded(remark)) for remark in [judged, *_classified(report), *cautions]),
        class_=f"verdict {'met' if report.met else 'unmet'}",
    )


def _folded(items: Sequence[Html]) -> list[Html]:
    """Return a list whose first `_SHOWN` items are always shown. The reader can unfold the rest."""
    shown, more = items[:_SHOWN], items[_SHOWN:]
    fold = tag("details", tag("summary", f"and {len(more)} more"), tag("ul", *more))
    return [tag("ul", *shown), *([fold] if more else [])]


def _classified(report: Report) -> list[str]:
    """Return a line on the windows that were classified; none if they are the windows that were judged."""
    lines = {
        f"Classes are counted on {windows(found.statistics.windows)} ({found.statistics.source})."
        for found in report.backends
        if found.statistics and found.statistics.windows != report.windows
    }
    return sorted(lines)


def tiles(report: Report, found: Parity) -> Html:
    """Return the key figures of one backend, each with its name, its value and a remark."""
    unexplained = found.unexplained
    figures = [
        ("Accuracy, trained", *_accuracy(found.statistics, original=True)),
        ("Accuracy, exported", *_accuracy(found.statistics, original=False)),
        ("Same class", *_same(found.statistics)),
        *_paired(found.statistics),
        ("Spike flips", _short(found.flips), f"{_short(found.flips - unexplained)} explained by rounding"),
        ("Unexplained flips", _short(unexplained), "not rounding: a bug" if unexplained else "as required"),
        ("Windows judged", f"{report.windows:,}", f"{found.changed_windows:,} with a flip, free-running"),
        ("Output differs by", f"{found.output_difference:.2g}", "at most, free-running"),
    ]
    shown = (
        tag(
            "div",
            tag("dt", name),
            tag("dd", value, class_="value"),
            tag("dd", remark),
            class_="wrong" if name == "Unexplained flips" and unexplained else None,
        )
        for name, value, remark in figures
    )
    twins = f"; {' and '.join(found.twins)} fires the same spikes" if found.twins else ""
    return joined(
        [tag("p", f"{found.model} in {found.backend}{twins}", class_="soft"), tag("dl", *shown, class_="tiles")]
    )


def _short(n: int) -> str:
    """Return a count as a text that fits a tile."""
    return f"{n:,}" if n < 1_000_000 else formatting.compact(n)


def _paired(statistics: Agreement | None) -> list[tuple[str, str, str]]:
    """Return the tiles of top-k agreement, if classes are known, and of McNemar's test, if labels are known, too."""
    if statistics is None:
        return []
    figures = []
    if statistics.paired:
        top = f"the exported class is among the trained network's {statistics.top} likeliest"
        figures.append((f"Top {statistics.top}", share_of(statistics.in_top, statistics.paired), top))
    if statistics.compared:
        only = f"{statistics.only_original:,} right only before, {statistics.only_exported:,} only after the export"
        figures.append(("McNemar's test", f"p = {statistics.p_value:.2g}", only))
    return figures


def _same(statistics: Agreement | None) -> tuple[str, str]:
    """Return the share of windows in which both networks predict the same class, and its interval or why there is none.

    Args:
        statistics: the statistics of the windows; None if the network does not classify.
    """
    if statistics is None:
        return "-", NO_CLASSES
    if not statistics.paired:
        return "-", "the trained network's classes are not known"
    of = f"in {part(statistics.same_class, statistics.paired, 'window')}"
    return share_of(statistics.same_class, statistics.paired), f"{of}, {interval(statistics.same_interval)}"


def _accuracy(statistics: Agreement | None, *, original: bool) -> tuple[str, str]:
    """Return an accuracy, and its confidence interval or why it is not known.

    Args:
        statistics: the statistics of the windows; None if the network does not classify.
        original: whether to take the accuracy of the trained network instead of the exported one's.
    """
    if statistics is None:
        return "-", NO_CLASSES
    if not statistics.accuracy.labelled:
        return "-", "no labels"
    if original and not statistics.compared:
        return "-", "not known on these windows"
    found = statistics.original_accuracy if original else statistics.accuracy
    return share_of(found.right, found.labelled), interval(found.interval)
