"""The output of a stream on stdout: a line for each window, and a summary at the end."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Sequence

from rich.console import Console

from tcja_deploy.formatting import amount, windows
from tcja_runtime.counting import agree, counted
from tcja_runtime.files.text import one_line
from tcja_runtime.predictions import without_score
from tcja_runtime.streaming.results import Summary, WindowPrediction

_FACTS = (
    "window",
    "begin",
    "end",
    "events",
    "whole",
    "dropped",
    "thinned",
    "latency",
)  # the fields of a prediction that are printed
_ENDS = {
    "end": "the source ended",
    "stopped": "stopped",
    "seconds": "stopped after --seconds",
    "windows": "stopped after --windows",
    "error": "ended by an error",
}


JSON, CSV, PLAIN = "json", "csv", "plain"
"""The forms of output: JSON, with an object on each line and the summary on the last; CSV; text for people."""


class Lines:
    """Prints the predictions and the summary of a stream.

    Args:
        form: one of `JSON`, `CSV` and `PLAIN`.
        classes: the names of the classes, in the order of the output.
        top: the number of classes to name for each window.
        console: the console for the predictions.
        aside: the console for the summary in the form `CSV`. In the other forms, `console` is used for it, too.
        worded: the function that changes the text of a remark before it is printed.
    """

    def __init__(
        self,
        form: str,
        classes: Sequence[str],
        top: int,
        console: Console,
        aside: Console,
        worded: Callable[[str], str] = str,
    ) -> None:
        self._form, self._classes, self._console, self._aside = form, classes, console, aside
        self._top, self._worded = min(top, len(classes)), worded

    def begin(self) -> None:
        """Print the line of column names, in the form `CSV`."""
        if self._form == CSV:
            heads = [f"{head}_{place}" for place in range(1, self._top + 1) for head in ("class", "score")]
            self._print(_row([*_FACTS, *heads]))

    def prediction(self, found: WindowPrediction) -> None:
        """Print the prediction for a window."""
        named = found.top(self._top)
        facts = {field: getattr(found, field) for field in _FACTS}
        if self._form == JSON:
            self._print(json.dumps({**facts, "top": [{"class": name, "score": score} for name, score in named]}))
        elif self._form == CSV:
            facts["whole"] = "yes" if found.whole else "no"
            facts["latency"] = "" if found.latency is None else f"{found.latency:.6f}"
            self._print(_row([*facts.values(), *(cell for name, score in named for cell in (name, f"{score:.9g}"))]))
        else:
            self._print(_line(found, self._top))

    def summary(self, summary: Summary, noted: Sequence[str]) -> None:
        """Print the summary. As text, it is without the remarks that were shown as notes (`noted`)."""
        if self._form == JSON:
            remarks = [self._worded(remark) for remark in summary.remarks]
            self._print(json.dumps({"summary": {**dataclasses.asdict(summary), "remarks": remarks}}))
            return
        left = [self._worded(remark) for remark in summary.remarks if remark not in noted]
        text = summary_text(dataclasses.replace(summary, remarks=left))
        if self._form == CSV:
            self._aside.print(text, soft_wrap=True)
        else:
            self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def _row(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _line(found: WindowPrediction, top: int) -> str:
    parts = [
        f"{found.window:>6}",
        f"{found.begin / 1e6:.3f} to {found.end / 1e6:.3f} s",
        counted(found.events, "event"),
        *(f"{name} {score:.3g}" for name, score in found.standing_out(top)),
        *([] if found.latency is None else [milliseconds(found.latency)]),
        *remarks(found),
    ]
    return " ".join("  ".join(parts).splitlines())  # names of classes may have line ends


def remarks(found: WindowPrediction) -> list[str]:
    """Return the remarks on a window: it was cut short, no class has a score, or events of it were dropped."""
    dropped, thinned = found.dropped, found.thinned
    said = {
        "cut short by the source's end": not found.whole,
        "all scores are 0": bool(without_score(found.scores)),
        f"up to {dropped:,} of its events {agree(dropped, 'was', 'were')} dropped": dropped,
        f"{counted(thinned, 'event')} beyond --max-rate {agree(thinned, 'was', 'were')} dropped": thinned,
    }
    return [remark for remark, applies in said.items() if applies]


def milliseconds(seconds: float) -> str:
    """Return a time as text in milliseconds, with three digits."""
    return f"{1e3 * seconds:.3g} ms"


def summary_text(summary: Summary) -> str:
    """Return the summary of a stream as a few lines of text."""
    source = one_line(summary.source)
    lines = [
        f"{source}: {windows(summary.windows)} of {counted(summary.events, 'event')} in {summary.seconds:.1f} s, "
        f"{amount(summary.rate, 'events a second')}; {_ENDS.get(summary.ended or '', 'it has not ended')}.",
        f"{summary.network} in {summary.backend}.",
    ]
    if summary.latency_median is not None and summary.latency_99 is not None:
        lines.append(
            f"Latency: {milliseconds(summary.latency_median)} in the median, 99 % within "
            f"{milliseconds(summary.latency_99)}, from the arrival of the event that ends a window to the prediction."
        )
    counts = {
        "Events dropped, because more arrived than were classified": summary.dropped,
        "Events still in the queue when the stream was stopped": summary.left,
        "Events left out, because they are older than every open window": summary.late,
        "Events dropped, because they are beyond --max-rate": summary.thinned,
        "Windows without an event, not classified": summary.silent,
        "Windows of which --max-rate dropped all events, not classified": summary.emptied,
        "Windows cut short by the source's end": summary.cut_short,
        "Times that the clock of the events was set back": summary.resets,
        "Datagrams left out, because they are not events": summary.damaged,
        "Datagrams lost before they were read": summary.lost,
        "Windows in which a layer fired far outside the range of the proof": summary.drifted,
    }
    lines += [f"{what}: {count:,}." for what, count in counts.items() if count]
    return "\n".join([*lines, *summary.remarks])
