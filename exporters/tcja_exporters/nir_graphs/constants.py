"""The constants of a node of a NIR graph, and those that a training code computed them from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_exporters.nir_graphs.graph import Node

Array = npt.NDArray[Any]
_CLOSE = 1e-5  # relative; files store most constants in float32
_NEAR = 8  # units in the last place


class Constants:
    """The constants of a node.

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        self.node = node

    def __getitem__(self, name: str) -> Array:
        """The constant with this name, in the type of the file; of no axes if all its values are equal."""
        values = np.asarray(getattr(self.node.values, name))
        return values.reshape(-1)[0].reshape(()) if values.size and (values == values.flat[0]).all() else values

    def positive(self, name: str) -> Array:
        """The constant with this name.

        Raises:
            ValueError: a value is not positive.
        """
        values = self[name]
        if not (values > 0).all():
            raise ValueError(f"its {name} is {_shown(values)}, and must be positive")
        return values

    def expect(self, name: str, value: Array | float, why: str) -> None:
        """Check that a constant has the value that a training code writes.

        Args:
            name: the name of the constant.
            value: the value.
            why: a phrase that says which code writes which value.

        Raises:
            ValueError: it has another value.
        """
        found = self[name]
        if not np.allclose(found, value, rtol=_CLOSE, atol=0):
            raise ValueError(f"its {name} is {_shown(found)}, and {why}")


def restored(stored: Array, guess: Callable[[Array], Array], written: Callable[[Array], Array]) -> Array:
    """Return the constants that a training code had, given those that it wrote.

    A code writes f(c) for a constant c, and rounds. So the exact inverse of f gives c only to the last bits, and a
    membrane that was exactly at its threshold would not be there any more. Near the inverse are the numbers that f maps
    to what is stored. Of these, the one with the fewest digits is taken: 0.9 before 0.89999998.

    Args:
        stored: what the file stores.
        guess: the inverse of f, which may be inexact.
        written: f, computed as the training code does, in the type of its argument.

    Returns:
        The constants, float64, in the shape of `stored`; `guess(stored)` where no number is found.
    """
    written_values = stored.reshape(-1)
    near = np.array(guess(written_values.astype(np.float64)))
    found, missing = near.copy(), np.ones(near.shape, np.bool_)
    with np.errstate(all="ignore"):
        for candidates in _candidates(near, stored.dtype):
            fits = missing & (written(candidates) == written_values)
            found[fits], missing = candidates[fits], missing & ~fits
            if not missing.any():
                break
    return found.reshape(stored.shape)


def _candidates(near: Array, dtype: np.dtype[Any]) -> Iterator[Array]:
    """Yield numbers near others, in this type: first those of few digits."""
    for digits in range(1, 18):
        yield np.array([float(f"{value:.{digits}g}") for value in near], dtype)
    yield near.astype(np.float32).astype(dtype)  # a constant in float32, written by a NumPy that computes in float64
    for towards in (-np.inf, np.inf):
        values = near.astype(dtype)
        for _ in range(_NEAR):
            values = np.nextafter(values, np.array(towards, dtype))
            yield values


def described(node: Node) -> str:
    """Return the values of a node for people, "weight 5x6, tau 0.0004": the shapes of arrays, or their one value."""
    fields = {name: value for name, value in node.values.to_dict().items() if value is not None}
    return ", ".join(f"{name} {_told(value)}" for name, value in fields.items() if name not in _NOT_TOLD)


_NOT_TOLD = ("type", "metadata", "input_shape", "input_type")
_FEW = 4


def _told(value: Any) -> str:
    values = np.asarray(value)
    if values.dtype.kind not in "biuf":
        return str(value)
    if values.ndim <= 1 and values.dtype.kind in "iu" and values.size <= _FEW:
        return "x".join(f"{size}" for size in values.reshape(-1)) or "[]"
    if values.size and (values == values.flat[0]).all():
        return f"{values.flat[0]:g}"
    return "x".join(map(str, values.shape))


def _shown(values: Array) -> str:
    """Return a constant for messages."""
    return f"{values:g}" if values.ndim == 0 else f"{values.min():g} to {values.max():g}"
