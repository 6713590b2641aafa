"""The view of a stream on a terminal: the events, the classes, the length of the queue, and the events lost.

A separate thread draws the newest state of the stream several times a second, so the stream never waits for the
terminal. The view fills the screen; at its end the former content of the screen returns.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import textwrap
import time
from collections.abc import Callable, Sequence

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
_LEAST = (8, 48)  # the fewest rows of a picture of the events, and the fewest columns of a terminal that shows it
_SIDE, _BAR, _SCORE = 40, 12, 9  # the columns of the classes, of the bar of a class, of its score

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
        state = self._state(columns)
        names = f"\N{RIGHTWARDS ARROW} {self._stream.network}, {self._stream.runner.title}"
        title = folded([f"{self._stream.source.title} {names}"], columns, "bold")
        body = rows - len(state) - len(title) - 1
        if body < _LEAST[0] or columns < _LEAST[1]:
            return Group(*self._classes(columns, max(1, rows - len(state))), *state[: rows - 1])
        longest = max(map(len, self._stream.classes), default=0)
        side = min(max(_SIDE, longest + _SCORE + _BAR), columns // 2)
        grid = Table.grid(padding=(0, 2))
        grid.add_row(self._picture(body, columns - side - 2), Group(*self._classes(side, body)))
        return Group(*title, grid, Text(), *state)

    def _picture(self, rows: int, columns: int) -> Text:
        now = time.monotonic()
        recent = [events for arrived, events in list(self._stream.recent) if now - arrived < _LASTS]
        seen = cropped(Events.joined(recent), self._stream.contract.crop)
        pixels = polarities(seen, self._sensor, (2 * rows, columns))
        coloured = self._blocks and self._console.color_system is not None and not self._console.no_color
        return half_blocks(pixels) if coloured else signs(pixels)

    def _classes(self, columns: int, rows: int) -> list[Text]:
        """Return the scores of the classes as lines: of all classes in their order if they fit, else of the likeliest.

        Names are whole. A name that is wider than its column goes on in the next line.
        """
        found, classes = self._stream.prediction, self._stream.classes
        if found is None:
            return folded(["no window is complete yet"], columns, "dim")[:rows]
        wide = max(1, min(max(map(len, classes)), columns - _SCORE))
        least = min(0.0, float(found.scores.min()))
        span = float(found.scores.max()) - least or 1.0
        full = "\N{FULL BLOCK}" if self._blocks else "#"
        lines = {}
        for index in found.likeliest[: rows + 1]:
            name, *rest = textwrap.wrap(classes[index], wide) or [""]
            bar = full * round((columns - wide - _SCORE) * (float(found.scores[index]) - least) / span)
            style = "bold" if index == found.likeliest[0] else ""
            first = _line(f"{name:<{wide}} {found.scores[index]:>7.3g} {bar}", style)
            lines[index] = [first, *(_line(line, style) for line in rest)]
        if sum(map(len, lines.values())) <= rows:
            return [line for index in sorted(lines) for line in lines[index]]
        shown = [line for each in lines.values() for line in each]
        return [*shown[: rows - 1], _line("and less likely classes", "dim")] if rows > 1 else shown[:rows]

    def _state(self, columns: int) -> list[Text]:
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
        rates = [amount(rate, "events a second"), held, *troubles]
        return [
            *(line for text in warnings for line in folded([text], columns, "yellow")),
            *folded(rates, columns, "yellow" if counts.dropped else ""),
            *folded(_prediction(stream.prediction, counts.latency_median, counts.latency_99), columns),
            *folded(["Ctrl-C ends the stream"], columns, "dim"),
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


def folded(parts: Sequence[str], columns: int, style: str = "") -> list[Text]:
    """Return parts of a text in as few lines as they fit, at least one; a part that is wider is broken at its words."""
    lines = [""]
    for part in parts:
        together = f"{lines[-1]}   {part}" if lines[-1] else part
        if len(together) <= columns:
            lines[-1] = together
        else:
            lines = [*filter(None, lines), *textwrap.wrap(part, columns)]
    return [_line(line, style) for line in lines]


def _prediction(found: WindowPrediction | None, median: float | None, most: float | None) -> list[str]:
    if found is None:
        return []
    parts = [f"window {found.window}", f"{found.begin / 1e6:.3f} to {found.end / 1e6:.3f} s"]
    parts += [counted(found.events, "event")]
    if found.latency is not None and median is not None and most is not None:
        spread = f"{milliseconds(median)} in the median, 99 % within {milliseconds(most)}"
        parts.append(f"latency {milliseconds(found.latency)} ({spread})")
    return [*parts, *remarks(found)]


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="crop")
