"""Events as a decoder gives them, in a form that is easily compared."""

from __future__ import annotations

import itertools

from tcja_runtime.events import FORMATS, Events

from . import writers


def listed(events: Events) -> list[writers.Event]:
    return list(
        zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.astype(int).tolist(), strict=True)
    )


def fed(name: str, data: bytes, cuts: list[int]) -> Events:
    decoder = FORMATS[name].decoder()
    edges = [0, *sorted(cuts), len(data)]
    runs = [decoder.feed(data[begin:end]) for begin, end in itertools.pairwise(edges)]
    decoder.finish()
    return Events.joined(runs)
