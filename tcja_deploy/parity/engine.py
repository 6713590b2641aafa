"""Compares what a deployed network returns with the reference: an engine, or a stepwise network as it is deployed.

The golden vectors of a bundle with spike counts have free-running bounds: how far a correct network that runs on its
own can be from the reference (`tcja_runtime.evidence.spike_counts`). They have none if an operation of the network has
no rounding bound. With these bounds nothing is excused, and nothing is left to chance:

    counts      The number of spikes of each layer, at each time step of each window, differs from the reference's by at
                most the number of open neurons there. Where no neuron is open, it is equal. An engine returns the
                counts; an engine with the plugin, and a stepwise network, do not.
    output      The output is within its free-running bound in every window.

Without these bounds only the output is compared, and it cannot tell which layer is wrong:

    decided     A window is decided if it has no undecided neuron at any time step. Every correct backend fires the
                reference's spikes in it, so only rounding moves the output, and the rounding bound holds. The bound is
                that of a network that is given the reference's attention gates. In rare cases the rounding of the gates
                decides a spike, so an output beyond the bound is excused if that of the parts is beyond it, too.
    undecided   In the other windows spike flips decide how far an output is from the reference. The same holds for the
                parts, which are proven. If both are correct, each is equally likely to be the further one: a sign test.

With and without them:

    constant    The outputs of all windows must not be equal if those of the reference are not.
    other runs  An engine also runs the windows one by one, in its largest batch at all positions, and a second time. If
                an output or a count then differs in any bit, it must pass the same tests.

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
from tcja_deploy.parity.verdict import OutputParity, Parity
from tcja_runtime.backends.probe import Probe
from tcja_runtime.backends.select import Backend
from tcja_runtime.backends.session import Session
from tcja_runtime.backends.stepwise_session import FILES
from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.origin.engine_list import ENGINE
from tcja_runtime.counting import counted
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.spike_counts import CountParity, Counts, FreeRunningBounds, judge_counts
from tcja_runtime.evidence.trace import Values
from tcja_runtime.model_file.tensor_names import SPIKE_COUNTS

CHANCE = 1e-4
"""The p value of the sign test below which a difference is not chance. It takes 14 windows, all on one side."""


@dataclasses.dataclass(frozen=True)
class Returned:
    """What a network returns for windows.

    Attributes:
        output: the output, float32 [N, ...].
        counts: the spike counts [N, layers, T]; None if the network returns none.
    """

    output: Floats
    counts: Counts | None = None

    @classmethod
    def of(cls, session: Session, inputs: Floats, output: str) -> Returned:
        """Run a network on windows [N, ...]; `output` is the name of its output."""
        (name,) = session.inputs
        found = session.run({name: inputs})
        return cls(np.asarray(found[output], np.float32), found.get(SPIKE_COUNTS))

    def windows(self, which: npt.NDArray[np.intp]) -> Returned:
        """Return what was returned for some of the windows."""
        return Returned(self.output[which], None if self.counts is None else self.counts[which])

    def differs(self, other: Returned) -> bool:
        """Whether two results differ in any bit; both have counts, or neither has."""
        counts = self.counts is not None and other.counts is not None and (self.counts != other.counts).any()
        return bool((self.output != other.output).any() or counts)


def engine_parity(engine: Backend, golden: Golden, manifest: Manifest, parts: Values) -> OutputParity:
    """Run an engine on the golden windows, and compare what it returns with the reference.

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
    returned = Returned.of(engine.session, golden.samples.inputs, manifest.output)
    name, bounded = engine.engine.name, not engine.engine.info.tf32
    found = output_parity(returned, golden, parts, engine.title, engine=name, bounded=bounded)
    for how, other in _other_runs(engine, golden.samples.inputs, manifest.output):
        if other.differs(returned) and not found.failures:
            again = output_parity(other, golden, parts, engine.title, engine=name, bounded=bounded)
            found.failures += [dataclasses.replace(each, text=f"{each.text}, {how}") for each in again.failures]
    found.largest_batch = engine.engine.info.batch[2]
    return found


