"""Head and tail of a streamed network as one session of whole windows, so that whatever judges a network judges them.

Each step of a window is a run of the head, and the tail is run on what they leave. As with any session, parts can be
looked at and be given (`tcja_runtime.model_file.subgraph`): the head's tensors have the axes of the whole model's, at
T = 1, so that what is asked for is joined along time, and what is given is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.session import Session
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.data.contract import Floats
from tcja_runtime.model_file import subgraph
from tcja_runtime.model_file.subgraph import Dimensions
from tcja_runtime.model_file.tensor_names import given_tensor, kept_tensor, membrane_tensor, next_membrane_tensor

FILES = f"{HEAD} and {TAIL}"
Arrays = dict[str, npt.NDArray[Any]]


def opened(
    folder: Path, manifest: Manifest, backend: str, outputs: Sequence[str], given: Mapping[str, Dimensions]
) -> Session:
    """A part of a streamed network; without outputs, the network as it is.

    Args:
        folder: of the models.
        manifest: of the bundle.
        backend: one of `tcja_runtime.choices.PROVIDERS`.
        outputs: tensors to compute.
        given: tensors to take as inputs, each with its dimensions.
    """
    if not outputs:
        return _Whole(folder, manifest, backend)
    return _Part(folder, manifest, backend, outputs, given)


class _Whole:
    """Windows pushed frame by frame, each a stream."""

    def __init__(self, folder: Path, manifest: Manifest, backend: str) -> None:
        self._manifest = manifest
        self._head, self._tail = (OnnxRuntimeSession(folder / file, backend=backend) for file in (HEAD, TAIL))
        self.inputs: Sequence[str] = [manifest.input.name]

    def run(self, feeds: Mapping[str, Floats]) -> Arrays:
        windows, manifest = feeds[self._manifest.input.name], self._manifest
        streams = Streams(manifest.streaming, manifest.signature, self._head, self._tail, len(windows))
        for frames in np.moveaxis(windows, 1, 0):
            answered = streams.push(np.ascontiguousarray(frames))
        return {self._manifest.output: answered.outputs}

    def close(self) -> None:
        self._head.close()
        self._tail.close()


class _Part:
    """What head and tail compute of some tensors, given others."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        backend: str,
        outputs: Sequence[str],
        given: Mapping[str, Dimensions],
    ) -> None:
        self._manifest, self._asked = manifest, outputs
        self._taps = {tap.tensor: tap for tap in manifest.taps}
        weights = {name for weight in manifest.weights for name in (weight.tensor, weight.bias)}
        self._constant = {given_tensor(name) for name in given if name in weights}
        self._moving = {given_tensor(name): self._time_axis(name) for name in given if name not in weights}

        def session(file: str, asked: Sequence[str], taken: Mapping[str, Dimensions]) -> Session | None:
            return OnnxRuntimeSession(folder / file, asked, taken, backend=backend) if asked else None

        head = (folder / HEAD).read_bytes()
        made = subgraph.makers(head).keys() - {manifest.output}
        self._tail = session(TAIL, [name for name in outputs if name not in made], given)
        kept = [kept_tensor(feature.name) for feature in manifest.streaming.features]
        self._kept = [name for name in kept if self._tail and name in self._tail.inputs]
        self._early = [name for name in outputs if name in made]
        # Membranes are given, too, so that they can be of any size, as currents are on which neurons are run alone.
        states = {membrane_tensor(s.layer): (None,) * (len(s.shape) + 1) for s in manifest.streaming.states}
        asked, taken = [*self._early, *self._kept], {**given, **states}
        needed = subgraph.inputs(subgraph.part(head, asked, taken)) if asked else []
        self._states = [s for s in manifest.streaming.states if given_tensor(membrane_tensor(s.layer)) in needed]
        self._head = session(HEAD, [*asked, *(next_membrane_tensor(s.layer) for s in self._states)], taken)
        inside = {*self._kept, *map(given_tensor, states), manifest.streaming.frame}
        read = [name for part in (self._head, self._tail) if part for name in part.inputs]
        source = [manifest.input.name] if manifest.streaming.frame in read else []
        self.inputs: Sequence[str] = [*source, *dict.fromkeys(name for name in read if name not in inside)]

    def run(self, feeds: Mapping[str, Floats]) -> Arrays:
        steps = list(self._steps(self._head, feeds)) if self._head else []
        found = {name: self._in_time(name, [made[name] for made in steps]) for name in self._early}
        if self._tail:
            taken = {name: np.stack([made[name] for made in steps], 1) for name in self._kept}
            given = {name: feeds[name] for name in self._tail.inputs if name not in taken}
            found |= self._tail.run({**taken, **given})
        return found

    def _steps(self, head: Session, feeds: Mapping[str, Floats]) -> Iterator[Arrays]:
        """What the head returns at each step."""
        frame, constant = (
            self._manifest.streaming.frame,
            {name: feeds[name] for name in self._constant & {*head.inputs}},
        )
        moving = {name: np.moveaxis(feeds[name], axis, 0) for name, axis in self._moving.items() if name in head.inputs}
        axes = {name: axis for name, axis in self._moving.items() if name in moving}
        if frame in head.inputs:
            moving[frame] = np.moveaxis(feeds[self._manifest.input.name], 1, 0)
        # One membrane stands for all of a layer at first.
        membranes: Arrays = {
            given_tensor(membrane_tensor(s.layer)): np.full((1,) * (len(s.shape) + 1), s.start, np.float32)
            for s in self._states
        }
        for each in zip(*moving.values(), strict=True):
            now = {
                name: np.expand_dims(value, axes[name]) if name in axes else value
                for name, value in zip(moving, each, strict=True)
            }
            made = head.run({**constant, **now, **membranes})
            for state in self._states:
                membranes[given_tensor(membrane_tensor(state.layer))] = made[next_membrane_tensor(state.layer)]
            yield made

    def _time_axis(self, name: str) -> int:
        """Of what is given or asked for: of currents and spikes the first, of a tap as it says."""
        return self._taps[name].axes[0] if name in self._taps else 0

    def _in_time(self, name: str, steps: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """A tensor of the head's at all steps, as the whole model has it."""
        tap = self._taps.get(name)
        if tap is None or not tap.unfold:
            return np.concatenate(steps, self._time_axis(name))
        return np.stack(steps, tap.axes[0]).reshape(-1, *steps[0].shape[1:])

    def close(self) -> None:
        for part in (self._head, self._tail):
            if part:
                part.close()
