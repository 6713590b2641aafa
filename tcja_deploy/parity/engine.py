"""Compares what shows nothing but its output with the reference: an engine, or a stepwise network as it is deployed.

    decided     A window is decided if it has no undecided neuron at any time step. Every correct backend fires the
                reference's spikes in it, so only rounding moves the output, and the rounding bound holds. The bound is
                that of a network that is given the reference's attention gates. In rare cases the rounding of the gates
                decides a spike, so an output beyond the bound is excused if that of the parts is beyond it, too.
    undecided   In the other windows spike flips decide how far an output is from the reference. The same holds for the
                parts, which are proven. If both are correct, each is equally likely to be the further one: a sign test.
    constant    The outputs of all windows must not be equal if those of the reference are not.
    other runs  An engine also runs the windows one by one, in its largest batch at all positions, and a second time. If
                an output then differs in any bit, it must pass the same tests.

"The parts" are the same network in the same backend, cut into parts and free-running (`tcja_deploy.parity.compare`).
An engine that rounds to TF32 need not meet the bounds, as the golden vectors have none for TF32.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tcja_deploy.formatting import part
from tcja_deploy.parity.failures import Failure
from tcja_deploy.parity.verdict import OutputParity
from tcja_runtime.backends.select import Backend
from tcja_runtime.backends.stepwise_session import FILES
from tcja_runtime.bundle.engines import ENGINE
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.trace import Values

CHANCE = 1e-4
"""The p value of the sign test below which a difference is not chance. It takes 14 windows, all on one side."""


def engine_output(engine: Backend, inputs: Floats, output: str) -> Floats:
    """The output of a name that an engine returns for windows [N, ...], float32 [N, ...]."""
    (name,) = engine.session.inputs
    return np.asarray(engine.session.run({name: inputs})[output], np.float32)


def engine_parity(engine: Backend, golden: Golden, manifest: Manifest, parts: Values) -> OutputParity:
    """Run an engine on the golden windows, and compare its output with the reference.

    Args:
        engine: the engine, loaded.
        golden: the golden vectors.
        manifest: the manifest of the bundle.
        parts: the output of the parts for the golden windows, [N, ...].

    Raises:
        ValueError: the backend has no engine.
    """
    if engine.engine is None:
        raise ValueError(f"{engine.name} has no engine")
    output = engine_output(engine, golden.samples.inputs, manifest.output)
    name, bounded = engine.engine.name, not engine.engine.info.tf32
    found = output_parity(output, golden, parts, engine.title, engine=name, bounded=bounded)
    for how, other in _other_runs(engine, golden.samples.inputs, manifest.output):
        if (other != output).any() and not found.failures:
            again = output_parity(other, golden, parts, engine.title, engine=name, bounded=bounded)
            found.failures += [dataclasses.replace(each, text=f"{each.text}, {how}") for each in again.failures]
    found.largest_batch = engine.engine.info.batch[2]
    return found


def _other_runs(engine: Backend, inputs: Floats, output: str) -> Iterator[tuple[str, Floats]]:
    """Run an engine on windows in other batches, and again.

    Args:
        engine: the engine.
        inputs: the windows, [N, ...].
        output: the name of the output.

    Yields:
        The way in which the windows were run, for people, and the outputs [N, ...]. Of the largest batch, there are so
        many outputs of each window that every position of the batch is among them.
    """
    n, largest = len(inputs), engine.engine.info.batch[2] if engine.engine else 1
    yield (
        "when windows are run one by one",
        np.concatenate([engine_output(engine, each[None], output) for each in inputs]),
    )
    if largest > n:
        at = np.arange(-(-largest // n) * n).reshape(-1, n)
        at = np.where(at < largest, at, at - n)  # the last row begins anew where the batch ends
        outputs = engine_output(engine, inputs[np.arange(largest) % n], output)
        for row in at:
            yield f"in a batch of {largest:,} windows", outputs[row]
    yield "in a second run", engine_output(engine, inputs, output)


def output_parity(
    output: Floats, golden: Golden, parts: Values, backend: str, *, engine: str | None = None, bounded: bool = True
) -> OutputParity:
    """Compare the output for the golden windows with the reference.

    Args:
        output: the output for the golden windows, [N, ...].
        golden: the golden vectors.
        parts: the output of the parts for the golden windows, [N, ...].
        backend: the name and version of the backend, for people.
        engine: the name of the engine in the bundle; None for a stepwise network.
        bounded: whether the rounding bounds hold for the backend's arithmetic.
    """
    reference = golden.recorded
    difference, of_parts = (np.abs(each - reference.output).reshape(len(output), -1) for each in (output, parts))
    bound = reference.output_bound.reshape(difference.shape)
    beyond, excused = (~(each <= bound).all(axis=1) for each in (difference, of_parts))
    decided = ~np.logical_or.reduce([undecided.any(axis=1) for undecided in reference.undecided.values()])
    own, theirs = (np.nan_to_num(each.max(axis=1), nan=np.inf) for each in (difference, of_parts))
    slack = bound.max(axis=1)
    found = OutputParity(
        engine=engine,
        backend=backend,
        windows=len(output),
        decided=int(decided.sum()),
        decided_beyond=int((decided & beyond).sum()),
        undecided_beyond=int((~decided & beyond).sum()),
        further=int((~decided & (own > theirs + slack)).sum()),
        nearer=int((~decided & (theirs > own + slack)).sum()),
        output_difference=float(own.max()),
        bounded=bounded,
    )
    text = _failure(found, output, reference.output, np.where(decided & beyond & ~excused, own, 0.0))
    if text:
        name, model = (f"engine {engine}", ENGINE) if engine else ("the stepwise network", FILES)
        found.failures.append(Failure(kind="engine", text=f"{name} {text}", model=model))
    return found


def _failure(found: OutputParity, output: Values, expected: Values, wrong: npt.NDArray[np.floating]) -> str:
    """What is wrong with an output, in a phrase; empty if nothing is.

    Args:
        found: the figures of the comparison.
        output: the output, [N, ...].
        expected: the output of the reference, [N, ...].
        wrong: the difference from the reference in each window where it is neither within the bound nor excused; 0 in
            the other windows, [N].
    """
    if not np.isfinite(output).all():
        return "returns values that are NaN or infinite"
    if len(output) > 1 and (output == output[:1]).all() and (expected != expected[:1]).any():
        return f"returns the same output for all {len(output):,} windows, which the trained network does not"
    if found.bounded and wrong.any():
        worst = int(np.argmax(wrong))
        return (
            f"differs from the trained network beyond the rounding bound in "
            f"{part(found.decided_beyond, found.decided, 'window')} without an undecided neuron, by "
            f"{wrong[worst]:.2g} in window {worst}"
        )
    if found.bounded and _sign_test(found.further, found.nearer) < CHANCE:
        return (
            f"is further from the trained network than its proven parts in {found.further:,} windows, and nearer in "
            f"{found.nearer:,}; chance does not explain this"
        )
    return ""


def _sign_test(more: int, less: int) -> float:
    """The p value of at least `more` of `more + less` on one side, if both sides are equally likely."""
    n = more + less
    return sum(math.comb(n, k) for k in range(more, n + 1)) / 2.0**n
