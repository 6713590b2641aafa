"""The table of event formats, and how the format of a file is found.

To add a format:

1. Write a module in this folder. A format that is a sequence of bytes is a class with the methods of
   `tcja_runtime.events.event.Decoder` (`atis` is a short example). Any other format is a function that opens a file as
   a `tcja_runtime.events.event.Recording` (`arrays.numpy_files` is an example).
2. Add a row to `FORMATS` below. Files, streams, options and `tcja-deploy doctor` read it from there.

An installed package adds a format by an entry point (`tcja_runtime.extensions`), whose name is the name of the
format. Its files have this name as their suffix. The package is imported when such a file is read, not before.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from tcja_runtime import extensions
from tcja_runtime.errors import BadInput, Damaged, Unavailable
from tcja_runtime.events.byte_recording import ByteRecording, beginning
from tcja_runtime.events.event import Decoder, ReadOptions, Recording
from tcja_runtime.events.formats import aedat2, aedat3, aedat4, aedat4_packets, rosbag2, unread
from tcja_runtime.events.formats.aedat2 import Aedat2
from tcja_runtime.events.formats.aedat3 import Aedat3
from tcja_runtime.events.formats.arrays import hdf5, hdf5_process, numpy_files
from tcja_runtime.events.formats.atis import Atis
from tcja_runtime.events.formats.dat import Dat
from tcja_runtime.events.formats.evt.evt2 import Evt2
from tcja_runtime.events.formats.evt.evt3 import Evt3
from tcja_runtime.events.formats.evt.evt21 import Evt21
from tcja_runtime.events.formats.evt.header import word_version
from tcja_runtime.events.header import LONGEST, Header
from tcja_runtime.files.kinds import Kind
from tcja_runtime.records import argument

KIND = "event format"
"""The kind of extension that adds a format."""
HEAD = LONGEST + 2
"""The number of bytes at the start of a file from which its format is found: the longest header, and two bytes more."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A row of the table of event formats.

    Attributes:
        name: the name of the format in options and in the keys of `FORMATS`, such as "aedat4".
        title: the name of the format in messages.
        suffixes: the suffixes of its files, in lower case with the dot.
        decoder: a function without arguments that makes a new decoder; None if the format can only be read from a file.
        open: a function that opens a file of the format.
        first: the bytes that files of this format, and of no other format, begin with; empty if there are none.
        package: the Python package that must be installed to read the format; None if numpy is enough.
        codecs: the Python package that must be installed as well for some compressed files; None if there is none.
        takes: the attributes of `ReadOptions` that the format may need.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    decoder: Callable[[], Decoder] | None
    open: Callable[[Path, ReadOptions], Recording]
    first: tuple[bytes, ...] = ()
    package: str | None = None
    codecs: str | None = None
    takes: tuple[str, ...] = ()

    @classmethod
    def of_bytes(
        cls, name: str, title: str, suffixes: tuple[str, ...], decoder: Callable[[], Decoder], *first: bytes
    ) -> Format:
        """Returns the row of a format that is a sequence of bytes. It can be read from files and from streams."""

        def open_file(path: Path, _: ReadOptions) -> Recording:
            """Open a file, and decode its first bytes to find the size of the sensor."""
            trial = decoder()
            try:
                trial.feed(beginning(path, HEAD))
            except Damaged as damaged:
                raise damaged.of(path) from None
            return ByteRecording(path, name, trial.sensor, decoder)

        return cls(name, title, suffixes, decoder, open_file, first)


