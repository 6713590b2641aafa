"""Runs stepwise networks on many streams of frames, and keeps the state of each stream.

    streams = Streams.open(bundle, 4)       # four cameras, so four streams
    done = streams.push(frames)             # one frame of each stream, [4, P, H, W]
    done = streams.push(frame, [2])         # one frame of the third stream only, [1, P, H, W]

The network is split into head and tail (`tcja_runtime.bundle.stepwise`). For each frame, the head computes one time
step of the frame's stream. The streams may be at different steps of their windows. After the last frame of a window,
the tail computes the output of the window. The next window of the stream starts with all membranes at their initial
values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tcja_runtime.backends.alone import rows_as_alone
from tcja_runtime.backends.checked import InputRange, check_finite
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.proven import Proven
from tcja_runtime.backends.session import Session
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.network_signature import NetworkSignature
from tcja_runtime.bundle.stepwise import HEAD, TAIL, Streaming
from tcja_runtime.choices import PROVIDERS
from tcja_runtime.counting import agree, counted
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.trace import Values
from tcja_runtime.files.folder import read_model
from tcja_runtime.model_file.tensor_names import kept_tensor, membrane_tensor, next_membrane_tensor
from tcja_runtime.records import argument

LARGEST = 2**36
"""The largest number of bytes that the state of all streams may take."""
_MOST_TOGETHER = 16
"""The most frames of a batch that is compared with frames that run alone."""

Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class CompletedWindows:
    """The outputs of the K windows that a call of `Streams.push` completed.

    Attributes:
        streams: the number of the stream of each window, int64 [K], in the order in which the frames were pushed.
        outputs: the output of the network for each window, [K, ...].
    """

    streams: Indices
    outputs: Values


class Streams:
    """Streams of frames that one network runs stepwise. Each stream has its own time step and its own state.

    Args:
        split: how the network is split into head and tail.
        signature: the signature of the whole network.
        head: a session of the head.
        tail: a session of the tail.
        count: the number of streams. Their state is allocated at once.
        taken: the values that the network takes; None takes all numbers.

    Attributes:
        together: the most frames that run in one batch; None for no limit. `as_alone` sets it.
        bytes: the memory that the state of all streams takes, in bytes.
        steps: for each stream, the number of frames of its current window that were pushed, int64 [count].

    Raises:
        BadInput: `count` is less than 1, or the state would take more than `LARGEST` bytes.
    """

    def __init__(
        self,
        split: Streaming,
        signature: NetworkSignature,
        head: Session,
        tail: Session,
        count: int = 1,
        taken: InputRange | None = None,
    ) -> None:
        self._taken = taken
        self.together: int | None = None
        self._split, self._signature, self._time_steps = split, signature, signature.time_steps
        if type(count) is not int or count < 1:
            raise BadInput(f"there must be at least 1 stream, not {count!r}; give a whole number")
        self._head, self._tail = head, tail
        self.bytes = count * self._split.bytes(self._time_steps)
        if self.bytes > LARGEST:
            raise BadInput(
                f"{counted(count, 'stream')} {agree(count, 'needs', 'need')} {self.bytes:,} bytes of state, more "
                f"than {LARGEST:,}; take fewer"
            )
        self.steps: Indices = np.zeros(count, np.int64)
        self._start = {state.layer: state.first for state in self._split.states}
        self._membranes = {state.layer: state.membranes(count) for state in self._split.states}
        self._kept = {f.name: np.zeros((count, self._time_steps, *f.shape), np.float32) for f in self._split.features}

    @classmethod
    def open(cls, bundle: Bundle, count: int = 1, *, backend: str = "onnxruntime") -> Streams:
        """Load the head and the tail of a bundle in ONNX Runtime.

        Args:
            bundle: a bundle that was exported with `streaming`.
            count: the number of streams.
            backend: one of `tcja_runtime.choices.PROVIDERS`.

        Raises:
            BadInput: `bundle` is not a `Bundle`, `count` is less than 1, the state would take too much memory, the
                backend is not ONNX Runtime, or the bundle was exported without `streaming`.
            Unavailable: ONNX Runtime, or the provider of the backend, is missing.
        """
        manifest = argument("bundle", bundle, Bundle).manifest
        if not manifest.streaming:
            raise BadInput(f"{bundle.path} was exported without `streaming`, so it cannot run frame by frame")
        if backend not in PROVIDERS:
            raise BadInput(f"backend {backend!r} cannot run frame by frame; choose one of {', '.join(PROVIDERS)}")
        head, tail = (
            OnnxRuntimeSession.open(read_model(bundle, file), backend=backend, keeps_memory=True)
            for file in (HEAD, TAIL)
        )
        return cls(manifest.streaming, manifest.signature, head, tail, count, InputRange(Proven(bundle)))

    def as_alone(self) -> Streams:
        """Let each stream get the bits that it would get if it were pushed alone. Returns this object.

        As many frames run in one batch as change no bit (`tcja_runtime.backends.alone`), and the tail runs one window
        at a time: what it returns may be spikes, which do not show the sums behind them. The head returns the membranes
        of all its layers. This runs the head on up to n (n + 1) / 2 frames of n streams, and takes as long.
        """
        shapes = {membrane_tensor(state.layer): state.shape for state in self._split.states}
        shapes[self._split.frame] = self._signature.input.shape[1:]
        self.together = rows_as_alone(self._head, shapes, min(len(self), _MOST_TOGETHER))
        return self

    def __len__(self) -> int:
        return len(self.steps)

    def push(self, frames: Floats, streams: Sequence[int] | Indices | None = None) -> CompletedWindows:
        """Take one frame of each of S streams.

        Args:
            frames: the frames, [S, P, H, W]: one time step of the network's input.
            streams: the number of the stream that each frame belongs to, [S]; no number may occur twice. None for all
                streams in order.

        Returns:
            The outputs of the windows that these frames complete. The streams of these windows are then at the begin of
            their next window.

        Raises:
            BadInput: the frames or the numbers cannot be used. No state has changed then.
            Unavailable: this machine has not enough memory. No state has changed then; push the frames again.
        """
        at = self._indices(streams)
        frames = np.asarray(frames)
        wanted = (len(at), *self._signature.input.shape[1:])
        if frames.shape != wanted or frames.dtype.kind not in "fiub":
            raise BadInput(
                f"frames are {frames.dtype} {list(frames.shape)}; they must be numbers {list(wanted)}, one frame "
                f"for each of {len(at)} streams"
            )
        with np.errstate(over="ignore"):
            numbers = np.ascontiguousarray(frames, np.float32)
        if not np.isfinite(numbers).all():
            check_finite(frames, "frames have")
        if self._taken is not None:
            self._taken.check(numbers, "frames have")
        feeds = {self._split.frame: numbers}
        every = len(at) == len(self) and bool((at == np.arange(len(self))).all())
        for layer, membranes in self._membranes.items():
            feeds[membrane_tensor(layer)] = membranes if every else membranes[at]
        made = self._run(self._head, feeds, self.together)
        steps = self.steps[at]
        for name, kept in self._kept.items():
            kept[at, steps] = made[kept_tensor(name)]
        whole = at[steps + 1 == self._time_steps]
        outputs = self._outputs(whole)
        for layer, membranes in self._membranes.items():
            after = made[next_membrane_tensor(layer)]
            if every and after.flags.writeable:
                self._membranes[layer] = after
            else:
                membranes[at] = after
        self.steps[at] += 1
        self._rest(whole)
        return CompletedWindows(whole, outputs)

    def reset(self, streams: Sequence[int] | Indices | None = None) -> None:
        """Start a new window in some streams. The frames of their current windows are dropped.

        Args:
            streams: the numbers of the streams; None for all streams.

        Raises:
            BadInput: there is no stream with one of the numbers, or a number occurs twice.
        """
        self._rest(self._indices(streams))

    def _outputs(self, whole: Indices) -> Values:
        if not len(whole):
            return np.zeros((0, *self._signature.output_shape), np.float32)
        kept = {kept_tensor(name): values[whole] for name, values in self._kept.items()}
        return self._run(self._tail, kept, None if self.together is None else 1)[self._signature.output]

    @staticmethod
    def _run(session: Session, feeds: Mapping[str, Floats], most: int | None) -> Mapping[str, Values]:
        """Run a session on a batch, `most` rows at a time. Returns the outputs of all rows by name."""
        count = len(next(iter(feeds.values())))
        if most is None or count <= most:
            return session.run(feeds)
        parts = [
            session.run({name: values[at : at + most] for name, values in feeds.items()})
            for at in range(0, count, most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _rest(self, at: Indices) -> None:
        self.steps[at] = 0
        for layer, membranes in self._membranes.items():
            membranes[at] = self._start[layer]

    def _indices(self, streams: Sequence[int] | Indices | None) -> Indices:
        if streams is None:
            return np.arange(len(self))
        at = np.asarray(streams)
        if at.ndim != 1 or not len(at) or at.dtype.kind not in "iu":
            raise BadInput(f"streams are {at.dtype} {list(at.shape)}; name at least one by its number, such as [0, 2]")
        if at.min() < 0 or at.max() >= len(self):
            wrong = int(at[(at < 0) | (at >= len(self))][0])
            raise BadInput(f"there is no stream {wrong}; the {len(self)} streams are 0 to {len(self) - 1}")
        if len(np.unique(at)) < len(at):
            twice = next(int(i) for i in at if (at == i).sum() > 1)
            raise BadInput(f"stream {twice} is named twice; push its frames one after the other")
        return at.astype(np.int64)
