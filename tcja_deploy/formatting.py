"""Numbers as text for people."""

from __future__ import annotations

import math

from tcja_runtime.bundle.sidecar import EngineInfo, KernelPlan
from tcja_runtime.counting import agree, counted

NBSP = "\N{NO-BREAK SPACE}"
"""The space between a number and its unit."""


FEW = 100
"""The number of things from which a share of them is given as a percentage; a share of fewer is given as counts."""


def windows(n: int) -> str:
    """Return a number of windows as text: ``1 window``, ``1,024 windows``."""
    return counted(n, "window")


def part(k: int, n: int, noun: str) -> str:
    """Return a part of a number of things: ``1 of 2 layers``."""
    return f"{k:,} of {counted(n, noun)}"


def portion(k: int, n: int, noun: str) -> str:
    """Return a share of a number of things: ``9 of 12 windows`` for few, ``75.00 % of 1,200 windows`` for many."""
    return part(k, n, noun) if n < FEW else f"{percent(k / n)} of {counted(n, noun)}"


def share_of(k: int, n: int) -> str:
    """Return the share of k in n things: ``9 of 12`` for few, a percentage for `FEW` or more, a dash for none."""
    if n == 0:
        return "-"
    return f"{k:,} of {n:,}" if n < FEW else percent(k / n)


def interval(limits: tuple[float, float]) -> str:
    """Return a confidence interval of a share: ``15.00 % to 85.00 % with 95 % confidence``."""
    low, high = limits
    return f"{percent(low)} to {percent(high)} with 95 % confidence"


def amount(value: float, what: str) -> str:
    """Return a number with three digits, an SI prefix and what it counts, with one space: ``12.3 k events``."""
    return f"{si(value).rstrip()} {what}"


def si(value: float) -> str:
    """Return a number with three digits and an SI prefix, to which the unit is added: ``12.3 m``.

    The space is `NBSP`, so that a line does not break there.
    """
    power = 0 if value == 0 else min(max(math.floor(math.log10(abs(value)) / 3), -4), 4)
    scaled = value / 1000.0**power
    digits = (
        0 if value == 0 or (power == 0 and value == int(value)) else max(0, 2 - math.floor(math.log10(abs(scaled))))
    )
    return f"{scaled:.{digits}f}{NBSP}{('p', 'n', 'µ', 'm', '', 'k', 'M', 'G', 'T')[power + 4]}"


_SUPERSCRIPTS = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def compact(count: int) -> str:
    """Return a count as text of at most five characters: ``9999``, ``10k``, ``1.2M``."""
    if count < 10_000:
        return str(count)
    if count < 999_500:
        return f"{count / 1e3:.0f}k"
    return f"{count / 1e6:.1f}M" if count < 99_950_000 else f"{count / 1e9:.1f}G"


def percent(share: float | None) -> str:
    """Return a share as a percentage with two decimals, such as ``12.50 %``; a dash for None."""
    return "-" if share is None else f"{100 * share:.2f}{NBSP}%"


def fine_percent(share: float) -> str:
    """Return a share as a percentage with two significant digits and no exponent: ``25 %``, ``0.0012 %``."""
    if not math.isfinite(share):
        return str(share)
    digits = max(0, 1 - math.floor(math.log10(100 * share))) if share > 0 else 0
    return f"{100 * share:.{digits}f}{NBSP}%"


def power(exponent: int) -> str:
    """Return the power of ten with this exponent as text: ``1``, ``10``, ``100``, ``10³``."""
    return {0: "1", 1: "10", 2: "100"}.get(exponent, "10" + str(exponent).translate(_SUPERSCRIPTS))


def kernel_traffic(plan: KernelPlan | None, tuned: int, unread: str) -> str:
    """Return what the kernels of an engine move, in a sentence; or why it is not known.

    Args:
        plan: the kernels; None if they are not known.
        tuned: the batch size that the engine is tuned for.
        unread: the reason why the kernels are not known.
    """
    if plan is None:
        return f"What its kernels move is not known: {unread}."
    run = "a window" if tuned == 1 else f"for {windows(tuned)} at a time"
    moves = f"{counted(plan.kernels, 'kernel')} {agree(plan.kernels, 'moves', 'move')}"
    return f"{moves} {si(plan.bytes)}B of data {run}, and {si(plan.weight_bytes)}B of weights."


def engine_plan(info: EngineInfo) -> str:
    """Return what the kernels of an engine move, from its sidecar."""
    return kernel_traffic(info.plan, info.batch[1], info.plan_unread)