_ROWS = (
    Format.of_bytes("aedat2", "AEDAT 2.0, as jAER and CIFAR10-DVS", (".aedat",), Aedat2, aedat2.FIRST),
    Format.of_bytes("aedat3", "AEDAT 3.1, as DVS128 Gesture", (".aedat",), Aedat3, aedat3.FIRST),
    Format(
        name="aedat4",
        title="AEDAT 4, as DV and dv-processing write it",
        suffixes=(".aedat4",),
        decoder=None,
        open=aedat4.open_recording,
        first=(aedat4_packets.FIRST,),
        package=aedat4.PACKAGE,
    ),
    Format.of_bytes("atis", "ATIS .bin, as N-Caltech101 and N-MNIST", (".bin",), Atis),
    Format.of_bytes("dat", "Prophesee .dat, as N-Cars", (".dat",), Dat),
    Format.of_bytes("evt2", "Prophesee .raw, EVT2", (".raw",), Evt2),
    Format.of_bytes("evt21", "Prophesee .raw, EVT 2.1", (".raw",), Evt21),
    Format.of_bytes("evt3", "Prophesee .raw, EVT3", (".raw",), Evt3),
    Format(
        name="hdf5",
        title="HDF5 of events, as DSEC's and Metavision's",
        suffixes=(".h5", ".hdf5"),
        decoder=None,
        open=hdf5_process.open_recording,
        first=Kind.HDF5.value,
        package=hdf5.PACKAGE,
        codecs=hdf5.CODECS,
        takes=("time_unit", "columns", "topic"),
    ),
    Format(
        name="npy",
        title="an .npy of events, as tonic's",
        suffixes=(".npy",),
        decoder=None,
        open=numpy_files.open_npy,
        first=Kind.NPY.value,
        takes=("time_unit", "columns"),
    ),
    Format(
        name="npz",
        title="an .npz of t, x, y, p, as SpikingJelly's, or of events",
        suffixes=(".npz",),
        decoder=None,
        open=numpy_files.open_npz,
        first=Kind.ZIP.value,
        takes=("time_unit", "columns"),
    ),
    Format(
        name="rosbag2",
        title="a bag of ROS 2 with EventPacket messages",
        suffixes=(".mcap", ".db3"),
        decoder=None,
        open=rosbag2.open_recording,
        first=(rosbag2.FIRST_MCAP, rosbag2.FIRST_DB3),
        package=rosbag2.PACKAGE,
        takes=("topic",),
    ),
)
FORMATS = {row.name: row for row in _ROWS}
"""The formats of tcja-deploy by name."""
_SUFFIXES = frozenset(suffix for row in _ROWS for suffix in row.suffixes)
OURS = frozenset((*FORMATS, *(suffix[1:] for suffix in _SUFFIXES)))
"""The names that no extension can add."""

_FIRST = {first: row.name for row in _ROWS for first in row.first}
_LINE = b"% "
"""The bytes at the start of each header line of Prophesee's formats (dat, evt2, evt21, evt3)."""
_EVT = {"2": "evt2", "2.1": "evt21", "3": "evt3"}
"""The formats by the version of EVT that a header names."""


def names() -> list[str]:
    """Returns the names of all formats, those of extensions last."""
    return [*FORMATS, *(each.name for each in extensions.installed(KIND))]


def suffixes() -> frozenset[str]:
    """Returns the suffixes of the files of all formats, in lower case with the dot."""
    return _SUFFIXES | {f".{each.name}" for each in extensions.installed(KIND)}


def extension_of(name: str) -> extensions.Extension | None:
    """Returns the extension that adds a format; None if there is none of that name.

    Raises:
        BadInput: several packages add the format, or tcja-deploy has a format of that name or suffix itself.
    """
    return None if name in FORMATS else extensions.find(KIND, name, OURS)


def named(name: str) -> Format | None:
    """Returns a format by its name; None if there is no format of that name. A format of an extension is imported.

    Raises:
        BadInput: the format of an extension has a name that another format has.
        Unavailable: the extension that adds the format does not load.
    """
    extension = extension_of(name)
    if extension is None:
        return FORMATS.get(name)
    row: Format = extension.load(Format)
    if row.name != name or row.suffixes != (f".{name}",):
        others = ", ".join(row.suffixes)
        raise Unavailable(f"{extension} is the format {row.name} of files {others}; it must be {name} of files .{name}")
    return row


