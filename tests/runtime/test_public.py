"""The public interface of the device half is what `__all__` says."""

import tcja_runtime
from tcja_runtime import events


def test_the_names():
    assert tcja_runtime.__all__ == [
        *("BadInput", "Bundle", "Damaged", "NeuronSpec", "ParityNotMet", "Streams", "TcjaError", "Unavailable")
    ]
    assert all(hasattr(tcja_runtime, name) for name in tcja_runtime.__all__)


def test_the_names_of_events():
    assert {"FORMATS", "recording"} <= set(events.__all__)
    assert all(hasattr(events, name) for name in events.__all__)
