"""Is a streamed network the network? Head and tail are judged as its models are, and compared with them to the bit.

    judged      every layer and signal of head and tail, step by step, by the bounds on rounding, on the golden windows
                and on drawn ones, and every layer's neurons alone to the bit (`tcja_deploy.parity.verdict`)
    answers     of the sessions themselves, as those of an engine (`tcja_deploy.parity.engine`)
    identical   spikes and outputs are those of model.plain.onnx on the golden windows, both running free

Two runs of the same operations are identical, unless a product of one step is summed in another order than that of a
whole window. Then rounding may decide a spike, which is a failure where the bounds do not explain it.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from tcja_deploy.budget import batch_size
from tcja_deploy.console import Progress
from tcja_deploy.parity.compare import compare
from tcja_deploy.parity.engine import weigh
from tcja_deploy.parity.verdict import StreamedParity
from tcja_runtime.backends import select, stepwise_session
from tcja_runtime.backends.probe import Probe, onnxruntime_probes
from tcja_runtime.backends.stepwise_session import FILES
from tcja_runtime.bundle import conformance
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.evidence.golden import Golden


def judge(folder: Path, manifest: Manifest, vectors: Golden, progress: Progress, backend: str) -> StreamedParity:
    """Judge head and tail of a bundle's folder.

    Args:
        folder: of the models.
        manifest: of a network that is streamed.
        vectors: its golden vectors.
        progress: where progress is shown.
        backend: one of `tcja_runtime.choices.PROVIDERS`.

    Raises:
        ParityNotMet: they do not take or return what the manifest says.
        BadInput: a file is no model.
    """
    signature = dataclasses.replace(manifest.signature, step_output=None)
    conformance.check_streaming(folder, manifest.streaming, signature)
    whole = onnxruntime_probes(folder, signature, backend)[0]
    streamed = Probe(
        FILES,
        select.title(backend),
        functools.partial(stepwise_session.opened, folder, manifest, backend),
        signature,
        fuses=whole.fuses,
    )
    size, n = batch_size(signature), len(vectors.samples)
    with progress.counted("stream the golden windows", n) as advance:
        found = compare(vectors.batches(size), [streamed], vectors.stimuli(manifest.input), signature, advance=advance)
    spikes, unlike, answers, expected = 0, 0, [], []
    with progress.counted("compare with the whole windows", n) as advance:
        for start in range(0, n, size):
            inputs = vectors.samples.inputs[start : start + size]
            ours, theirs = streamed.free(inputs), whole.free(inputs)
            spikes += sum(int(np.count_nonzero(each)) for each in theirs.spikes.values())
            unlike += sum(int(np.count_nonzero(ours.spikes[name] != each)) for name, each in theirs.spikes.items())
            answers.append(streamed.output(inputs))
            expected.append(whole.output(inputs))
            advance(len(inputs))
    output = np.concatenate(answers)
    answered = weigh(output, vectors, found.outputs, name="what is streamed", backend=found.parity.backend, model=FILES)
    return StreamedParity(
        backend=found.parity.backend,
        windows=n,
        spikes=spikes,
        unlike=unlike,
        output_difference=float(np.abs(output - np.concatenate(expected)).max()),
        flips=found.parity.flips,
        unexplained=found.parity.unexplained,
        failures=[*found.parity.failures, *answered.failures],
    )
