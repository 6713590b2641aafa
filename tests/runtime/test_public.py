"""The public interface of the device half is what `__all__` says."""

import pytest

import tcja_runtime
from tcja_runtime import BadInput, Bundle, Streams, events


def test_the_names():
    assert tcja_runtime.__all__ == [
        *("BadInput", "Bundle", "CameraView", "Damaged", "DataOptions", "Network", "NeuronSpec", "ParityNotMet"),
        *("Prediction", "Predictions", "StreamOptions", "Streams", "TcjaError", "Trust", "Unavailable", "load"),
    ]
    assert all(hasattr(tcja_runtime, name) for name in tcja_runtime.__all__)


def test_the_names_of_events():
    assert {"FORMATS", "recording"} <= set(events.__all__)
    assert all(hasattr(events, name) for name in events.__all__)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Bundle.open(3), "`path` is 3, and must be a path"),
        (lambda: Bundle.open("nowhere", 1), "`trust` is 1, and must be a Trust"),
        (lambda: Bundle.open("nowhere", to_run=1), "`to_run` is 1, and must be true or false"),
        (lambda: Streams.open("a.bundle"), '`bundle` is "a.bundle", and must be a Bundle'),
        (lambda: Streams.open(None), "`bundle` is None, and must be a Bundle"),
        (lambda: events.recording(3), "`path` is 3, and must be a path"),
        (lambda: events.recording("a.bin", 3), "`format` is 3, and must be text"),
        (lambda: events.recording("a.bin", options=3), "`options` is 3, and must be a ReadOptions"),
        (lambda: events.ReadOptions(columns=3), "`columns` is 3, and must be text"),
        (lambda: events.ReadOptions(topic=3), "`topic` is 3, and must be text"),
    ],
)
def test_arguments_of_another_type_are_refused_by_their_names(call, said):
    with pytest.raises(BadInput) as error:
        call()
    assert str(error.value).startswith(said)
