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

from tcja_runtime.data.contract import Labels
from tcja_runtime.evidence.trace import Values

CONFIDENCE = 0.95
TOP = 5
CHANCE = 1e-6
"""Below it, no chance: a correct export is not refused in a million."""

Classes = npt.NDArray[np.int32]

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


def likeliest(output: Values) -> Classes | None:
    """The k likeliest classes of each window, the likeliest first, [N, k]; None where the output is an image.

    Of classes that are as likely the first comes first. k is TOP, or the number of classes.

    Args:
        output: [N, classes], or [N, T, classes], whose mean over time decides.
    """
    if output.ndim > 3:
        return None
    scores = output if output.ndim == 2 else output.mean(1)
    return np.argsort(-scores, axis=1, kind="stable")[:, :TOP].astype(np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """Windows that the exported network classified, and that the original did.

    Attributes:
        source: where the windows come from.
        windows: how many.
        paired: of how many the original's answer is known too.
        same_class: in how many of these both predict the same class.
        top: k; 5, or the number of classes.
        in_top: in how many of the paired the exported network's class is among the original's k likeliest.
        labelled: how many windows have a label.
        right: how many of them the exported network gets right.
        right_in_top: of how many the label is among its k likeliest.
        only_original: how many of the paired only the original gets right.
        only_exported: how many of the paired only the exported network gets right.
        neither: how many of the paired neither gets right.
    """

    source: str
    windows: int
    paired: int
    same_class: int
    top: int
    in_top: int
    labelled: int
    right: int
    right_in_top: int
    only_original: int
    only_exported: int
    neither: int

    @property
    def same(self) -> float | None:
        """Share of the paired windows with the same class."""
        return self.same_class / self.paired if self.paired else None

    @property
    def accuracy(self) -> float | None:
        """The exported network's; None without labels."""
        return self.right / self.labelled if self.labelled else None

    @property
    def accuracy_interval(self) -> Interval:
        """Of the exported network's accuracy."""
        return wilson(self.right, self.labelled)

    @property
    def compared(self) -> int:
        """Windows with a label that both classified."""
        return self.paired if self.labelled else 0

    @property
    def original_right(self) -> int:
        """How many of these the original gets right."""
        return self.compared - self.only_exported - self.neither

    @property
    def original_accuracy(self) -> float | None:
        """The original's; None without labels."""
        return self.original_right / self.compared if self.compared else None

    @property
    def original_interval(self) -> Interval:
        """Of the original's accuracy."""
        return wilson(self.original_right, self.compared)

    @property
    def p_value(self) -> float:
        """Of McNemar's test: small if one of them is right more often than chance explains."""
        return mcnemar(self.only_original, self.only_exported)

    @property
    def worse(self) -> bool:
        """Whether the exported network is right less often, beyond any chance."""
        return self.only_original > self.only_exported and self.p_value < CHANCE


def agreement(source: str, original: Classes, exported: Classes, labels: Labels | None) -> Agreement:
    """Compare the likeliest classes of windows, [N, k].

    Args:
        source: where the windows come from.
        original: of the first windows; of as many as are known.
        exported: of all.
        labels: of all, [N], where known.
    """
    original = original[: len(exported)]
    n = len(original)
    chosen = exported[:, 0]
    known = np.zeros((0,), np.int64) if labels is None else labels
    right = chosen[: len(known)] == known
    first, second = original[: len(known), 0] == known[:n], right[:n]
    return Agreement(
        source=source,
        windows=len(exported),
        paired=n,
        same_class=_count(original[:, 0] == chosen[:n]),
        top=exported.shape[1],
        in_top=_count((original == chosen[:n, None]).any(axis=1)),
        labelled=len(known),
        right=_count(right),
        right_in_top=_count((exported[: len(known)] == known[:, None]).any(axis=1)),
        only_original=_count(first & ~second),
        only_exported=_count(~first & second),
        neither=_count(~first & ~second),
    )


def _count(which: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(which))
