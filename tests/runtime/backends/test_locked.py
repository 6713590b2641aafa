"""A session that threads share: no two of them are in it at once, and what they get is their own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tcja_runtime.backends.locked import LockedSession
from tcja_runtime.backends.select import opened
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput

from ... import networks


@pytest.fixture
def name() -> str:
    return "fashion_mnist"


class OneBuffer:
    """A session that has one buffer for all runs, as an engine has. ONNX Runtime computes what is in it."""

    inputs = ("images",)

    def __init__(self, inner) -> None:
        self._inner, self._buffer, self._meet = inner, None, threading.Event()
        self.closed = 0

    def run(self, feeds):
        self._buffer = feeds["images"]
        self._meet.wait(0.002)  # in which another thread would put its own windows into the buffer
        return self._inner.run({"images": self._buffer})

    def close(self) -> None:
        self.closed += 1


def test_each_thread_gets_its_own(bundle):
    images = networks.SMALL["fashion_mnist"].inputs(24, seed=3).numpy()
    session = opened(Bundle.open(bundle), "onnxruntime").session
    expected = session.run({"images": images})["rates"]
    locked = LockedSession(OneBuffer(session), "the network")
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda at: locked.run({"images": images[at : at + 1]})["rates"], range(24)))
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-6)
    assert len(np.unique(expected, axis=0)) > 12


def test_what_is_closed_says_so():
    locked = LockedSession(OneBuffer(None), "the network of x.bundle")
    locked.close()
    locked.close()
    assert locked.inner.closed == 1
    assert locked.inputs == ("images",)
    with pytest.raises(BadInput, match=r"^the network of x\.bundle is closed; load it again$"):
        locked.run({"images": np.zeros(1)})
