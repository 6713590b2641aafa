"""How many rows of a batch a session may run at once, so that each row gets the bits that it gets alone.

A program may add the terms of a sum in another order when a batch has more rows: a matrix product of one row is another
kernel than that of four. The order depends on the shapes, and not on the values. So one batch of random values of each
size shows it: of thousands of sums of real numbers, some have another last bit if the order is another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tcja_runtime.backends.session import Session
from tcja_runtime.data.contract import Floats


def rows_as_alone(session: Session, shapes: Mapping[str, Sequence[int]], most: int) -> int:
    """Returns the largest n, from 1 to `most`, such that batches of 2 .. n rows return the bits of each row alone.

    It runs the session on 1 + 2 + .. + `most` rows at most, so it takes as long as that.

    Args:
        session: the session. What it returns must have the sums in it whose order matters, not only what is made from
            them by comparing, such as spikes.
        shapes: the shape of each input without the batch, by name.
        most: the most rows to try.
    """
    rng = np.random.Generator(np.random.PCG64(0))
    feeds = {name: rng.standard_normal((most, *shape), np.float32) * 2 for name, shape in shapes.items()}
    alone = [_run(session, feeds, slice(i, i + 1)) for i in range(most if most > 1 else 0)]
    for rows in range(2, most + 1):
        together = _run(session, feeds, slice(0, rows))
        for i, one in enumerate(alone[:rows]):
            if any(together[name][i].tobytes() != value[0].tobytes() for name, value in one.items()):
                return rows - 1
    return most


def _run(session: Session, feeds: Mapping[str, Floats], rows: slice) -> Mapping[str, Floats]:
    return session.run({name: values[rows] for name, values in feeds.items()})
