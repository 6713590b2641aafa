"""What a bundle's engine answers, against the reference. It shows nothing but its output."""

from __future__ import annotations

import numpy as np

from tcja_deploy.parity import EngineParity, Failure
from tcja_runtime.backends import Backend
from tcja_runtime.bundle import Manifest
from tcja_runtime.engines import ENGINE
from tcja_runtime.frames import Floats
from tcja_runtime.golden import Golden

GATES_MOVE = 0.1
"""Share of settled windows that an engine may answer otherwise: the bounds behind a gate are those of a network that is
given its gates, so that the gates' own rounding may still decide a spike in a few."""


def answered(engine: Backend, inputs: Floats, output: str) -> Floats:
    """What an engine returns for windows [N, ...]."""
    (name,) = engine.session.inputs
    return np.asarray(engine.session.run({name: inputs})[output], np.float32)


def judge(engine: Backend, golden: Golden, manifest: Manifest) -> EngineParity:
    """Judge an engine on golden vectors.

    A window is settled where no neuron is near its threshold at any time step: then every correct backend fires the
    reference's spikes, and rounding moves the output alone. An engine that rounds to TF32 is not judged: the golden
    vectors have no bounds for it.
    """
    if engine.engine is None:
        raise ValueError(f"{engine.name} has no engine")
    sidecar, reference = engine.engine.sidecar, golden.recorded
    output = answered(engine, golden.samples.inputs, manifest.output)
    difference = np.abs(output - reference.output).reshape(len(output), -1)
    beyond = ~(difference <= reference.output_bound.reshape(difference.shape)).all(axis=1)
    settled = ~np.logical_or.reduce([near.any(axis=1) for near in reference.near.values()])
    found = EngineParity(
        engine=engine.engine.name,
        backend=engine.title,
        windows=len(output),
        settled=int(settled.sum()),
        beyond=int((settled & beyond).sum()),
        elsewhere=int((~settled & beyond).sum()),
        output_difference=float(difference.max()),
        judged=not sidecar["tf32"],
    )
    may = GATES_MOVE * found.settled if any(tap.is_gate for tap in manifest.taps) else 0
    if found.judged and (found.beyond > may or not np.isfinite(output).all()):
        worst = int(np.argmax(np.where(settled, np.nan_to_num(difference.max(axis=1), nan=np.inf), -1.0)))
        text = (
            f"engine {found.engine} answers {found.beyond:,} of {found.settled:,} windows in which rounding decides no "
            f"spike otherwise than the trained network, by {difference[worst].max():.2g} in window {worst + 1}"
        )
        found.failures.append(Failure(kind="engine", text=text, model=ENGINE))
    return found
