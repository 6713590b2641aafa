"""A session that takes only what the input contract of the network allows, and that threads may share.

A network that takes intensities from 0 to 1 answers images of 0 to 255 too, and its answers are wrong. So the type and
the range of each batch are checked. A network may have been trained on other values than its contract says (normalised
images, say). Its golden windows have such values then, and batches that have them are taken.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.backends.proven import Proven
from tcja_runtime.backends.session import Session
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.counting import an
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.errors import BadInput

_RANGES = {
    "unit": (1.0, "intensities from 0 to 1; divide those of 0 to 255 by 255"),
    "counts": (np.inf, "counts of events, which are not negative"),
    "real": (np.inf, "floats, scaled as in training"),
    "spikes": (1.0, "spikes, which are 0 or 1"),
}
"""For each scaling, the largest value and the words for what the network takes.

The smallest value is 0; real numbers have none."""
_TAKES = {
    "counts": "counts of events, not negative",
    "unit": "intensities from 0 to 1, or integers from 0 to 255, which are divided by 255",
    "real": "real numbers, scaled as in training",
    "spikes": "spikes, 0 or 1",
}
"""For each scaling, the words for what Python may give to the network."""


@dataclasses.dataclass(frozen=True)
class InputRange:
    """The values that the network of a bundle takes.

    Attributes:
        proven: what the network was proven on.
    """

    proven: Proven

    def check(self, values: Floats, name: str) -> None:
        """Check the values of a batch.

        Args:
            values: the values, an array of any shape.
            name: the words for the batch and its verb in messages, such as "'frames' has".

        Raises:
            BadInput: a value is NaN or infinite or too large for float32; or it is outside the range of the contract,
                and no golden window has values outside it.
        """
        contract = self.proven.bundle.manifest.input
        if in_range(values, contract):
            return
        check_finite(values, name)
        if not self.others:
            least, most = np.min(values), np.max(values)
            raise BadInput(
                f"{name} values from {least:g} to {most:g}; the network takes {_RANGES[contract.scaling][1]}"
            )

    @property
    def others(self) -> bool:
        """Whether the golden windows have values outside the range of the contract."""
        known = self.proven.values
        return not in_range(np.array([known.least, known.most], np.float32), self.proven.bundle.manifest.input)

    def __str__(self) -> str:
        if not self.others:
            return _TAKES[self.proven.bundle.manifest.input.scaling]
        known = self.proven.values
        return f"the network was proven on values from {known.least:g} to {known.most:g}"


@dataclasses.dataclass
class ContractSession:
    """A session of a bundle's whole network. It refuses batches that the input contract does not allow.

    An engine has one set of buffers. So threads that share a session run it one after the other.

    Attributes:
        inner: the session that runs the network.
        bundle: the bundle.
    """

    inner: Session
    bundle: Bundle

    def __post_init__(self) -> None:
        self._contract, self._range = self.bundle.manifest.input, InputRange(Proven(self.bundle))
        self._name, self._lock, self._closed = f"'{self._contract.name}' has", threading.Lock(), False

    @property
    def inputs(self) -> Sequence[str]:
        """The names of the inputs."""
        return self.inner.inputs

    @property
    def uses_graph(self) -> bool | None:
        """Whether the last run was the launch of a CUDA graph; None for a backend without graphs."""
        return getattr(self.inner, "uses_graph", None)

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Run the network once. Takes the inputs by name, and returns the outputs by name.

        Raises:
            BadInput: an input is missing or unknown, or has another type, shape or range than the contract says; or
                the session is closed.
        """
        contract = self._contract
        values = feeds.get(contract.name)
        if values is None or len(feeds) != 1:
            raise BadInput(
                f"the network takes '{contract.name}' [{contract.axes}], not {', '.join(feeds) or 'nothing'}"
            )
        check_form(values, contract)
        self._range.check(values, self._name)
        with self._lock:
            if self._closed:
                raise BadInput(closed(self.bundle))
            return self.inner.run(feeds)

    def close(self) -> None:
        """Free the memory, when no thread runs the session. It cannot be run after that. It can be closed twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.inner.close()


def closed(bundle: Bundle) -> str:
    """Returns the message for a bundle's network that was closed."""
    return f"the network of {bundle.path} is closed; load it again"


def check_form(values: Any, contract: InputContract) -> None:
    """Check the type and the shape of a batch.

    Raises:
        BadInput: the batch is not an array of floating-point numbers, or has another shape than the contract says.
    """
    is_array = isinstance(values, np.ndarray)
    fits = is_array and values.dtype.kind == "f" and values.ndim > 0 and values.shape[1:] == contract.shape
    if fits and len(values):
        return
    wanted = f"float32 [N, {', '.join(map(str, contract.shape))}]"
    if not is_array:
        raise BadInput(f"'{contract.name}' is {an(type(values).__name__)}; it must be an array of numpy, {wanted}")
    if not fits:
        hint = f": {_RANGES[contract.scaling][1]}" if values.dtype.kind != "f" else ""
        raise BadInput(f"'{contract.name}' is {values.dtype} {list(values.shape)}; it must be {wanted}{hint}")
    raise BadInput(f"'{contract.name}' has no windows; give at least one")


def check_finite(values: npt.NDArray[Any], name: str) -> None:
    """Check that float32 holds all values of an array of numbers.

    Args:
        values: the numbers.
        name: the words for the array and its verb in messages, such as "'frames' has".

    Raises:
        BadInput: a value is NaN, infinite, or too large for float32.
    """
    if np.isnan(values).any():
        raise BadInput(f"{name} values that are NaN; give finite numbers")
    if np.isinf(values).any():
        raise BadInput(f"{name} values that are infinite; give finite numbers")
    farthest = max(values.max(), -values.min(), key=float)
    if farthest > np.finfo(np.float32).max:
        raise BadInput(f"{name} values of up to {farthest:.3g}, which are too large for float32")


def finite(values: Floats) -> bool:
    """Whether all values of an array float32 with at least one value are finite."""
    # One pass is enough if no value is negative (`in_range`).
    return bool(np.maximum.reduce(values.view(np.uint32), axis=None) < _INFINITY) or bool(np.isfinite(values).all())


_INFINITY = 0x7F800000
"""The bits of the float32 that is infinite."""
_LARGEST_BITS = {
    name: int(np.minimum(np.float32(most), np.finfo(np.float32).max).view(np.uint32))
    for name, (most, _) in _RANGES.items()
}
"""For each scaling, the bits of the largest value."""


def in_range(values: Floats, contract: InputContract) -> bool:
    """Whether all values are in the range of the contract. NaN is in no range.

    As unsigned integers, the bits of floats from 0 on have the order of the floats, and the bits of negative floats,
    NaN and infinity are larger. One pass is enough; only -0 needs a second.
    """
    if (
        values.dtype == np.float32
        and np.maximum.reduce(values.view(np.uint32), axis=None) <= (_LARGEST_BITS[contract.scaling])
    ):
        return True
    if contract.scaling == "real":
        return bool(np.isfinite(values).all())
    return bool(values.min() >= 0 and values.max() <= min(_RANGES[contract.scaling][0], np.finfo(np.float32).max))
