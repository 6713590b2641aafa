"""Compares a stepwise network, its head and its tail, with the reference and with the model of whole windows.

    judged      every layer and signal of head and tail at every time step, by the rounding bounds, on the golden
                windows and on the stimuli; and the neurons of every layer alone, to the bit
                (`tcja_deploy.parity.verdict`)
    output      that of the deployed sessions, as that of an engine (`tcja_deploy.parity.engine`)
    identical   free-running, the spikes and the output equal those of model.plain.onnx on the golden windows; and so
                does the output if another session goes on in the middle of a window, from the membranes recorded there

Two runs of the same operations are identical, unless the terms of a sum are added in another order for one time step
than for a whole window. Then rounding may flip a spike, which is a failure only beyond the bounds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools

import numpy as np

from tcja_deploy.console import Progress
from tcja_deploy.parity.compare import compare
from tcja_deploy.parity.engine import Returned, output_parity
from tcja_deploy.parity.verdict import StepwiseParity
from tcja_runtime.backends import select, stepwise_session
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.probe import Probe, onnxruntime_probes
from tcja_runtime.backends.stepwise_session import FILES
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle import conformance
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.trace import Values
from tcja_runtime.files.folder import Files, read_model
from tcja_runtime.model_file.tensor_names import kept_tensor, membrane_tensor, next_membrane_tensor


def stepwise_parity(
    files: Files, manifest: Manifest, vectors: Golden, backend: str, progress: Progress
) -> StepwiseParity:
    """Compare the stepwise network of a bundle's folder.

    Args:
        files: the bundle, or the folder of the models.
        manifest: the manifest of a bundle with a stepwise network.
        vectors: its golden vectors.
        backend: one of `tcja_runtime.choices.PROVIDERS`.
        progress: where progress is shown.

    Raises:
        ParityNotMet: a model does not take or return what the manifest says.
        BadInput: a file is not an ONNX model.
    """
    signature = dataclasses.replace(manifest.signature, step_output=None)
    conformance.check_streaming(files, manifest.streaming, signature)
    whole = onnxruntime_probes(files, signature, backend)[0]
    stepwise = Probe(
        FILES,
        select.title(backend),
        functools.partial(stepwise_session.opened, files, manifest, backend),
        signature,
        fuses=whole.fuses,
    )
    size, n = batch_size(signature), len(vectors.samples)
    with progress.counted("run the golden windows stepwise", n) as advance:
        found = compare(vectors.batches(size), [stepwise], vectors.stimuli(manifest.input), signature, advance=advance)
    spikes, differing, outputs, continued, expected = 0, 0, [], [], []
    with progress.counted("compare with the whole windows", n) as advance:
        for start in range(0, n, size):
            inputs = vectors.samples.inputs[start : start + size]
            ours, theirs = stepwise.free(inputs), whole.free(inputs)
            spikes += sum(int(np.count_nonzero(each)) for each in theirs.spikes.values())
            differing += sum(int(np.count_nonzero(ours.spikes[name] != each)) for name, each in theirs.spikes.items())
            outputs.append(stepwise.output(inputs))
            continued.append(_continued(files, manifest, backend, inputs))
            expected.append(whole.output(inputs))
            advance(len(inputs))
    output, wanted = np.concatenate(outputs), np.concatenate(expected)
    return StepwiseParity(
        parity=found.parity,
        output=output_parity(Returned(output), vectors, found.outputs, found.parity.backend),
        spikes=spikes,
        differing_spikes=differing,
        output_difference=max(float(np.abs(each - wanted).max()) for each in (output, np.concatenate(continued))),
    )


def _continued(files: Files, manifest: Manifest, backend: str, inputs: Floats) -> Values:
    """Return the output for windows whose second half another session runs, from the membranes that the first recorded.

    So the inputs and outputs of the head are all of its state, and it goes on from any membranes, not only from rest.

    Args:
        files: the bundle, or the folder of the models.
        manifest: the manifest of the bundle.
        backend: one of `tcja_runtime.choices.PROVIDERS`.
        inputs: the windows [N, T, ...].
    """
    split, middle = manifest.streaming, manifest.time_steps // 2
    membranes = {membrane_tensor(s.layer): s.membranes(len(inputs)) for s in split.states}
    steps = []
    for part in (inputs[:, :middle], inputs[:, middle:]):
        with contextlib.closing(OnnxRuntimeSession.open(read_model(files, HEAD), backend=backend)) as head:
            for frame in np.moveaxis(part, 1, 0):
                steps.append(head.run({split.frame: np.ascontiguousarray(frame), **membranes}))
                membranes = {membrane_tensor(s.layer): steps[-1][next_membrane_tensor(s.layer)] for s in split.states}
    names = [kept_tensor(feature.name) for feature in split.features]
    kept = {name: np.stack([made[name] for made in steps], 1) for name in names}
    with contextlib.closing(OnnxRuntimeSession.open(read_model(files, TAIL), backend=backend)) as tail:
        return tail.run(kept)[manifest.output]
