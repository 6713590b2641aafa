"""Makes the pictures of the documents from real runs: the report of an export, the picture of a run, the live view.

    python tools/pictures.py [--images docs/images] [--work build/pictures]

It exports the networks of examples/fashion_mnist and examples/event_fashion_mnist, classifies recordings, and runs a
stream of three recordings, one after the other. Chromium takes the pictures of pages; `CHROMIUM` names another browser
of its kind.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np
from rich.color import Color
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME

from tcja_deploy.stream.view import View
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.events.sources import open_source
from tcja_runtime.streaming.options import StreamOptions
from tcja_runtime.streaming.results import WindowPrediction
from tcja_runtime.streaming.stream import Stream

ROOT = Path(__file__).resolve().parent.parent
IMAGES, EVENTS = ROOT / "examples" / "fashion_mnist", ROOT / "examples" / "event_fashion_mnist"
LARGEST = 150_000
"""The largest size of a picture, in bytes."""
RECORDINGS = 500
_MICROSECONDS = 300_000  # of a recording
_CELL = 8.4, 18.0  # the size of a character of the terminal, in SVG units
_HALVES = {"\N{UPPER HALF BLOCK}": (0.0, 0.5), "\N{LOWER HALF BLOCK}": (0.5, 1.0), "\N{FULL BLOCK}": (0.15, 0.85)}


def report(work: Path, picture: Path) -> None:
    """Export the network of Fashion-MNIST, and take a picture of the top of its report."""
    bundle = work / "fashion_mnist.bundle"
    _tcja("export", IMAGES / "checkpoint.pth", "--data", IMAGES / "test_1000.npz", "--target", "onnx", "--out", bundle)
    screenshot(bundle / "report.html", picture, (1100, 880))


def events(work: Path) -> Path:
    """Simulate event recordings, and export the network that classifies them. Returns the bundle."""
    recordings, bundle = work / "event_recordings", work / "event_fashion_mnist.bundle"
    simulate = [EVENTS / "simulate.py", "--images", IMAGES / "test_1000.npz", "--count", RECORDINGS, recordings]
    subprocess.run([sys.executable, *map(str, simulate)], check=True)
    data = ("--data", recordings, "--classes", EVENTS / "classes.txt", "--target", "onnx", "--streaming")
    _tcja("export", EVENTS / "checkpoint.pth", *data, "--out", bundle)
    return bundle


def run(bundle: Path, work: Path, picture: Path) -> None:
    """Classify recordings, and take a picture of the page that `run --picture` writes."""
    page = work / "run.html"
    page.unlink(missing_ok=True)
    _tcja("run", os.path.relpath(bundle), os.path.relpath(EVENTS / "recordings"), "--picture", page)
    screenshot(page, picture, (1100, 760))


def live(bundle: Path, work: Path, picture: Path) -> None:
    """Run a stream of recordings, and write the view of it at its second prediction as SVG."""
    recording = work / "three_recordings.bin"
    recording.write_bytes(_joined(sorted((EVENTS / "recordings").iterdir())))
    console = Console(file=io.StringIO(), width=96, height=24, force_terminal=True, color_system="truecolor")
    drawn: list[list[list[Segment]]] = []
    with contextlib.closing(open_source(str(recording), speed=1.0)) as source:
        stream = Stream.open(Bundle.open(bundle), source, StreamOptions(window=Window(_MICROSECONDS)))
        view = View(console, stream)

        def show(found: WindowPrediction) -> None:
            view.drawn()  # the rate is measured from here on
            if found.window == 1:
                drawn.append(console.render_lines(view.drawn(), pad=False))

        stream.run(show)
    picture.write_text(terminal(drawn[0], console.size), encoding="utf-8")


def terminal(lines: Sequence[Sequence[Segment]], size: tuple[int, int]) -> str:
    """Return the content of a terminal as SVG. Blocks are rectangles, so that they meet in every font.

    Args:
        lines: the lines, as rich renders them.
        size: the columns and rows of the terminal.
    """
    across, down = _CELL
    width, height = size[0] * across + 24, size[1] * down + 20
    shapes = [shape for at, line in enumerate(lines) for shape in _shapes(line, 10 + at * down)]
    paper, ink = (_hex(colour) for colour in (SVG_EXPORT_THEME.background_color, SVG_EXPORT_THEME.foreground_color))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="The live view of a stream in a terminal"><rect width="100%" height="100%" rx="8" fill="{paper}"/>'
        f'<g font-family="monospace" font-size="13.5" fill="{ink}">{"".join(shapes)}</g></svg>\n'
    )


def _shapes(line: Sequence[Segment], top: float) -> Iterator[str]:
    """Yield the shapes of a line: backgrounds and blocks as rectangles, the rest as text."""
    (across, _), column = _CELL, 0
    for segment in line:
        left, text, style = 12 + column * across, segment.text, segment.style or Style()
        column += segment.cell_length
        if style.bgcolor:
            yield _rectangle(left, top, len(text), (0.0, 1.0), _colour(style.bgcolor))
        for start, part in _blocks(text):
            x = left + start * across
            if part[0] in _HALVES:
                yield _rectangle(x, top, len(part), _HALVES[part[0]], _colour(style.color))
            elif part.strip():
                looks = ' font-weight="bold"' * bool(style.bold) + ' opacity=".6"' * bool(style.dim)
                wide = f'textLength="{len(part.rstrip()) * across:.1f}" lengthAdjust="spacingAndGlyphs"'
                shown = escape(part.rstrip()).replace(" ", "\N{NO-BREAK SPACE}")  # other spaces are joined
                fill = f' fill="{_colour(style.color)}"' if style.color else ""
                yield f'<text x="{x:.1f}" y="{top + 13:.1f}" {wide}{looks}{fill}>{shown}</text>'


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield the runs of the same block in a text, and the texts between them, each with its place."""
    start = 0
    for at in range(1, len(text) + 1):
        kinds = [text[i] if text[i] in _HALVES else "" for i in (start, at)] if at < len(text) else ["", "end"]
        if kinds[0] != kinds[1]:
            yield start, text[start:at]
            start = at


