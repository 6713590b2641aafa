"""Runs `pip install` and prints its progress: a line for each package, with its size, before it is fetched.

    .venv/bin/python tools/install.py [OPTIONS OF PIP] PACKAGE...

A line begins with the minutes and seconds since the start. On a terminal, the seconds of the current step are counted
at its end. Elsewhere no control characters are written. If pip fails, its warnings are shown, its error is the last
line, and the exit code is pip's. Nothing but Python is needed, as nothing is installed yet.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

INTERRUPTED = 130
_TICK = 1.0  # seconds
_WIDTH = 79  # columns
_ARCHIVE = re.compile(r"(?P<name>.+?)-(?P<version>\d[^-+]*)[^/]*\.(whl|tar\.gz|zip)")
_BEGINNINGS = {
    "Installing build dependencies": "fetch the build tools",
    "Building wheel for": "build",
    "Building editable for": "prepare",
}
_ERROR = re.compile(r"\W*ERROR: (.*)")  # that of a pip that pip runs is indented
_UNREACHED = "Retrying (Retry("


def size(count: float) -> str:
    """A number of bytes in the units of pip, such as "8.9 MB"."""
    units = ["GB", "MB", "kB", "bytes"]
    while round(count) >= 1000 and len(units) > 1:
        count, _ = count / 1000, units.pop()
    unit = units[-1]
    return f"{count:.0f} {unit}" if count >= 10 or unit == "bytes" else f"{count:.1f} {unit}"


def step(line: str) -> str | None:
    """What pip begins to do, from a line of its output; None if nothing begins that is worth a line."""
    line = line.strip()
    first, _, rest = line.partition(" ")
    for words, does in _BEGINNINGS.items():
        if line.startswith(words) and line.endswith(": started"):
            return f"{does} {line.removeprefix(words).split()[0]}" if words.endswith("for") else does
    if line.startswith("Installing collected packages: "):
        n = line.count(",") + 1
        return f"install {n} package{'s' if n > 1 else ''}"
    if line.startswith("Using cached "):
        first, rest = "Using cached", line.removeprefix("Using cached ")
    place, _, bracket = rest.partition(" (")
    found = _ARCHIVE.fullmatch(urllib.parse.unquote(place.rpartition("/")[2]))
    if found is None:
        return None
    package, listed = f"{found['name'].replace('_', '-')} {found['version']}", f" ({bracket}" if bracket else ""
    if first == "Downloading":
        return f"fetch {package}{listed}"
    if first == "Using cached":
        return f"take {package}{listed} from pip's cache"
    if first == "Processing":
        file = Path(place)
        known = f" ({size(file.stat().st_size)})" if file.is_file() else ""
        return f"take {package}{known} from this disk"
    return None


class Lines:
    """Writes lines with the time since the start.

    Args:
        out: where to.
        live: whether the seconds of the last line are counted while it is the last one, which needs a terminal.
    """

    def __init__(self, out: TextIO, live: bool) -> None:
        self._out, self._live = out, live
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._start = time.monotonic()
        self._text, self._since = "", self._start

    def begin(self, text: str) -> None:
        """Write a line about a step that begins now."""
        with self._lock:
            self._close()
            self._since = time.monotonic()
            seconds = int(self._since - self._start)
            self._text = f"{seconds // 60:3}:{seconds % 60:02}  {text}"
            self._write(self._text if self._live else f"{self._text}\n")

    def plain(self, text: str) -> None:
        """Write a line as it is."""
        with self._lock:
            self._close()
            self._write(f"{text}\n")

    def count(self) -> None:
        """Count the seconds of the last line until `end` is called."""
        while self._live and not self._ended.wait(_TICK):
            with self._lock:
                if self._text:
                    line = f"{self._text}, {time.monotonic() - self._since:.0f} s"
                    self._write(f"\r{line[:_WIDTH]}")

    def end(self) -> None:
        """End the last line."""
        self._ended.set()
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._live and self._text:
            self._write("\n")
        self._text = ""

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def run(command: Sequence[str], lines: Lines) -> tuple[int, list[str]]:
    """Run pip. Returns its exit code, and what it wrote to stderr.

    Args:
        command: the command.
        lines: where its steps are written, and that it tries again to reach a server.
    """
    said: list[str] = []

    def listen(stream: TextIO) -> None:
        for line in map(str.rstrip, stream):
            said.append(line)
            if _UNREACHED in line:
                lines.plain(line)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen(command, **pipes) as pip:
        assert pip.stdout is not None  # noqa: S101  # both are pipes
        assert pip.stderr is not None  # noqa: S101
        threads = [threading.Thread(target=listen, args=[pip.stderr]), threading.Thread(target=lines.count)]
        for thread in threads:
            thread.start()
        try:
            for text in map(step, pip.stdout):
                if text:
                    lines.begin(text)
        finally:
            lines.end()
            for thread in threads:
                thread.join()
    return pip.returncode, said


def failure(said: Sequence[str]) -> list[str]:
    """What to show if pip failed, a line each: what it wrote to stderr, and its errors at the end.

    Args:
        said: the lines that it wrote to stderr.
    """
    found = [(line, _ERROR.match(line)) for line in said]
    others = [line for line, error in found if line and not error and _UNREACHED not in line]
    errors = list(dict.fromkeys(error[1] for _, error in found if error))
    if any(_UNREACHED in line for line in said):
        errors.append("a server was not reached: is there a network, and does it need a proxy?")
    return [*others, *(f"error: {error}" for error in errors or ["pip failed; the lines above are its own"])]


def main() -> int:
    """Install the packages that the arguments name. Returns the exit code."""
    live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and "CI" not in os.environ
    lines = Lines(sys.stdout, live)
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    try:
        lines.begin("choose the versions")
        code, said = run([*command, *sys.argv[1:]], lines)
        if not code:
            lines.begin("done")
            lines.end()
    except KeyboardInterrupt:
        lines.end()
        print("interrupted; the same command begins again", file=sys.stderr)
        return INTERRUPTED
    for line in failure(said) if code else ():
        print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
