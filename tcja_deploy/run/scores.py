"""The scores of a network's classes, from its output."""

from __future__ import annotations

import numpy as np

from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.trace import Values


def scores(output: Values, bundle: Bundle, title: str) -> Values:
    """The scores of the classes of each window, [N, classes].

    Args:
        output: the network's output, [N, classes]; or [N, T, classes], one for each time step, of which the scores are
            the mean.
        bundle: the network's bundle.
        title: the title of the backend that ran the network, for the message.

    Raises:
        BadInput: a score is NaN or infinite.
    """
    found: Values = output if output.ndim == 2 else output.mean(1)
    if not np.isfinite(found).all():
        raise BadInput(
            f"{title} returns scores that are NaN or infinite: run 'tcja-deploy verify {bundle.path}', or scale the "
            "data down"
        )
    return found
