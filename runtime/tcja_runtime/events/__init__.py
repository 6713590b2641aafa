"""Events of event cameras, read from files and from streams of bytes.

    recording(path).chunks()               yields the events of a file of any length, at most a million at a time
    FORMATS["atis"].decoder().feed(data)   returns the events in a piece of a stream of bytes

A format that is a sequence of bytes has one `Decoder`, which reads files and streams. `formats/` has one module for
each format.
"""

from __future__ import annotations

from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import CHUNK, Decoder, Events, InMemory, ReadOptions, Recording, Source
from tcja_runtime.events.formats.registry import (
    FORMATS,
    Format,
    extension_of,
    format_of,
    is_recording_folder,
    recording,
    suffixes,
)
from tcja_runtime.events.labels import Segment, segments

__all__ = [
    "CHUNK",
    "FORMATS",
    "Damaged",
    "Decoder",
    "Events",
    "Format",
    "InMemory",
    "ReadOptions",
    "Recording",
    "Segment",
    "Source",
    "extension_of",
    "format_of",
    "is_recording_folder",
    "recording",
    "segments",
    "suffixes",
]
