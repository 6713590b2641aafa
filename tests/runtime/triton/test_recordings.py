"""Raw events in a request become one window, as a file of them does; more windows are refused before they are made."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest

from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.integration import integrate
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events, recording
from tcja_runtime.triton.recordings import FORMATS_OF_BYTES, window

from ...streams import atis, drawn
from ..events import writers

CONTRACT = InputContract.frames(5, 64, 64)
IN_TIME = dataclasses.replace(CONTRACT, split="duration-grid", duration=1000)


@pytest.mark.parametrize("form", FORMATS_OF_BYTES)
def test_it_is_the_window_of_a_file_with_these_bytes(form, tmp_path):
    made = writers.FORMATS[form]
    contract = InputContract.frames(5, made.rows, made.columns)
    content = made.write(writers.some(made, 60))
    file = tmp_path / f"a{made.suffix}"
    file.write_bytes(content)
    found = window(content, form, contract)
    assert found.shape == (1, *contract.shape)
    assert np.array_equal(found, integrate(recording(file, form), contract).windows)


def test_more_than_a_window_is_refused_before_memory_is_taken():
    first, last = drawn(200, seconds=0.005), Events(*(np.array([n]) for n in (8_000_000, 1, 1)), np.array([True]))
    assert window(atis(first), "atis", IN_TIME).shape == (1, 5, 2, 64, 64)
    content = atis(Events.joined([first, last]))
    tracemalloc.start()
    with pytest.raises(
        BadInput, match=r"^events has 1,600 windows by the rule .* give the events of 1 window at most$"
    ):
        window(content, "atis", IN_TIME)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22