def _other_runs(engine: Backend, inputs: Floats, output: str) -> Iterator[tuple[str, Returned]]:
    """Run an engine on windows in other batches, and again.

    Args:
        engine: the engine.
        inputs: the windows, [N, ...].
        output: the name of the output.

    Yields:
        The way in which the windows were run, for people, and what was returned for them. Of the largest batch, there
        are so many results of each window that every position of the batch is among them.
    """
    n, largest = len(inputs), engine.engine.info.batch[2] if engine.engine else 1
    single = [Returned.of(engine.session, each[None], output) for each in inputs]
    counts = [each.counts for each in single if each.counts is not None]
    outputs = np.concatenate([each.output for each in single])
    yield "when windows are run one by one", Returned(outputs, np.concatenate(counts) if counts else None)
    if largest > n:
        at = np.arange(-(-largest // n) * n).reshape(-1, n)
        at = np.where(at < largest, at, at - n)  # the last row begins anew where the batch ends
        returned = Returned.of(engine.session, inputs[np.arange(largest) % n], output)
        for row in at:
            yield f"in a batch of {largest:,} windows", returned.windows(row)
    yield "in a second run", Returned.of(engine.session, inputs, output)


def plain_parity(parity: Parity, probe: Probe, golden: Golden, size: int) -> Parity:
    """Return the comparison of a backend of ONNX Runtime, with that of the spike counts of model.plain.onnx.

    The other checks run parts of the model. This one runs the model as it is deployed.

    Args:
        parity: the comparison of the parts.
        probe: model.plain.onnx in the backend.
        golden: the golden vectors.
        size: the number of windows to run at once.
    """
    inputs, bounds = golden.samples.inputs, golden.free_running
    if bounds is None:
        return parity
    runs = [probe.deployed(inputs[start : start + size])[SPIKE_COUNTS] for start in range(0, len(inputs), size)]
    text = _wrong_count(_counted(np.concatenate(runs), golden, bounds))
    failures = [Failure(kind="spikes", text=f"{PLAIN_MODEL} {text}", model=PLAIN_MODEL)] if text else []
    return dataclasses.replace(parity, failures=[*parity.failures, *failures])


def output_parity(
    returned: Returned, golden: Golden, parts: Values, backend: str, *, engine: str | None = None, bounded: bool = True
) -> OutputParity:
    """Compare what a network returns for the golden windows with the reference.

    Args:
        returned: what the network returns.
        golden: the golden vectors.
        parts: the output of the parts for the golden windows, [N, ...].
        backend: the name and version of the backend, for people.
        engine: the name of the engine in the bundle; None for a stepwise network.
        bounded: whether the rounding bounds hold for the backend's arithmetic.
    """
    reference, output, free = golden.recorded, returned.output, golden.free_running
    difference, of_parts = (np.abs(each - reference.output).reshape(len(output), -1) for each in (output, parts))
    bound = (free.output if free else reference.output_bound).reshape(difference.shape)
    beyond, excused = (~(each <= bound).all(axis=1) for each in (difference, of_parts))
    undecided = np.logical_or.reduce([undecided.any(axis=1) for undecided in reference.undecided.values()])
    decided = ~(free.open.any(axis=(1, 2)) if free else undecided)
    own, theirs = (np.nan_to_num(each.max(axis=1), nan=np.inf) for each in (difference, of_parts))
    slack = bound.max(axis=1)
    found = OutputParity(
        engine=engine,
        backend=backend,
        windows=len(output),
        decided=int(decided.sum()),
        decided_beyond=int((decided & beyond).sum()),
        undecided_beyond=int((~decided & beyond).sum()),
        further=0 if free else int((~decided & (own > theirs + slack)).sum()),
        nearer=0 if free else int((~decided & (theirs > own + slack)).sum()),
        output_difference=float(own.max()),
        bounded=bounded,
        free_running=free is not None,
        returns_counts=returned.counts is not None,
        counts=_counted(returned.counts, golden, free) if free and bounded and returned.counts is not None else None,
    )
    wrong = beyond if free else decided & beyond & ~excused
    text = _failure(found, output, reference.output, np.where(wrong, own, 0.0))
    if text:
        name, model = (f"engine {engine}", ENGINE) if engine else ("the stepwise network", FILES)
        found.failures.append(Failure(kind="engine", text=f"{name} {text}", model=model))
    return found


def _counted(counts: Counts, golden: Golden, bounds: FreeRunningBounds) -> CountParity:
    return judge_counts(counts, golden.counts.transpose(1, 0, 2), bounds, list(golden.spikes))


def _wrong_count(found: CountParity | None) -> str:
    """What is wrong with spike counts, in a phrase; empty if nothing is."""
    at = found.first if found else None
    if found is None or at is None:
        return ""
    rest = f"; of {found.counts:,} counts {found.beyond:,} are wrong" if found.beyond > 1 else ""
    return (
        f"fires {counted(at.found, 'spike')} in {at.layer} at time step {at.time_step} of window {at.window}, and the "
        f"trained network {at.expected:,}; rounding explains a difference of {at.open:,} at most{rest}"
    )


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
    if text := _wrong_count(found.counts):
        return text
    if found.bounded and wrong.any():
        worst = int(np.argmax(wrong))
        beyond = found.decided_beyond + (found.undecided_beyond if found.free_running else 0)
        judged = found.windows if found.free_running else found.decided
        which = part(beyond, judged, "window") + ("" if found.free_running else " without an undecided neuron")
        return (
            f"differs from the trained network beyond the rounding bound in {which}, by {wrong[worst]:.2g} in window "
            f"{worst}"
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
