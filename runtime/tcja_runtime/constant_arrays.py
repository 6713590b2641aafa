"""A constant of a neuron: one number for a whole layer, or an array of numbers that differ by channel or by neuron."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput

if TYPE_CHECKING:
    from typing_extensions import Self

Array: TypeAlias = Any
"""A numpy array or a torch tensor."""

MOST_VALUES = 2**16
"""The largest number of values in a constant of a layer: the manifest of a bundle holds all of them as text."""


@dataclasses.dataclass(frozen=True)
class ConstantArray:
    """A constant whose values differ by channel or by neuron. `constant` makes it.

    Two arrays are equal if their shapes and their values are. As JSON, an array is an object of its two fields.

    Attributes:
        shape: the shape of the array. It is broadcast against the shape of a layer without time and batch, as in numpy:
            (C, 1, 1) has a value for each channel of a layer [C, H, W].
        values: the values in the order of numpy, last axis first.

    Raises:
        ValueError: the number of values does not fit the shape.
    """

    shape: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(size > 0 for size in self.shape) or math.prod(self.shape) != len(self.values):
            raise ValueError(f"a constant of a neuron has {len(self.values)} values for the shape {self.shape}")

    @functools.cached_property
    def array(self) -> npt.NDArray[np.float64]:
        """The values in their shape, float64; it cannot be written to."""
        made = np.array(self.values, np.float64).reshape(self.shape)
        made.flags.writeable = False
        return made

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return float(self.array.min()), float(self.array.max())

    def __str__(self) -> str:
        """The range and the number of values, for messages: "0.8 to 1.2 (64 channels)"."""
        low, high = self.range
        return f"{low:g} to {high:g} ({self._counted})"

    def __format__(self, format_spec: str) -> str:
        """The same as a part of a formula, with its numbers in a format: "(0.8 to 1.2, 64 channels)"."""
        low, high = self.range
        return f"({low:{format_spec}} to {high:{format_spec}}, {self._counted})" if format_spec else str(self)

    @property
    def _counted(self) -> str:
        by_channel = len(self.shape) > 1 and math.prod(self.shape[1:]) == 1
        return f"{len(self.values):,} {'channels' if by_channel else 'values'}"


Constant: TypeAlias = float | ConstantArray
"""A constant of a layer's neurons: a number if all neurons share it."""


def constant(name: str, value: Any) -> Constant:
    """Returns a constant from a number, or from an array or a tensor of any library.

    An array of equal values becomes a number. Axes of size 1 at the start of a shape are left out. All values are kept
    exactly, as float64.

    Args:
        name: the name of the constant, for messages.
        value: the value.

    Raises:
        BadInput: the value is neither a number nor an array of numbers.
    """
    if type(value) is float or isinstance(value, ConstantArray):
        return value
    held = value.detach().double().cpu().numpy() if hasattr(value, "detach") else value  # a tensor of torch
    try:
        if isinstance(held, list | tuple | str | bytes | bool) or held is None:
            raise TypeError  # numpy would take some of them
        array = np.asarray(held, np.float64)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        found = f"'{value}'" if isinstance(value, str) else f"a value of type {type(value).__name__}"
        raise BadInput(f"`{name}` of a neuron is {found}, and must be a number or an array of numbers") from error
    if array.size == 0:
        raise BadInput(f"`{name}` of a neuron is an array without values")
    if np.array_equal(
        array, np.broadcast_to(array.flat[0], array.shape), equal_nan=True
    ):  # a NaN is refused as a number
        return float(array.flat[0])
    first = next(axis for axis, size in enumerate(array.shape) if size > 1)
    return ConstantArray(array.shape[first:], tuple(array.reshape(-1).tolist()))


def array_of(value: Constant) -> npt.NDArray[np.float64]:
    """Returns the values of a constant, float64 in its shape; of a number, without axes."""
    return value.array if isinstance(value, ConstantArray) else np.array(value, np.float64)


