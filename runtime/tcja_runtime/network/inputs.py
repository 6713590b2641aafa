"""What users give to a network from Python, as the network takes it: float32 [N, ...].

They give one window or a batch of windows, as an array of numpy or any object with `__dlpack__`, such as a tensor on
the CPU. Values are scaled as the contract says. The session checks their range (`tcja_runtime.backends.checked`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.backends.checked import check_finite
from tcja_runtime.counting import an
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.errors import BadInput, first_line


def windows(values: object, contract: InputContract) -> Floats:
    """Returns windows as the network takes them, float32 [N, ...]. An array that is so already is not copied.

    Args:
        values: one window, or a batch of windows: numbers of any type.
        contract: the input contract of the network.

    Raises:
        BadInput: the values are not an array of numbers, or have another shape than the network takes; or intensities
            are integers outside 0 to 255; or values are NaN, infinite or too large for float32.
    """
    name, shape = contract.name, contract.shape
    if isinstance(values, np.ndarray) and values.dtype == np.float32 and values.shape[1:] == shape and len(values):
        return values
    array = _array(values, name)
    given = array[None] if array.ndim == len(shape) else array
    if given.shape[1:] != shape or given.ndim != len(shape) + 1 or not len(given):
        sizes = ", ".join(map(str, shape))
        raise BadInput(
            f"'{name}' is {array.dtype} {list(array.shape)}; the network takes [{sizes}] for one window, or "
            f"[N, {sizes}] for several{contract.hint(array.shape)}"
        )
    if contract.divides(array.dtype) and array.dtype != np.uint8 and not 0 <= array.min() <= array.max() <= 255:
        raise BadInput(
            f"'{name}' is {array.dtype} with values from {array.min()} to {array.max()}; integers are taken as "
            "intensities from 0 to 255: give floats from 0 to 1"
        )
    taken = contract.scaled(given)
    if not np.isfinite(taken).all():
        check_finite(given, f"'{name}' has")
    return taken


def frame(values: object, contract: InputContract) -> Floats:
    """Returns one frame of a window as a stepwise network takes it, float32 [1, P, H, W]; or one step of features.

    Args:
        values: the frame [P, H, W], or the features of the step, [F] or [C, L]: numbers of any type.
        contract: the input contract of the network.

    Raises:
        BadInput: the values are not an array of numbers, or have another shape than a frame; or values are NaN,
            infinite or too large for float32.
    """
    name = contract.step_name
    array, wanted = _array(values, name), contract.shape[1:]
    if array.shape != wanted:
        raise BadInput(f"'{name}' is {array.dtype} {list(array.shape)}; the network takes {list(wanted)}, one {name}")
    taken = contract.scaled(array[None])
    if not np.isfinite(taken).all():
        check_finite(array, f"'{name}' has")
    return taken


def _array(values: object, name: str) -> npt.NDArray[Any]:
    """Returns the array in an object, without a copy.

    Raises:
        BadInput: the object is no array of numpy and no tensor on the CPU, or does not have numbers.
    """
    kind = type(values).__name__
    if isinstance(values, np.ndarray):
        array = values
    elif hasattr(values, "__dlpack__"):
        try:
            array = np.from_dlpack(values)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise BadInput(
                f"'{name}' is {an(kind)} that numpy cannot read ({first_line(error)}); give an array of numpy, or a "
                "tensor on the CPU, detached, of a type that numpy has"
            ) from error
    elif isinstance(values, (str, bytes)) or hasattr(values, "__fspath__"):
        raise BadInput(f"'{name}' is {an(kind)}; give an array or a tensor, or call `classify` with the file")
    else:
        raise BadInput(f"'{name}' is {an(kind)}; give an array of numpy or a tensor")
    if array.dtype.kind not in "biuf":
        raise BadInput(f"'{name}' is {array.dtype}; give numbers")
    return array
