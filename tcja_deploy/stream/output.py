"""What a stream says on stdout: a line a window as it is answered, and what came of it all."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence

from rich.console import Console

from tcja_deploy.formatting import si
from tcja_deploy.stream.results import Answer, Summary

_FACTS = ("window", "begin", "end", "events", "whole", "dropped", "latency")  # of an answer
_ENDS = {
    "end": "the source ended",
    "stopped": "stopped",
    "seconds": "stopped after --seconds",
    "windows": "stopped after --windows",
    "error": "broke off",
}


JSON, CSV, PLAIN = "json", "csv", "plain"
"""Forms of lines: objects, of which the summary is the last; values behind a line of names; for people."""


class Lines:
    """Says what a stream answers.

    Args:
        form: one of `JSON`, `CSV` and `PLAIN`.
        classes: names, in the order of the output.
        top: how many of them to name.
        console: where to.
        aside: where the summary goes that a line of values cannot hold.
    """

    def __init__(self, form: str, classes: Sequence[str], top: int, console: Console, aside: Console) -> None:
        self._form, self._classes, self._console, self._aside = form, classes, console, aside
        self._top = min(top, len(classes))
        if form == CSV:
            heads = [f"{head}_{place}" for place in range(1, self._top + 1) for head in ("class", "score")]
            self._say(_row([*_FACTS, *heads]))

    def answer(self, answer: Answer) -> None:
        """Say what the network says of a window."""
        named = [(self._classes[index], float(answer.scores[index])) for index in answer.likeliest[: self._top]]
        facts = {field: getattr(answer, field) for field in _FACTS}
        if self._form == JSON:
            self._say(json.dumps({**facts, "top": [{"class": name, "score": score} for name, score in named]}))
        elif self._form == CSV:
            facts["whole"] = "yes" if answer.whole else "no"
            facts["latency"] = "" if answer.latency is None else f"{answer.latency:.6f}"
            self._say(_row([*facts.values(), *(cell for name, score in named for cell in (name, f"{score:.9g}"))]))
        else:
            self._say(_line(answer, named))

    def summary(self, summary: Summary) -> None:
        """Say what came of the stream."""
        if self._form == JSON:
            self._say(json.dumps({"summary": dataclasses.asdict(summary)}))
        elif self._form == CSV:
            self._aside.print(said(summary), soft_wrap=True)
        else:
            self._say(said(summary))

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def _row(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _line(answer: Answer, named: Sequence[tuple[str, float]]) -> str:
    parts = [
        f"{answer.window:>6}",
        f"{answer.begin / 1e6:.3f} to {answer.end / 1e6:.3f} s",
        f"{answer.events:,} events",
        *(f"{name} {score:.3g}" for name, score in named),
        *([] if answer.latency is None else [milliseconds(answer.latency)]),
        *doubts(answer),
    ]
    return "  ".join(parts)


def doubts(answer: Answer) -> list[str]:
    """What is to be known of a window that is not all there."""
    found = [] if answer.whole else ["cut short by the source's end"]
    return found + ([f"up to {answer.dropped:,} of its events were dropped"] if answer.dropped else [])


def milliseconds(seconds: float) -> str:
    """A latency."""
    return f"{1e3 * seconds:.3g} ms"


def said(summary: Summary) -> str:
    """What came of a stream, in a few lines."""
    source = "".join(c if c.isprintable() else "?" for c in summary.source)
    windows = "1 window" if summary.windows == 1 else f"{summary.windows:,} windows"
    lines = [
        f"{source}: {windows} of {summary.events:,} events in {summary.seconds:.1f} s, "
        f"{si(summary.rate)} events a second; {_ENDS.get(summary.ended or '', 'goes on')}.",
        f"{summary.network} in {summary.backend}.",
    ]
    if summary.latency_median is not None and summary.latency_99 is not None:
        lines.append(
            f"Latency: {milliseconds(summary.latency_median)} in the median, 99 % within "
            f"{milliseconds(summary.latency_99)}, from the arrival of the event that ends a window to its answer."
        )
    counts = {
        "Events dropped, as more came than were looked at": summary.dropped,
        "Events left unseen when it was stopped": summary.left,
        "Events older than every open window, left out": summary.late,
        "Events beside the sensor, left out": summary.outside,
        "Windows without an event, not answered": summary.silent,
        "Windows cut short by the source's end": summary.cut_short,
        "Times the clock of the events was set back": summary.resets,
        "Datagrams that were no events, passed over": summary.damaged,
        "Datagrams lost before they were read": summary.lost,
    }
    lines += [f"{what}: {count:,}." for what, count in counts.items() if count]
    return "\n".join([*lines, *summary.remarks])
