"""Event streams: what cameras send and files hold, as arrays of events.

    recordings of any length   recording(path).chunks()             a million events at a time at most, every time anew
    bytes as they come         FORMATS["atis"].decoder().feed(...)  events as soon as their bytes are whole

Every format that is bytes in a row is one `Decoder`, for files and for what is still being sent.
"""

from __future__ import annotations

from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import CHUNK, Decoder, Events, InMemory, Recording
from tcja_runtime.events.labels import Segment, segments
from tcja_runtime.events.registry import FORMATS, Format, recording, told

__all__ = [
    "CHUNK",
    "FORMATS",
    "Damaged",
    "Decoder",
    "Events",
    "Format",
    "InMemory",
    "Recording",
    "Segment",
    "recording",
    "segments",
    "told",
]
