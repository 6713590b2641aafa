"""Computing the scores of classes from the output of a network."""

from __future__ import annotations

import numpy as np

from tcja_runtime.backends.checked import finite
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.trace import Values


def scores(output: Values, bundle: Bundle, title: str) -> Floats:
    """Return the scores of the classes of each window, float32 [N, classes].

    Args:
        output: the network's output, [N, classes]; or its output at each time step, [N, T, classes], whose mean over
            time is taken.
        bundle: the network's bundle, whose path is in the error message.
        title: the title of the backend that ran the network, for the error message.

    Raises:
        BadInput: a score is NaN or infinite.
    """
    found: Values = output if output.ndim == 2 else output.mean(1)
    found = found if found.dtype == np.float32 else found.astype(np.float32)
    if not finite(found):
        raise BadInput(
            f"{title} returns scores that are NaN or infinite: run 'tcja-deploy verify {bundle.path}', or scale the "
            "data down"
        )
    return found