def check_fits(name: str, value: Constant, shape: tuple[int, ...]) -> None:
    """Check that a constant fits a layer.

    Args:
        name: the name of the constant, for messages.
        value: the constant.
        shape: the shape of the layer, without time and batch.

    Raises:
        ValueError: the array does not broadcast to the shape, or it has more than `MOST_VALUES` values.
    """
    if not isinstance(value, ConstantArray):
        return
    trailing = shape[len(shape) - len(value.shape) :]
    broadcasts = len(value.shape) <= len(shape) and all(
        own in (1, size) for own, size in zip(value.shape, trailing, strict=True)
    )
    if not broadcasts:
        raise ValueError(
            f"the neuron's {name} has the shape {list(value.shape)}, which does not broadcast to the layer's "
            f"{list(shape)}"
        )
    if len(value.values) > MOST_VALUES:
        raise ValueError(
            f"the neuron's {name} has {len(value.values):,} values, and a bundle holds up to {MOST_VALUES:,} of a "
            "constant; train one value a channel"
        )


class Constants:
    """The base of a frozen dataclass, some of whose fields are constants, such as `tcja_runtime.neuron.NeuronSpec`.

    Attributes:
        CONSTANTS: the names of these fields.
    """

    CONSTANTS: ClassVar[tuple[str, ...]]

    @functools.cached_property
    def arrays(self) -> dict[str, ConstantArray]:
        """The constants that are arrays, by name."""
        constants = {name: getattr(self, name) for name in self.CONSTANTS}
        return {name: value for name, value in constants.items() if isinstance(value, ConstantArray)}

    def check_fits(self, shape: tuple[int, ...]) -> None:
        """Check that all constants fit a layer of a shape without time and batch.

        Raises:
            ValueError: the shape has no neurons, or a constant does not broadcast to it or has too many values.
        """
        if 0 in shape:
            raise ValueError(f"its layer has the shape {list(shape)}, which has no neurons")
        for name, value in self.arrays.items():
            check_fits(name, value, shape)

    @functools.cached_property
    def largest(self) -> Self:
        """The record whose constants are numbers: of each array, the value with the largest magnitude."""
        values = {name: value.array.reshape(-1) for name, value in self.arrays.items()}
        return self._with(**{name: each[np.abs(each).argmax()] for name, each in values.items()})

    def chosen(self, shape: tuple[int, ...], elements: npt.NDArray[np.integer[Any]]) -> Self:
        """The constants of some neurons of a layer: each is a number, or an array [K].

        Args:
            shape: the shape of the layer, without time and batch.
            elements: the indices of K neurons in the flattened layer.
        """
        of_all = {name: np.broadcast_to(value.array, shape).reshape(-1) for name, value in self.arrays.items()}
        if not of_all:
            return self
        # Without neurons, any number will do.
        found = {
            name: constant(name, values[elements] if len(elements) else values[0]) for name, values in of_all.items()
        }
        return self._with(**found)

    def constant(self, name: str, like: Array) -> Array:
        """A constant, ready to be computed with: a number, or an array in the library and the dtype of `like`."""
        value = getattr(self, name)
        if not isinstance(value, ConstantArray):
            return value
        # A tensor of torch is made anew each time: under a tracing mode it is none that may be kept.
        return like.new_tensor(value.array) if hasattr(like, "new_tensor") else value.array.astype(like.dtype)

    def start(self, like: Array) -> Array:
        """The membranes before the first step, in the shape and dtype of the currents of a step."""
        nothing = like.new_zeros(like.shape) if hasattr(like, "new_zeros") else np.zeros_like(like)
        return nothing + self.constant("v_initial", like)

    def all_of(self, name: str, holds: Callable[[Any], Any]) -> bool:
        """Whether something holds for all values of a constant."""
        return bool(np.all(holds(array_of(getattr(self, name)))))

    def _with(self, **constants: Constant) -> Self:
        return cast("Self", dataclasses.replace(cast(Any, self), **constants))
