"""What a person at a terminal sees of a stream: the events, the classes, and how the machine keeps up.

It is drawn by a thread of its own from what the stream last left, some times a second, so that the stream never waits
for a terminal. It has the screen to itself and gives it back as it was.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import time

import numpy as np
import numpy.typing as npt
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tcja_deploy.console import err, out
from tcja_deploy.formatting import si
from tcja_deploy.stream.output import PLAIN, Lines, doubts, milliseconds
from tcja_deploy.stream.results import Answer
from tcja_deploy.stream.stream import Stream
from tcja_runtime.events import Events

Pixels = npt.NDArray[np.uint8]

_A_SECOND = 12  # pictures
_LASTS = 0.15  # seconds that an event is seen
_RATED = 2.0  # seconds over which the rate is taken
_KEPT = 10  # answers that are said when the view is gone
_LEAST = (14, 48)  # rows and columns below which there is no picture

_COLOURS = ("", "yellow", "bright_blue")  # of a pixel without an event, with more off, and with more on
_SIGNS = " -+"  # of the same where there is no colour


def run(stream: Stream, form: str, *, top: int, view: bool) -> None:
    """Classify a stream and say what is found, in lines on stdout and, on a terminal, a view on stderr.

    Lines and a view of the whole screen would disturb each other on one terminal: there people get the view, and the
    last lines behind it, and programs the lines.

    Args:
        stream: that has not begun.
        form: of the lines (`tcja_deploy.live_lines`).
        top: how many classes a line names.
        view: whether to show a view where there is a terminal.

    Raises:
        BadInput: as `Stream.run`; the summary has been said.
    """
    lines = Lines(form, stream.classes, top, out, err)
    terminal = view and err.is_terminal and not err.is_dumb_terminal
    shared = terminal and out.is_terminal
    seen, silent = terminal and not (shared and form != PLAIN), shared and form == PLAIN

    last: collections.deque[Answer] = collections.deque(maxlen=_KEPT)

    def show(answer: Answer) -> None:
        if silent:
            last.append(answer)
        else:
            lines.answer(answer)
        if out.quiet:  # whoever read the lines has gone
            stream.stop()

    try:
        with _shown(stream) if seen else contextlib.nullcontext():
            stream.run(show)
    finally:
        for answer in last:
            lines.answer(answer)
        lines.summary(stream.summary())


def _shown(stream: Stream) -> Live:
    """What shows a stream, of the whole screen."""
    return Live(
        console=err,
        screen=True,
        get_renderable=View(err, stream).drawn,
        refresh_per_second=_A_SECOND,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class View:
    """Draws a stream.

    Args:
        console: whose size and colours it is drawn for.
        stream: while it runs.
    """

    def __init__(self, console: Console, stream: Stream) -> None:
        self._console, self._stream = console, stream
        self._arrived: collections.deque[tuple[float, int]] = collections.deque()
        self._blocks = console.encoding.startswith("utf") and not console.legacy_windows
        self._sensor = stream.contract.pixels

    def drawn(self) -> RenderableType:
        """The stream as it is now, of the terminal's size."""
        columns, rows = self._console.size
        state = self._state()
        body = rows - len(state) - 2
        if rows < _LEAST[0] or columns < _LEAST[1]:
            return Group(*self._classes(columns, max(1, rows - len(state))), *state[: rows - 1])
        beside = min(40, columns // 2)
        grid = Table.grid(padding=(0, 2))
        grid.add_row(self._picture(body, columns - beside - 2), Group(*self._classes(beside, body)))
        title = f"{self._stream.source.title} \N{RIGHTWARDS ARROW} {self._stream.network}, {self._stream.taking.title}"
        return Group(_line(title, "bold"), grid, Text(), *state)

    def _picture(self, rows: int, columns: int) -> Text:
        now = time.monotonic()
        recent = [events for arrived, events in list(self._stream.recent) if now - arrived < _LASTS]
        pixels = polarities(Events.joined(recent), self._sensor, (2 * rows, columns))
        coloured = self._blocks and self._console.color_system is not None and not self._console.no_color
        return half_blocks(pixels) if coloured else signs(pixels)

    def _classes(self, columns: int, rows: int) -> list[Text]:
        answer, classes = self._stream.answer, self._stream.classes
        if answer is None:
            return [_line("no window is whole yet", "dim")]
        chosen = sorted(answer.likeliest[:rows]) if len(classes) <= rows else answer.likeliest[:rows]
        least = min(0.0, float(answer.scores.min()))
        span = float(answer.scores.max()) - least or 1.0
        wide = min(max(len(classes[index]) for index in chosen), columns // 2)
        room = columns - wide - 9
        full = "\N{FULL BLOCK}" if self._blocks else "#"
        return [
            _line(
                f"{classes[index][:wide]:<{wide}} {answer.scores[index]:>7.3g} "
                f"{full * round(room * (float(answer.scores[index]) - least) / span)}",
                "bold" if index == answer.likeliest[0] else "",
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
            f"{getattr(counts, name):,} {said}"
            for name, said in (
                ("dropped", "dropped"),
                ("late", "late"),
                ("outside", "beside the sensor"),
                ("silent", "silent windows"),
                ("damaged", "damaged"),
                ("lost", "lost"),
            )
            if getattr(counts, name)
        ]
        return [
            _line("   ".join([f"{si(rate)} events a second", held, *troubles]), "yellow" if counts.dropped else ""),
            _line(_answered(stream.answer, counts.latency_median, counts.latency_99)),
            _line("Ctrl-C ends", "dim"),
        ]


def polarities(events: Events, sensor: tuple[int, int], most: tuple[int, int]) -> Pixels:
    """What most events of a pixel are: 0 for none, 1 for off, 2 for on.

    Args:
        events: to be seen.
        sensor: rows and columns that they come in.
        most: rows and columns of the picture at most; it has the sensor's proportions, and an even number of rows.
    """
    (height, width), scale = sensor, min(most[0] / sensor[0], most[1] / sensor[1])
    size = [max(1, int(side * scale)) for side in sensor]
    size[0] = max(2, size[0] - size[0] % 2)
    events = events.where((events.x < width) & (events.y < height))
    at = events.y.astype(np.int64) * width + events.x
    more = np.bincount(at, np.where(events.p, 1.0, -1.0), height * width).reshape(sensor)
    any_ = np.bincount(at, minlength=height * width).reshape(sensor)
    for axis in (0, 1):
        if size[axis] < sensor[axis]:  # pixels of the sensor are put together
            starts = np.arange(size[axis]) * sensor[axis] // size[axis]
            more, any_ = np.add.reduceat(more, starts, axis), np.add.reduceat(any_, starts, axis)
        else:  # or repeated
            source = np.arange(size[axis]) * sensor[axis] // size[axis]
            more, any_ = more.take(source, axis), any_.take(source, axis)
    return np.where(any_ == 0, 0, np.where(more < 0, 1, 2)).astype(np.uint8)


def half_blocks(pixels: Pixels) -> Text:
    """Two pixels a character, one above the other, in colour."""
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
    """Two pixels a character, of which that above is told where both have events, without colour."""
    shown = np.where(pixels[0::2], pixels[0::2], pixels[1::2])
    return Text("\n".join("".join(_SIGNS[pixel] for pixel in row) for row in shown.tolist()), no_wrap=True)


def _answered(answer: Answer | None, median: float | None, most: float | None) -> str:
    if answer is None:
        return ""
    parts = [f"window {answer.window}", f"{answer.begin / 1e6:.3f} to {answer.end / 1e6:.3f} s"]
    parts += [f"{answer.events:,} events"]
    if answer.latency is not None and median is not None and most is not None:
        spread = f"{milliseconds(median)} in the median, 99 % within {milliseconds(most)}"
        parts.append(f"latency {milliseconds(answer.latency)} ({spread})")
    return "   ".join([*parts, *doubts(answer)])


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