def _rectangle(left: float, top: float, cells: int, part: tuple[float, float], colour: str) -> str:
    (across, down), (upper, lower) = _CELL, part
    place = f'x="{left:.1f}" y="{top + upper * down:.1f}" width="{cells * across + 0.2:.1f}"'
    return f'<rect {place} height="{(lower - upper) * down:.1f}" fill="{colour}" shape-rendering="crispEdges"/>'


def _colour(colour: Color | None) -> str:
    found = (colour or Color.default()).get_truecolor(SVG_EXPORT_THEME)
    return _hex((found.red, found.green, found.blue))


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _joined(recordings: Sequence[Path]) -> bytes:
    """Return recordings in the ATIS format as one: each begins when the one before it ends."""
    parts = []
    for at, path in enumerate(recordings):
        rows = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 5).astype(np.uint32)
        times = ((rows[:, 2] & 0x7F) << 16 | rows[:, 3] << 8 | rows[:, 4]) + at * _MICROSECONDS
        rows[:, 2] = (rows[:, 2] & 0x80) | times >> 16
        rows[:, 3], rows[:, 4] = times >> 8 & 0xFF, times & 0xFF
        parts.append(rows.astype(np.uint8).tobytes())
    return b"".join(parts)


def screenshot(page: Path, picture: Path, size: tuple[int, int]) -> None:
    """Take a picture of the top of a page.

    Args:
        page: the page.
        picture: the PNG file.
        size: the width and height of the window.
    """
    names = filter(None, (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"))
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        raise SystemExit("the pictures of pages need Chromium: install it, or name it in CHROMIUM")
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--blink-settings=preferredColorScheme=1",
    )
    window = f"--window-size={size[0]},{size[1]}"
    command = [browser, *flags, window, f"--screenshot={picture}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _tcja(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "tcja_deploy", *map(str, arguments)], check=True, cwd=ROOT)


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images", help="the folder of the pictures")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "pictures", help="the folder of the runs; made anew"
    )
    asked = parser.parse_args()
    images, work = asked.images.resolve(), asked.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    report(work, images / "report.png")
    bundle = events(work)
    run(bundle, work, images / "run.png")
    live(bundle, work, images / "live.svg")
    for name in ("report.png", "run.png", "live.svg"):
        size = (images / name).stat().st_size
        print(f"{images / name}: {size:,} bytes")
        if size > LARGEST:
            raise SystemExit(f"{name} has {size:,} bytes, more than {LARGEST:,}: take a smaller window")


if __name__ == "__main__":
    main()