def format_of(head: bytes) -> str | None:
    """Returns the name of the format of a file or stream from its first bytes; None if they fit no known format.

    Args:
        head: the first bytes of a file or stream, at least a whole header.

    Raises:
        Damaged: the header has no end.
    """
    for first, name in _FIRST.items():
        if head.startswith(first):
            return name
    return _prophesee_format(head) if head.startswith(_LINE) else None


def needs_more_bytes(head: bytes) -> bool:
    """Whether more bytes of a stream are needed to find its format. `format_of` may find it then, or return None."""
    if head.startswith(_LINE) and len(head) < LONGEST:
        header = Header(_LINE)
        header.feed(head)
        return not header.over and word_version(header) is None
    return any(len(head) < len(first) and first.startswith(head) for first in (*_FIRST, _LINE))


def _prophesee_format(head: bytes) -> str | None:
    """Returns "dat", "evt2", "evt21" or "evt3", from the first bytes of a file or stream with Prophesee's header lines.

    The result is None if the bytes have neither a version of EVT nor the end of the header.
    """
    header = Header(_LINE)
    header.feed(head)
    version = word_version(header)
    if version is None:
        return "dat" if header.over else None
    return _EVT.get(version, "evt2")  # whose decoder refuses other versions


def is_recording_folder(path: Path) -> bool:
    """Whether a path is a folder that is one recording: a bag of ROS 2."""
    return rosbag2.is_bag(path)


def format_by_suffix(path: Path) -> str | None:
    """Returns the name of the format that a file has by its suffix: ATIS or one of an extension; None if it is neither.

    It is used for content from which `format_of` does not find the format. Of our formats, only ATIS has no fixed first
    bytes.
    """
    suffix, added = path.suffix.lower(), (each.name for each in extensions.installed(KIND))
    return "atis" if suffix == ".bin" else next((name for name in added if f".{name}" == suffix), None)


def recording(
    path: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002
    options: ReadOptions | None = None,
) -> Recording:
    """Open a recording of events.

    This function reads only the beginning of the file. If the file has no events, or if it is damaged after its
    beginning, this is found when its chunks are read.

    Args:
        path: the file, or the folder of a bag of ROS 2.
        format: the name of the file's format, one of `names`; None finds the format from the content of the file, or
            else from its suffix.
        options: what the user says about the file; None for nothing.

    Raises:
        BadInput: there is no such file, there is no format of that name, the format cannot be found, or the file does
            not need one of the options.
        Damaged: the header of the file is damaged.
        Unavailable: the package that reads the format is not installed, or is an extension that does not load.
    """
    path, format = argument("path", path, Path), argument("format", format, str | None)  # noqa: A001
    options = argument("options", options, ReadOptions | None) or ReadOptions()
    row = named(_found_format(path) if format is None else format)
    if row is None:
        raise BadInput(f"there is no format {format!r}; choose one of {', '.join(names())}")
    for name in options.given:
        if name not in row.takes:
            raise BadInput(f"{path} is {row.title}, which needs no `{name}`; leave it out")
    return row.open(path, options)


def _found_format(path: Path) -> str:
    """Returns the name of the format of a file, from its content or its suffix.

    Raises:
        BadInput: there is no such file, or the format cannot be found.
        Damaged: the header of the file is damaged.
    """
    if rosbag2.is_bag(path):
        return "rosbag2"
    head = beginning(path, HEAD)
    try:
        found = format_of(head) or format_by_suffix(path)
    except Damaged as damaged:
        raise damaged.of(path) from None
    if found in (None, "npz"):  # many kinds of files are zip archives, as an .npz is
        unread_because = unread.reason(path, head)
        if unread_because:
            raise BadInput(unread_because)
    if found is None:
        known = ", ".join(f"{row.title} ({row.name})" for row in FORMATS.values())
        raise BadInput(
            f"{path}: its format is not known from its content or its suffix {path.suffix!r}; the formats of "
            f"events are {known}"
        )
    return found
