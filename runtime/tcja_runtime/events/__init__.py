"""Event streams: what cameras send and files hold, as arrays of events.

    recordings of any length    recording(path).chunks()             a million events at a time, from the start each time
    bytes as they come          FORMATS["atis"].decoder().feed(...)  events as soon as their bytes are whole

Every format that is bytes in a row is one `Decoder`, for files and for what is still being sent.
"""

from __future__ import annotations

from tcja_runtime.events.event import Damaged, Events

__all__ = ["Damaged", "Events"]
