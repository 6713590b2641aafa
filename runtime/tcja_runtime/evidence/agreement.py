"""How often the exported and the original network predict the same class, and how accurate each of them is.

The confidence interval of a share is Wilson's score interval (Wilson, J. Am. Stat. Assoc. 22 (1927); recommended by
Brown, Cai, DasGupta, Statistical Science 16 (2001)). McNemar's test (Psychometrika 12 (1947)), in its exact form, tests
whether one of two networks is right more often on the same windows. It counts the windows that exactly one of the two
networks classifies correctly. If both networks are equally accurate, each network is the correct one for half of these
windows on average.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.evidence.predictions import Predictions

CONFIDENCE = 0.95
"""The confidence of intervals."""
CHANCE = 1e-6
"""The p value below which a difference does not count as chance. Of a million correct exports, one is refused."""

Interval = tuple[float, float]


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Returns the confidence interval (low, high) of a share, from `successes` in `n` trials; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    z = statistics.NormalDist().inv_cdf(0.5 + confidence / 2)
    share, squared = successes / n, z * z / n
    middle = share + squared / 2
    half = z * math.sqrt(share * (1 - share) / n + squared / (4 * n))
    low, high = (middle - half) / (1 + squared), (middle + half) / (1 + squared)
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Returns the two-sided p value of McNemar's exact test; 1 if both numbers are 0.

    Args:
        only_first: the number of windows that only the first network classifies correctly.
        only_second: the number of windows that only the second network classifies correctly.
    """
    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = math.fsum(math.exp(_log_ways(n, k) - n * math.log(2)) for k in range(fewer + 1))
    return min(1.0, 2 * tail)


def hypergeometric(successes: int, n: int, earlier_successes: int, earlier_n: int) -> float:
    """Returns the one-sided p value of Fisher's exact test: that a share is at most as large as it is by chance.

    Args:
        successes: the number of successes in `n` trials.
        n: the number of trials.
        earlier_successes: the number of successes in `earlier_n` other trials with, by hypothesis, the same share.
        earlier_n: the number of these trials.
    """
    total, least = successes + earlier_successes, max(0, successes + earlier_successes - earlier_n)
    whole = _log_ways(n + earlier_n, total)
    counts = range(least, successes + 1)
    return min(1.0, math.fsum(math.exp(_log_ways(n, k) + _log_ways(earlier_n, total - k) - whole) for k in counts))


def _log_ways(n: int, k: int) -> float:
    """The natural logarithm of the number of ways to choose k of n."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """The accuracy of a network on the windows that have a label.

    Attributes:
        right: the number of these windows for which the predicted class is the label.
        labelled: the number of windows with a label.
    """

    right: int
    labelled: int

    @property
    def share(self) -> float | None:
        """The accuracy, from 0 to 1; None if no window has a label."""
        return self.right / self.labelled if self.labelled else None

    @property
    def interval(self) -> Interval:
        """The confidence interval of the accuracy (`wilson`)."""
        return wilson(self.right, self.labelled)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """The comparison of the classes that the exported and the original network predict for the same windows.

    Attributes:
        source: the origin of the windows, for people.
        windows: the number of windows that the exported network classified.
        paired: the number of windows for which the original network's prediction is known too.
        same_class: the number of paired windows for which both networks predict the same class.
        top: k, the number of likeliest classes that are stored for each window: TOP, or the number of classes if the
            network has fewer than TOP.
        in_top: the number of paired windows for which the exported network's class is among the k likeliest classes of
            the original network.
        accuracy: the accuracy of the exported network, on all windows with a label.
        only_original: the number of paired windows with a label that only the original network classifies correctly.
        only_exported: the number of paired windows with a label that only the exported network classifies correctly.
        neither: the number of paired windows with a label that neither network classifies correctly.
    """

    source: str
    windows: int
    paired: int
    same_class: int
    top: int
    in_top: int
    accuracy: Accuracy
    only_original: int
    only_exported: int
    neither: int

    @property
    def same(self) -> float | None:
        """The share of the paired windows with the same class, from 0 to 1; None if no window is paired."""
        return self.same_class / self.paired if self.paired else None

    @property
    def same_interval(self) -> Interval:
        """The confidence interval of the share with the same class (`wilson`)."""
        return wilson(self.same_class, self.paired)

    @property
    def compared(self) -> int:
        """The number of windows with a label that both networks classified."""
        return self.paired if self.accuracy.labelled else 0

    @property
    def original_accuracy(self) -> Accuracy:
        """The accuracy of the original network, on the windows that both networks classified."""
        return Accuracy(self.compared - self.only_exported - self.neither, self.compared)

    @property
    def p_value(self) -> float:
        """The p value of McNemar's test. It is small if the accuracies differ by more than chance explains."""
        return mcnemar(self.only_original, self.only_exported)

    @property
    def worse(self) -> bool:
        """Whether the exported network is right less often, with a p value below CHANCE."""
        return self.only_original > self.only_exported and self.p_value < CHANCE

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain values, for parity.json."""
        counts = dataclasses.asdict(self)
        accuracy = counts.pop("accuracy")
        return {**counts, **accuracy}


def agreement(original: Predictions, exported: Predictions) -> Agreement:
    """Compare how two networks classify the same windows.

    Args:
        original: the predictions of the original network, for all windows or only for the first M windows. In the
            second case, the two networks are compared on the first M windows only.
        exported: the predictions of the exported network for all windows, with `source`, and with `labels` if they are
            known.
    """
    first = original.likeliest[: len(exported)]
    n = len(first)
    chosen = exported.likeliest[:, 0]
    known = np.zeros((0,), np.int64) if exported.labels is None else exported.labels
    right = chosen[: len(known)] == known
    original_right, exported_right = first[: len(known), 0] == known[:n], right[:n]
    return Agreement(
        source=exported.source,
        windows=len(exported),
        paired=n,
        same_class=_count(first[:, 0] == chosen[:n]),
        top=exported.likeliest.shape[1],
        in_top=_count((first == chosen[:n, None]).any(axis=1)),
        accuracy=Accuracy(_count(right), len(known)),
        only_original=_count(original_right & ~exported_right),
        only_exported=_count(~original_right & exported_right),
        neither=_count(~original_right & ~exported_right),
    )


def _count(which: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(which))
