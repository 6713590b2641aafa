"""A campaign: many inputs for each parser, guided by coverage with atheris (`make fuzz`).

    python -m tests.fuzz.campaign                          all parsers, 100,000 inputs each
    python -m tests.fuzz.campaign evt3 npz --inputs 5000   some of them

Each parser has a process of its own, at the lowest priority. An input that shows a mistake is stored in
build/fuzz/found/NAME, and the campaign goes on. When the mistake is mended, the input goes into tests/fuzz/corpus/NAME,
where `make test` reads it. `python -m tests.fuzz.corpus` puts there what else a campaign has found to be of use.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import types
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what is imported before atheris is not covered
    from .judge import Finding
    from .parser import Parser

WORK = Path("build/fuzz")
_SHORT = 2**12
"""The most bytes of an input, if no whole content is longer than half of it."""
_OURS = ("tcja_runtime", "tcja_deploy", "tcja_exporters")
_OTHERS = (
    *("zipfile", "csv", "json.decoder", "numpy.lib._format_impl", "torch._weights_only_unpickler"),
    *("PIL.PngImagePlugin", "PIL.JpegImagePlugin"),
)
"""The modules of others that read in Python. With our packages, their coverage guides."""
_ROOM = 2**31
"""The bytes of address space that an input may ask for, so that a mistake does not take those of the machine."""
_HANG = 120  # seconds after which a parser hangs in native code, on a machine that has other work to do


@dataclasses.dataclass
class Counts:
    """What became of the inputs of a parser.

    Attributes:
        inputs: their number.
        read: how many were read.
        refused: how many were refused in a line.
        seconds: the time of the processor, of this process.
        slowest: the longest time for one input, in seconds.
        peak: the most memory that one input took beyond what the process had before, in bytes.
        found: by the mistake, the number of inputs that show it.
    """

    inputs: int = 0
    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    peak: int = 0
    found: dict[str, int] = dataclasses.field(default_factory=dict)


class Campaign:
    """The inputs of one parser, in a process of their own.

    Args:
        parser: the parser.
        inputs: the number of inputs.
        folder: the folder of the parser's files.
    """

    def __init__(self, parser: Parser, inputs: int, folder: Path) -> None:
        from .judge import Finding, judged
        from .parser import Room

        self._judged, self._finding = judged, Finding
        self._parser, self._inputs, self._room = parser, inputs, Room(folder)
        self.counts, self._found = Counts(), Counter[str]()
        self._most = _memory()

    def seeds(self) -> list[bytes]:
        """Returns what is damaged first: whole contents, which must be read, and the corpus."""
        seeds = self._parser.seeds(self._room)
        for seed in seeds:
            assert self._judged(self._parser, self._room, seed), f"{self._parser.name}: a whole content is refused"
        return [*seeds, *(file.read_bytes() for file in self._parser.corpus())]

    def take(self, content: bytes) -> None:
        """Judge an input, and end the process after the last one."""
        counts, began = self.counts, time.process_time()
        try:
            if self._judged(self._parser, self._room, content):
                counts.read += 1
            else:
                counts.refused += 1
        except self._finding as finding:
            self._keep(finding, content)
        took = time.process_time() - began
        before, self._most = self._most, _memory()
        counts.peak = max(counts.peak, self._most - before)
        counts.inputs += 1
        counts.seconds += took
        counts.slowest = max(counts.slowest, took)
        if counts.inputs >= self._inputs:
            self.end()

    def end(self) -> None:
        """Write the counts, and end."""
        self.counts.found = dict(self._found)
        (WORK / f"{self._parser.name}.json").write_text(json.dumps(dataclasses.asdict(self.counts)))
        sys.stdout.flush()
        os._exit(0)

    def _keep(self, finding: Finding, content: bytes) -> None:
        """Store an input with which a mistake was found first."""
        mistake = f"{finding.what.partition(':')[0][:60]} [{finding.where}]"
        self._found[mistake] += 1
        if self._found[mistake] == 1:
            folder = WORK / "found" / self._parser.name
            folder.mkdir(parents=True, exist_ok=True)
            name = hashlib.sha256(content).hexdigest()[:12]
            (folder / name).write_bytes(content)
            (folder / f"{name}.txt").write_text(f"{finding}\n")


def _memory() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_one(name: str, inputs: int) -> None:
    """Take the inputs of one parser in this process, which ends."""
    import atheris

    for module in ("numpy", "torch", "PIL"):  # as a whole they are too much
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(module)
    with atheris.instrument_imports(include=list(_OURS)):
        from .damage import changed_bytes
        from .parsers import named

        parser = named(name)
    for module in _OTHERS:
        _cover(atheris, module)

    def bytes_of(rng: random.Random, content: bytes) -> bytes:
        guided = content and rng.randrange(2)
        return bytes(atheris.Mutate(content, len(content) + 64)) if guided else changed_bytes(rng, content)

    def mutate(content: bytes, longest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        how = rng.randrange(4)
        if how == 0:
            return bytes(atheris.Mutate(content, longest))
        # What is damaged only once goes deep; most of what coverage finds is refused early.
        return parser.damage(rng, content if how == 1 else rng.choice(seeds), bytes_of)[:longest]

    fast = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="tcja-fuzz-", dir=fast if fast.is_dir() else None))
    campaign = Campaign(parser, inputs, folder)
    given, grown, crashed = (WORK / kind / name for kind in ("seeds", "corpus", "crashed"))
    for place in (given, grown, crashed):
        place.mkdir(parents=True, exist_ok=True)
    seeds = campaign.seeds()
    for seed in seeds:
        (given / hashlib.sha256(seed).hexdigest()[:12]).write_bytes(seed)
    longest = max(_SHORT, 2 * max(map(len, seeds)))
    options = [f"-max_len={longest}", f"-timeout={_HANG}", "-rss_limit_mb=0", "-verbosity=0", "-print_final_stats=0"]
    options += [f"-artifact_prefix={crashed}/", "-detect_leaks=0", "-seed=1", "-len_control=0"]
    atheris.Setup([name, *options, str(grown), str(given)], campaign.take, custom_mutator=mutate)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _ROOM, resource.RLIM_INFINITY))
    atheris.Fuzz()


def _cover(atheris: Any, name: str) -> None:
    """Let the functions of a module, which was imported, guide as well."""
    module = sys.modules.get(name)
    for held in vars(module).values() if module else ():
        for function in (held, *(vars(held).values() if isinstance(held, type) else ())):
            if isinstance(function, types.FunctionType) and function.__module__ == name:
                atheris.instrument_func(function)


def run(names: list[str], inputs: int) -> int:
    """Take the inputs of some parsers, each in a process of its own; print a line for each. Returns an exit code."""
    from .parsers import parsers

    table = {parser.name: parser for parser in parsers()}
    WORK.mkdir(parents=True, exist_ok=True)
    print(f"{'parser':12}{'inputs':>9}{'read':>9}{'refused':>9}{'mistakes':>9}{'slowest':>9}{'memory':>8}{'time':>8}")
    bad = 0
    for name in names or table:
        missing = [each for each in table[name].packages if importlib.util.find_spec(each) is None]
        if missing:
            print(f"{name:12}not run: {' and '.join(missing)} is not installed")
            continue
        result = WORK / f"{name}.json"
        result.unlink(missing_ok=True)
        with (WORK / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", "tests.fuzz.campaign", "--one", name, "--inputs", str(inputs)]
            status = subprocess.run(["nice", "-n", "19", *command], stdout=log, stderr=log).returncode
        if not result.exists():
            print(f"{name:12}the process ended with status {status}; see {WORK}/{name}.log and {WORK}/crashed/{name}")
            bad += 1
            continue
        counts = Counts(**json.loads(result.read_text()))
        mistakes = sum(counts.found.values())
        print(
            f"{name:12}{counts.inputs:9,}{counts.read:9,}{counts.refused:9,}{mistakes:9,}"
            f"{counts.slowest:7.2f} s{counts.peak / 1e6:5.0f} MB{counts.seconds:6.0f} s",
            flush=True,
        )
        for mistake, number in counts.found.items():
            print(f"    {number:,} x {mistake}")
        bad += bool(counts.found)
    return min(bad, 1)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", help="parsers; all without them")
    arguments.add_argument("--inputs", type=int, default=100_000)
    arguments.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        run_one(given.names[0], given.inputs)
    else:
        sys.exit(run(given.names, given.inputs))
