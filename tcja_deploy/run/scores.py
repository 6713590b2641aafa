"""From what a network returns to the scores of its classes."""

from __future__ import annotations

import numpy as np

from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.trace import Values


def scores(output: Values, bundle: Bundle, title: str) -> Values:
    """Scores of windows, [N, classes].

    Args:
        output: as the network returns it, [N, classes]; or [N, T, classes] of one that answers at each step, whose
            scores are the mean over time.
        bundle: whose network it is.
        title: what ran it.

    Raises:
        BadInput: they are no numbers.
    """
    found: Values = output if output.ndim == 2 else output.mean(1)
    if not np.isfinite(found).all():
        raise BadInput(
            f"{title} returns scores that are NaN or infinite: run 'tcja-deploy verify {bundle.path}', or scale the "
            "data down"
        )
    return found
