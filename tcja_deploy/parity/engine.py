"""What a bundle's engine answers, against the reference; it shows nothing but its output.

    settled     A window is settled where no neuron is near its threshold at any time step: every correct backend fires
                the reference's spikes there, and rounding moves the output alone. The bounds are those of a network
                that is given its gates, whose own rounding may still decide a spike, though it hardly ever does: an
                engine is excused where its parts, running free, miss the bound too.
    unsettled   Elsewhere flips decide how far an engine is from the reference, and how far its parts are, which are
                proven. If both are right it is as often the one as the other: a sign test.
    alike       Whatever rounding does, windows that the reference answers otherwise are not all answered alike.

An engine that rounds to TF32 is not judged: the golden vectors have no bounds for it.
"""

from __future__ import annotations

import math

import numpy as np

from tcja_deploy.parity.verdict import EngineParity, Failure
from tcja_runtime.backends.select import Backend
from tcja_runtime.bundle.engines import ENGINE
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.trace import Values

CHANCE = 1e-4
"""Of the sign test: golden vectors are few, and 14 windows on one side are needed for it."""


def answered(engine: Backend, inputs: Floats, output: str) -> Floats:
    """What an engine returns for windows [N, ...]."""
    (name,) = engine.session.inputs
    return np.asarray(engine.session.run({name: inputs})[output], np.float32)


def judge(engine: Backend, golden: Golden, manifest: Manifest, parts: Values) -> EngineParity:
    """Judge an engine on golden vectors.

    Args:
        engine: loaded.
        golden: the vectors.
        manifest: of the bundle.
        parts: what the same TensorRT's parts of the network returned for them, running free, [N, ...].
    """
    if engine.engine is None:
        raise ValueError(f"{engine.name} has no engine")
    name, strict = engine.engine.name, not engine.engine.sidecar["tf32"]
    output = answered(engine, golden.samples.inputs, manifest.output)
    return weigh(output, golden, parts, name=name, backend=engine.title, model=ENGINE, judged=strict)


def weigh(
    output: Floats, golden: Golden, parts: Values, *, name: str, backend: str, model: str, judged: bool = True
) -> EngineParity:
    """Judge answers of which nothing else is known.

    Args:
        output: what was answered to the golden windows, [N, ...].
        golden: the vectors.
        parts: what proven parts of the same network returned for them, running free, [N, ...].
        name: of what answered.
        backend: what ran it, for people.
        model: its file.
        judged: whether the bounds hold for it.
    """
    reference = golden.recorded
    difference, of_parts = (np.abs(each - reference.output).reshape(len(output), -1) for each in (output, parts))
    bound = reference.output_bound.reshape(difference.shape)
    beyond, excused = (~(each <= bound).all(axis=1) for each in (difference, of_parts))
    settled = ~np.logical_or.reduce([near.any(axis=1) for near in reference.near.values()])
    own, theirs = (np.nan_to_num(each.max(axis=1), nan=np.inf) for each in (difference, of_parts))
    slack = bound.max(axis=1)
    found = EngineParity(
        engine=name,
        backend=backend,
        windows=len(output),
        settled=int(settled.sum()),
        beyond=int((settled & beyond).sum()),
        elsewhere=int((~settled & beyond).sum()),
        further=int((~settled & (own > theirs + slack)).sum()),
        nearer=int((~settled & (theirs > own + slack)).sum()),
        output_difference=float(own.max()),
        judged=judged,
    )

    called = f"engine {name}" if model == ENGINE else name

    def fail(text: str) -> None:
        found.failures.append(Failure(kind="engine", text=f"{called} {text}", model=model))

    if not np.isfinite(output).all():
        fail("returns values that are NaN or infinite")
    elif len(output) > 1 and (output == output[:1]).all() and (reference.output != reference.output[:1]).any():
        fail(f"answers all {len(output):,} windows alike, which the trained network does not")
    elif found.judged and (wrong := settled & beyond & ~excused).any():
        worst = int(np.argmax(np.where(wrong, own, -1.0)))
        fail(
            f"answers {found.beyond:,} of {found.settled:,} windows in which rounding decides no spike otherwise than "
            f"the trained network, by {own[worst]:.2g} in window {worst + 1}"
        )
    elif found.judged and _sign_test(found.further, found.nearer) < CHANCE:
        fail(
            f"answers {found.further:,} windows further from the trained network than its parts do, and "
            f"{found.nearer:,} nearer, which no chance explains"
        )
    return found


def _sign_test(more: int, less: int) -> float:
    """Chance that so many of them, or more, lie on one side, if both sides are as likely."""
    n = more + less
    return sum(math.comb(n, k) for k in range(more, n + 1)) / 2.0**n
