"""How the exported network agrees with the original over many windows, and how sure that is.

The interval of a share is Wilson's score interval (Wilson, J. Am. Stat. Assoc. 22 (1927); recommended by Brown, Cai,
DasGupta, Statistical Science 16 (2001)). Whether one of two networks is right more often on the same windows is
McNemar's test (Psychometrika 12 (1947)) in its exact form: of the windows that only one of them gets right, each is
equally likely to be either's.
"""

from __future__ import annotations

import dataclasses
import math
import statistics

import numpy as np
import numpy.typing as npt

from tcja_runtime.trace import Values, decisions

CONFIDENCE = 0.95
TOP = 5

Interval = tuple[float, float]


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a share of which `successes` of `n` were seen; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    z = statistics.NormalDist().inv_cdf(0.5 + confidence / 2)
    share, squared = successes / n, z * z / n
    middle = share + squared / 2
    half = z * math.sqrt(share * (1 - share) / n + squared / (4 * n))
    low, high = (middle - half) / (1 + squared), (middle + half) / (1 + squared)
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p value of windows that only the first, or only the second, gets right; 1 for none."""
    n, fewer = only_first + only_second, min(only_first, only_second)
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(fewer + 1)]
    tail = math.fsum(math.exp(log - n * math.log(2)) for log in logs)
    return min(1.0, 2 * tail)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """Windows that two networks classified.

    Attributes:
        windows: how many.
        same_class: in how many both predict the same class.
        top: k; 5, or the number of classes.
        in_top: in how many the exported network's class is among the original's k likeliest.
        labelled: how many have a label.
        both: how many of them both get right.
        only_original: how many only the original.
        only_exported: how many only the exported network.
    """

    windows: int
    same_class: int
    top: int
    in_top: int
    labelled: int
    both: int
    only_original: int
    only_exported: int

    @property
    def same_interval(self) -> Interval:
        """Of the share with the same class."""
        return wilson(self.same_class, self.windows)

    @property
    def accuracy(self) -> float | None:
        """The exported network's; None without labels."""
        return (self.both + self.only_exported) / self.labelled if self.labelled else None

    @property
    def accuracy_interval(self) -> Interval:
        """Of the exported network's accuracy."""
        return wilson(self.both + self.only_exported, self.labelled)

    @property
    def p_value(self) -> float:
        """Of McNemar's test: small if one of them is right more often than chance explains."""
        return mcnemar(self.only_original, self.only_exported)


def agreement(original: Values, exported: Values, labels: npt.NDArray[np.int64] | None) -> Agreement | None:
    """Compare outputs [N, classes] or [N, T, classes] of the same windows; None if they are images."""
    first, second = decisions(original), decisions(exported)
    if first is None or second is None:
        return None
    scores = original if original.ndim == 2 else original.mean(1)
    top = min(TOP, scores.shape[1])
    # The rank of the exported network's class: how many classes the original finds likelier.
    chosen = np.take_along_axis(scores, second[:, None], axis=1)
    in_top = int(np.count_nonzero((scores > chosen).sum(axis=1) < top))
    right, also = (np.zeros(0, bool),) * 2 if labels is None else (first == labels, second == labels)
    return Agreement(
        windows=len(first),
        same_class=int(np.count_nonzero(first == second)),
        top=top,
        in_top=in_top,
        labelled=len(right),
        both=int(np.count_nonzero(right & also)),
        only_original=int(np.count_nonzero(right & ~also)),
        only_exported=int(np.count_nonzero(~right & also)),
    )
