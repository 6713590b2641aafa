"""A process that reads content with a parser whose library may crash: of each, it says what became of it.

    python -m tests.fuzz.child NAME FOLDER

Each content has its size before it, 4 bytes. The answer is a line: "read", "refused", or the mistake.
"""

from __future__ import annotations

import contextlib
import select
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .judge import Finding, judged
from .parser import Parser, Room
from .parsers import named

_ROOT = Path(__file__).parents[2]
_HANG = 60  # seconds


class Apart:
    """A parser in a process of its own.

    Args:
        parser: the parser.
        process: the process.

    Attributes:
        process: as given.
    """

    def __init__(self, parser: Parser, process: subprocess.Popen[bytes]) -> None:
        self._parser, self.process = parser, process

    @classmethod
    @contextlib.contextmanager
    def started(cls, parser: Parser, folder: Path) -> Iterator[Apart]:
        """A context with the process."""
        command = [sys.executable, "-m", __name__, parser.name, str(folder)]
        # Without buffers: what a process that ended did not take is not written again when its pipe is closed.
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, cwd=_ROOT) as process:
            try:
                yield cls(parser, process)
            finally:
                process.kill()

    def judged(self, content: bytes) -> bool:
        """As `tests.fuzz.judge.judged`. A crash or a hang of the process is a mistake as well."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(struct.pack("<I", len(content)) + content)
        if not select.select([self.process.stdout], [], [], _HANG)[0]:
            raise Finding(f"hangs for {_HANG} s", self._parser.name)
        answer = self.process.stdout.readline().decode().strip()
        if answer not in ("read", "refused"):
            raise Finding(answer or f"ends with status {self.process.wait()}", self._parser.name)
        return answer == "read"


def main(name: str, folder: str) -> None:
    """Read contents from stdin until it ends."""
    parser, room = named(name), Room(Path(folder))
    while size := sys.stdin.buffer.read(4):
        content = sys.stdin.buffer.read(struct.unpack("<I", size)[0])
        try:
            answer = "read" if judged(parser, room, content) else "refused"
        except Finding as finding:
            answer = " ".join(str(finding).split())
        print(answer, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
