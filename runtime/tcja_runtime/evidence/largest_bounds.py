r"""The largest rounding bounds that a network can have: a check of bounds that were stored by somebody else.

The bounds in golden vectors (`tcja_runtime.evidence.rounding`) come from the reference, which only the workstation can
run. A bound that is too large explains differences that are none of rounding, so a wrong model would pass. From the
weights, the inputs and the numbers of terms, every machine can find how large a bound can be. With the magnitudes M of
the magnitude model (`tcja_runtime.model_file.magnitudes`), the roundoffs u of sums and w of results that are stored:

    error of x           <= r_x M_x
    inputs               r = 0 in float32; w in float16
    moves, selections    r = the largest r of the operands
    products of n terms  r = r_x + r_y + r_x r_y + (PRODUCT + steps(n)) u + w
    sums, means          r = r_x + (1 + steps(n)) u + w
    others               r = r_x + r_y + r_x r_y + OTHER u + w
    constants            r = 2 u + w                               in sums and products that are not of weights

steps(n) is in `tcja_runtime.evidence.rounding`. The reference counts only the terms that are not 0, so its bounds are
smaller. They can be larger where an export computes constants from parameters, as when it folds a batch norm into a
weight: the terms cancel, and the reference bounds their rounding before they do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tcja_runtime.evidence.rounding import CONFIDENCE, Arithmetic
from tcja_runtime.model_file.magnitudes import (
    MEANS,
    MOVES,
    PRODUCTS,
    QUANTISERS,
    SELECTIONS,
    Magnitudes,
    Node,
    fan_in,
)

PRODUCT, OTHER = 8, 12
"""The number of roundings of a single product, and of an operation on single values."""


def shares(found: Magnitudes, shapes: Mapping[str, Sequence[int]], arithmetic: Arithmetic) -> dict[str, float]:
    """Returns r for each output of a magnitude model: the largest rounding error, as a share of the magnitude.

    Args:
        found: the magnitude model.
        shapes: the shapes of the tensors `found.shaped`, as the model returned them.
        arithmetic: the arithmetic of the network.
    """
    stored = arithmetic.stored if arithmetic.stored > arithmetic.total else 0.0
    shares: dict[str, float] = {}
    for node in found.nodes:
        constant = 0.0 if node.operator in PRODUCTS else 2 * arithmetic.total + stored
        read = [constant if name in found.constants else shares.get(name, stored) for name in node.values]
        shares[node.outputs[0]] = _share(node, read, shapes, arithmetic)
    return {name: shares.get(name, stored) for name in found.outputs}


def _share(node: Node, read: Sequence[float], shapes: Mapping[str, Sequence[int]], arithmetic: Arithmetic) -> float:
    """Returns r of the result of a node, from those of what it reads."""
    if node.operator in MOVES | SELECTIONS | QUANTISERS:
        return max(read)
    unit, terms = arithmetic.total, fan_in(node, shapes)
    own = unit * (
        (PRODUCT if node.operator in PRODUCTS else 1 if node.operator in MEANS else OTHER) + steps(terms, arithmetic)
    )
    own += arithmetic.stored if arithmetic.stored > unit else 0.0
    return math.prod(1 + each for each in (*read, own)) - 1


def steps(terms: int, arithmetic: Arithmetic) -> float:
    """Returns the roundings that count in a sum (`tcja_runtime.evidence.rounding`)."""
    return min(terms, CONFIDENCE * math.sqrt(terms)) if arithmetic.unbiased else float(terms)
