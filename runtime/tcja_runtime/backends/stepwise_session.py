"""The head and the tail of a stepwise network as one session that runs whole windows.

With it, parity compares a stepwise network in the same way as any other model. The head runs once for each time step,
and the tail runs once on the features of all steps. As in any session, a part of the network can be loaded, which
computes some tensors and takes others as inputs (`tcja_runtime.model_file.subgraph`). The tensors of the head have the
same axes as in the whole model, with T = 1. So a tensor that is computed is joined along the time axis from the results
of all steps, and a tensor that is given is cut along the time axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.session import Session
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.stepwise import HEAD, TAIL, State
from tcja_runtime.data.contract import Floats
from tcja_runtime.files.folder import Files, read_model
from tcja_runtime.model_file import subgraph
from tcja_runtime.model_file.subgraph import Dimensions
from tcja_runtime.model_file.tensor_names import given_tensor, kept_tensor, membrane_tensor, next_membrane_tensor

FILES = f"{HEAD} and {TAIL}"
Arrays = dict[str, npt.NDArray[Any]]


def opened(
    files: Files, manifest: Manifest, backend: str, outputs: Sequence[str], given: Mapping[str, Dimensions]
) -> Session:
    """Load a part of a stepwise network, or the whole network.

    Args:
        files: the bundle, or the folder of the models.
        manifest: the manifest of the bundle.
        backend: one of `tcja_runtime.choices.PROVIDERS`.
        outputs: the names of the tensors that the part computes; if it is empty, the whole network is loaded.
        given: the dimensions of each tensor that the part takes as an input, by the tensor's name.

    Raises:
        BadInput: ONNX Runtime cannot load a model.
        Unavailable: ONNX Runtime, the provider, or a library that it needs is missing.
    """
    if not outputs:
        head, tail = (OnnxRuntimeSession.open(read_model(files, file), backend=backend) for file in (HEAD, TAIL))
        return _Whole(manifest, head, tail)
    streaming, whole = manifest.streaming, files.read(HEAD)
    in_head = subgraph.makers(whole).keys() - {manifest.output}
    early, late = [n for n in outputs if n in in_head], [n for n in outputs if n not in in_head]
    tail_part = OnnxRuntimeSession.open(read_model(files, TAIL), late, given, backend=backend) if late else None
    features = [kept_tensor(feature.name) for feature in streaming.features]
    asked = [*early, *(name for name in features if tail_part and name in tail_part.inputs)]
    if not asked:
        return _Part(manifest, None, tail_part, early, given)
    # The membranes become given tensors with axes of any size. `Probe.neurons` runs a layer with currents of any size.
    taken = {**given, **{membrane_tensor(s.layer): (None,) * (len(s.shape) + 1) for s in streaming.states}}
    needed = subgraph.inputs(subgraph.part(whole, asked, taken))
    after = [next_membrane_tensor(s.layer) for s in streaming.states if _given_membrane(s) in needed]
    head_part = OnnxRuntimeSession.open(read_model(files, HEAD), [*asked, *after], taken, backend=backend)
    return _Part(manifest, head_part, tail_part, early, given)


def _given_membrane(state: State) -> str:
    return given_tensor(membrane_tensor(state.layer))


class _Whole:
    """A session of the whole network. Each window of a batch is one stream of `Streams`, whose frames are pushed.

    Args:
        manifest: the manifest of the bundle.
        head: a session of the head.
        tail: a session of the tail.
    """

    def __init__(self, manifest: Manifest, head: Session, tail: Session) -> None:
        self._manifest, self._head, self._tail = manifest, head, tail
        self.inputs: Sequence[str] = [manifest.input.name]

    def run(self, feeds: Mapping[str, Floats]) -> Arrays:
        windows, manifest = feeds[self._manifest.input.name], self._manifest
        streams = Streams(manifest.streaming, manifest.signature, self._head, self._tail, len(windows))
        for frames in np.moveaxis(windows, 1, 0):
            completed = streams.push(np.ascontiguousarray(frames))
        return {manifest.output: completed.outputs}

    def close(self) -> None:
        self._head.close()
        self._tail.close()


class _Part:
    """A session of a part of the network: a part of the head, a part of the tail, or both.

    Args:
        manifest: the manifest of the bundle.
        head: a session of the part of the head; None if no tensor of the head is needed.
        tail: a session of the part of the tail; None if no tensor of the tail is needed.
        early: the names of the requested tensors that the head computes.
        given: the names of the tensors that are given.
    """

    def __init__(
        self, manifest: Manifest, head: Session | None, tail: Session | None, early: Sequence[str], given: Iterable[str]
    ) -> None:
        self._head, self._tail, self._early = head, tail, early
        self._source, self._frame = manifest.input.name, manifest.streaming.frame
        self._taps = {tap.tensor: tap for tap in manifest.taps}
        weights = {name for weight in manifest.weights for name in (weight.tensor, weight.bias)}
        self._constant = {given_tensor(name) for name in given if name in weights}
        self._moving = {given_tensor(name): self._time_axis(name) for name in given if name not in weights}
        features = [kept_tensor(feature.name) for feature in manifest.streaming.features]
        self._kept = [name for name in features if tail and name in tail.inputs]
        self._states = [s for s in manifest.streaming.states if head and _given_membrane(s) in head.inputs]

    @property
    def inputs(self) -> Sequence[str]:
        """The names of the inputs: the network's input, if the part reads it, and the given tensors."""
        inside = {*self._kept, *map(_given_membrane, self._states), self._frame}
        read = [name for part in (self._head, self._tail) if part for name in part.inputs]
        source = [self._source] if self._frame in read else []
        return [*source, *dict.fromkeys(name for name in read if name not in inside)]

    def run(self, feeds: Mapping[str, Floats]) -> Arrays:
        steps = list(self._steps(self._head, feeds)) if self._head else []
        found = {name: self._in_time(name, [made[name] for made in steps]) for name in self._early}
        if self._tail:
            taken = {name: np.stack([made[name] for made in steps], 1) for name in self._kept}
            given = {name: feeds[name] for name in self._tail.inputs if name not in taken}
            found |= self._tail.run({**taken, **given})
        return found

    def _steps(self, head: Session, feeds: Mapping[str, Floats]) -> Iterator[Arrays]:
        """Yields the outputs of the head at each time step."""
        constant = {name: feeds[name] for name in self._constant & {*head.inputs}}
        moving = {name: np.moveaxis(feeds[name], axis, 0) for name, axis in self._moving.items() if name in head.inputs}
        axes = {name: axis for name, axis in self._moving.items() if name in moving}
        if self._frame in head.inputs:
            moving[self._frame] = np.moveaxis(feeds[self._source], 1, 0)
        # Membranes that broadcast are enough for the first step.
        membranes: Arrays = {_given_membrane(state): state.first for state in self._states}
        for each in zip(*moving.values(), strict=True):
            now = {
                name: np.expand_dims(value, axes[name]) if name in axes else value
                for name, value in zip(moving, each, strict=True)
            }
            made = head.run({**constant, **now, **membranes})
            for state in self._states:
                membranes[_given_membrane(state)] = made[next_membrane_tensor(state.layer)]
            yield made

    def _time_axis(self, name: str) -> int:
        """The index of the time axis of a tensor: 0 for currents and spikes; for a tap, as its `axes` say."""
        return self._taps[name].axes[0] if name in self._taps else 0

    def _in_time(self, name: str, steps: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Returns a tensor of the whole model, joined from the tensors that the head computed at the time steps."""
        tap = self._taps.get(name)
        if tap is None or not tap.unfold:
            return np.concatenate(steps, self._time_axis(name))
        return np.stack(steps, tap.axes[0]).reshape(-1, *steps[0].shape[1:])

    def close(self) -> None:
        for part in (self._head, self._tail):
            if part:
                part.close()
