"""The formats of events, and how a file's is told."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from tcja_runtime.errors import BadInput, Damaged
from tcja_runtime.events.event import Decoder, Recording
from tcja_runtime.events.file import File, beginning
from tcja_runtime.events.formats import aedat2, aedat3, aedat4, aedat4_layout, evt, spikingjelly
from tcja_runtime.events.formats.aedat2 import Aedat2
from tcja_runtime.events.formats.aedat3 import Aedat3
from tcja_runtime.events.formats.atis import Atis
from tcja_runtime.events.formats.dat import Dat
from tcja_runtime.events.formats.evt import Evt2, Evt3
from tcja_runtime.events.header import LONGEST, Header
from tcja_runtime.files import npz

_TOLD = LONGEST + 2
"""Bytes that tell a format: a header and what follows it."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of events.

    Attributes:
        name: as options and `FORMATS` have it.
        title: for people.
        suffixes: that its files have.
        decoder: makes what turns its bytes into events; None where it can only be read as a whole file.
        opened: makes a recording of a file.
        package: that reads it; None where numpy is enough.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    decoder: Callable[[], Decoder] | None
    opened: Callable[[Path], Recording]
    package: str | None = None


def _bytes(name: str, title: str, suffixes: tuple[str, ...], decoder: Callable[[], Decoder]) -> Format:
    """A format that is bytes in a row."""

    def opened(path: Path) -> Recording:
        first = decoder()
        try:
            first.feed(beginning(path, _TOLD))
        except Damaged as damaged:
            raise damaged.of(path) from None
        return File(path, name, first.sensor, decoder)

    return Format(name, title, suffixes, decoder, opened)


def _aedat4(path: Path) -> Recording:
    beginning(path, 1)
    return aedat4.opened(path)


def _spikingjelly(path: Path) -> Recording:
    beginning(path, 1)
    found = npz.arrays(path).keys()
    if found >= set(spikingjelly.KEYS):
        return spikingjelly.SpikingJelly(path)
    if "frames" in found or "images" in found:
        raise BadInput(f"{path} holds frames, not events; it is data as it is, for `data`")
    raise BadInput(f"{path} has no arrays t, x, y and p, as events have; it has {', '.join(sorted(found)) or 'none'}")


FORMATS = {
    each.name: each
    for each in (
        _bytes("aedat2", "AEDAT 2.0 of a DVS128 camera, as CIFAR10-DVS", (".aedat",), Aedat2),
        _bytes("aedat3", "AEDAT 3.1, as DVS128 Gesture", (".aedat",), Aedat3),
        Format("aedat4", "AEDAT 4, as DV and dv-processing write it", (".aedat4",), None, _aedat4, aedat4.PACKAGE),
        _bytes("atis", "ATIS .bin, as N-Caltech101 and N-MNIST", (".bin",), Atis),
        _bytes("dat", "Prophesee .dat, as N-Cars", (".dat",), Dat),
        _bytes("evt2", "Prophesee .raw, EVT2", (".raw",), Evt2),
        _bytes("evt3", "Prophesee .raw, EVT3", (".raw",), Evt3),
        Format("spikingjelly", "SpikingJelly's events, an .npz of t, x, y, p", (".npz",), None, _spikingjelly),
    )
}


_FIRST = {
    aedat2.FIRST: "aedat2",
    aedat3.FIRST: "aedat3",
    aedat4_layout.FIRST: "aedat4",
    b"PK\x03\x04": "spikingjelly",
}
_LINE = b"% "
"""What each line of Prophesee's headers begins with."""


def told(head: bytes) -> str | None:
    """The format of bytes that begin like this, a whole header of lines at least; None if they do not say.

    Raises:
        Damaged: a header has no end.
    """
    for first, name in _FIRST.items():
        if head.startswith(first):
            return name
    return _prophesee(head) if head.startswith(_LINE) else None


def undecided(head: bytes) -> bool:
    """Whether bytes that begin like this do not say their format yet, but may with those behind them."""
    if head.startswith(_LINE) and len(head) < LONGEST:
        header = Header(_LINE)
        header.feed(head)
        return not header.over and evt.version(header) is None
    return any(len(head) < len(first) and first.startswith(head) for first in (*_FIRST, _LINE))


def _prophesee(head: bytes) -> str | None:
    """The format of what begins with lines as Prophesee's have."""
    header = Header(_LINE)
    header.feed(head)
    version = evt.version(header)
    if version is None:
        return "dat" if header.over else None
    return "evt3" if version.startswith("3") else "evt2"


def recording(path: str | os.PathLike[str], format: str | None = None) -> Recording:  # noqa: A002
    """A file of events, whose format its content tells, or else its suffix.

    Nothing but its beginning is read, so whether there are events, and what is damaged behind it, is found by whoever
    reads its chunks.

    Args:
        path: of the file.
        format: its name in `FORMATS`, if known.

    Raises:
        BadInput: there is no such file, or nothing tells its format.
        Damaged: its header is damaged.
        Unavailable: a package that reads the format is not installed.
    """
    path = Path(path)
    if format is None:
        head = beginning(path, _TOLD)
        try:
            format = told(head) or by_suffix(path)  # noqa: A001
        except Damaged as damaged:
            raise damaged.of(path) from None
    if format is None:
        known = ", ".join(f"{each.title} ({each.name})" for each in FORMATS.values())
        raise BadInput(
            f"{path}: neither its content nor its suffix {path.suffix.lower()!r} tells a format of events; read are "
            f"{known}"
        )
    if format not in FORMATS:
        raise BadInput(f"there is no format {format!r}; there are {', '.join(FORMATS)}")
    return FORMATS[format].opened(path)


def by_suffix(path: Path) -> str | None:
    """The format of a file whose content does not tell; None if its name does not, either."""
    return "atis" if path.suffix.lower() == ".bin" else None  # the one format whose content says nothing
