"""The view of a stream on a terminal: the events, the classes, the length of the queue, and the events lost.

A separate thread draws the newest state of the stream several times a second, so the stream never waits for the
terminal. The view fills the screen; at its end the former content of the screen returns.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tcja_deploy.console import Progress, err, out
from tcja_deploy.formatting import amount
from tcja_deploy.stream.output import PLAIN, Lines, milliseconds, remarks
from tcja_runtime.counting import agree, counted
from tcja_runtime.data.camera import cropped
from tcja_runtime.events import Events
from tcja_runtime.streaming.results import WindowPrediction
from tcja_runtime.streaming.stream import Stream

Pixels = npt.NDArray[np.uint8]

_A_SECOND = 12  # pictures a second
_LASTS = 0.15  # seconds that an event is shown
_RATED = 2.0  # seconds over which the rate of events is averaged
_KEPT = 10  # the number of predictions that are printed when the view ends
_LEAST = (14, 48)  # the fewest rows and columns for a picture of the events

_COLOURS = ("", "yellow", "bright_blue")  # of a pixel without events, with more off events, with more on events
_SIGNS = " -+"  # of the same pixels without colour


def run(stream: Stream, form: str, progress: Progress, *, top: int, view: bool) -> None:
    """Classify a stream, with a line for each window on stdout and, on a terminal, a view on stderr.

    If stdout and stderr are the same terminal, lines and view would disturb each other. Text for people is then not
    printed during the view, and its last lines are printed when the view ends. CSV and JSON are printed as usual, and
    there is no view.

    Args:
        stream: a stream that has not begun.
        form: the form of the lines (`tcja_deploy.stream.output`).
        progress: the progress whose `worded` changes the texts of remarks.
        top: the number of classes that a line names, the likeliest first.
        view: whether to show a view if there is a terminal.

    Raises:
        BadInput: the stream cannot go on (`Stream.run`); the summary has been printed.
    """
    lines = Lines(form, stream.classes, top, out, err, progress.worded)
    terminal = view and err.is_terminal and not err.is_dumb_terminal
    shared = terminal and out.is_terminal
    viewed, postponed = terminal and not (shared and form != PLAIN), shared and form == PLAIN

    last: collections.deque[WindowPrediction] = collections.deque(maxlen=_KEPT)

    def show(found: WindowPrediction) -> None:
        if postponed:
            last.append(found)
        else:
            lines.prediction(found)
        if out.quiet:  # the program that reads the lines has ended
            stream.stop()

    lines.begin()
    try:
        with _shown(stream, progress.worded) if viewed else contextlib.nullcontext():
            stream.run(show, quiet=viewed)
    finally:
        for found in last:
            lines.prediction(found)
        lines.summary(stream.summary(), stream.noted)


def _shown(stream: Stream, worded: Callable[[str], str]) -> Live:
    """Return the live display of a stream, which fills the screen while it is a context."""
    return Live(
        console=err,
        screen=True,
        get_renderable=View(err, stream, worded).drawn,
        refresh_per_second=_A_SECOND,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class View:
    """The view of a stream, drawn for a terminal.

    Args:
        console: the terminal, whose size and colours are used.
        stream: the stream, which may be running in another thread.
        worded: the function that changes the text of a warning before it is shown.
    """

    def __init__(self, console: Console, stream: Stream, worded: Callable[[str], str] = str) -> None:
        self._console, self._stream, self._worded = console, stream, worded
        self._arrived: collections.deque[tuple[float, int]] = collections.deque()
        self._blocks = console.encoding.startswith("utf") and not console.legacy_windows
        self._sensor = stream.contract.area

    def drawn(self) -> RenderableType:
        """Return the state of the stream now as text that fits the terminal."""
        columns, rows = self._console.size
        state = self._state()
        body = rows - len(state) - 2
        if rows < _LEAST[0] or columns < _LEAST[1]:
            return Group(*self._classes(columns, max(1, rows - len(state))), *state[: rows - 1])
        side = min(40, columns // 2)
        grid = Table.grid(padding=(0, 2))
        grid.add_row(self._picture(body, columns - side - 2), Group(*self._classes(side, body)))
        title = f"{self._stream.source.title} \N{RIGHTWARDS ARROW} {self._stream.network}, {self._stream.runner.title}"
        return Group(_line(title, "bold"), grid, Text(), *state)

    def _picture(self, rows: int, columns: int) -> Text:
        now = time.monotonic()
        recent = [events for arrived, events in list(self._stream.recent) if now - arrived < _LASTS]
        seen = cropped(Events.joined(recent), self._stream.contract.crop)
        pixels = polarities(seen, self._sensor, (2 * rows, columns))
        coloured = self._blocks and self._console.color_system is not None and not self._console.no_color
        return half_blocks(pixels) if coloured else signs(pixels)

    def _classes(self, columns: int, rows: int) -> list[Text]:
        found, classes = self._stream.prediction, self._stream.classes
        if found is None:
            return [_line("no window is complete yet", "dim")]
        chosen = sorted(found.likeliest[:rows]) if len(classes) <= rows else found.likeliest[:rows]
        least = min(0.0, float(found.scores.min()))
        span = float(found.scores.max()) - least or 1.0
        wide = min(max(len(classes[index]) for index in chosen), columns // 2)
        room = columns - wide - 9
        full = "\N{FULL BLOCK}" if self._blocks else "#"
        return [
            _line(
                f"{classes[index][:wide]:<{wide}} {found.scores[index]:>7.3g} "
                f"{full * round(room * (float(found.scores[index]) - least) / span)}",
                "bold" if index == found.likeliest[0] else "",
            )
            for index in chosen
        ]

    def _state(self) -> list[Text]:
        stream, now = self._stream, time.monotonic()
        self._arrived.append((now, stream.buffer.arrived))
        while now - self._arrived[0][0] > _RATED:
            self._arrived.popleft()
        (since, before), (_, arrived) = self._arrived[0], self._arrived[-1]
        rate = (arrived - before) / (now - since) if now > since else 0.0
        held = f"queue {100 * stream.buffer.held / stream.buffer.limit:.0f} %"
        counts = stream.summary()
        troubles = [
            f"{n:,} {words}"
            for n, words in (
                (counts.dropped, "dropped"),
                (counts.late, "late"),
                (counts.thinned, "beyond --max-rate"),
                (counts.silent, agree(counts.silent, "silent window", "silent windows")),
                (counts.emptied, f"{agree(counts.emptied, 'window', 'windows')} emptied by --max-rate"),
                (counts.damaged, "damaged"),
                (counts.lost, "lost"),
            )
            if n
        ]
        warnings = map(self._worded, stream.warnings[-1:])
        return [
            *(_line(text, "yellow") for text in warnings),
            _line("   ".join([amount(rate, "events a second"), held, *troubles]), "yellow" if counts.dropped else ""),
            _line(_prediction_line(stream.prediction, counts.latency_median, counts.latency_99)),
            _line("Ctrl-C ends the stream", "dim"),
        ]


def polarities(events: Events, sensor: tuple[int, int], most: tuple[int, int]) -> Pixels:
    """Return a picture of events: the polarity of most events in each pixel, 0 for no event, 1 for off, 2 for on.

    Args:
        events: the events to draw.
        sensor: the rows and columns of the sensor.
        most: the largest number of rows and of columns of the picture. The picture has the proportions of the sensor
            and an even number of rows.
    """
    (height, width), scale = sensor, min(most[0] / sensor[0], most[1] / sensor[1])
    size = [max(1, int(side * scale)) for side in sensor]
    size[0] = max(2, size[0] - size[0] % 2)
    events = events.where((events.x < width) & (events.y < height))
    at = events.y.astype(np.int64) * width + events.x
    more = np.bincount(at, np.where(events.p, 1.0, -1.0), height * width).reshape(sensor)
    any_ = np.bincount(at, minlength=height * width).reshape(sensor)
    for axis in (0, 1):
        if size[axis] < sensor[axis]:  # several pixels of the sensor are one pixel of the picture
            starts = np.arange(size[axis]) * sensor[axis] // size[axis]
            more, any_ = np.add.reduceat(more, starts, axis), np.add.reduceat(any_, starts, axis)
        else:  # a pixel of the sensor is repeated
            source = np.arange(size[axis]) * sensor[axis] // size[axis]
            more, any_ = more.take(source, axis), any_.take(source, axis)
    return np.where(any_ == 0, 0, np.where(more < 0, 1, 2)).astype(np.uint8)


def half_blocks(pixels: Pixels) -> Text:
    """Return a picture (`polarities`) as text in colour. Each character shows two pixels, one above the other."""
    lines = []
    for upper, lower in zip(pixels[0::2].tolist(), pixels[1::2].tolist(), strict=True):
        line = Text()
        for (above, below), same in itertools.groupby(zip(upper, lower, strict=True)):
            style = f"{_COLOURS[above or below]}{f' on {_COLOURS[below]}' if above and below else ''}"
            block = "\N{UPPER HALF BLOCK}" if above else "\N{LOWER HALF BLOCK}" if below else " "
            line.append(block * len(list(same)), style)
        lines.append(line)
    return Text("\n", no_wrap=True).join(lines)


def signs(pixels: Pixels) -> Text:
    """Return a picture (`polarities`) as text without colour.

    Each character stands for two pixels, one above the other. If both have events, the upper one is shown.
    """
    shown = np.where(pixels[0::2], pixels[0::2], pixels[1::2])
    return Text("\n".join("".join(_SIGNS[pixel] for pixel in row) for row in shown.tolist()), no_wrap=True)


def _prediction_line(found: WindowPrediction | None, median: float | None, most: float | None) -> str:
    if found is None:
        return ""
    parts = [f"window {found.window}", f"{found.begin / 1e6:.3f} to {found.end / 1e6:.3f} s"]
    parts += [counted(found.events, "event")]
    if found.latency is not None and median is not None and most is not None:
        spread = f"{milliseconds(median)} in the median, 99 % within {milliseconds(most)}"
        parts.append(f"latency {milliseconds(found.latency)} ({spread})")
    return "   ".join([*parts, *remarks(found)])


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
