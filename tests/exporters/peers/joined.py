"""A split network joined to one model with its state as inputs and outputs, beside the streams of head and tail."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnxruntime

from tcja_exporters.graph import implicit_state
from tcja_exporters.graph.implicit_state import COMPLETE, Carried
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.data.contract import Floats

from .streamed import Both


@dataclasses.dataclass
class Joined:
    """The joined model in ONNX Runtime, which gets every state back that it returned."""

    session: onnxruntime.InferenceSession
    frame: str
    state: list[Carried]
    values: dict[str, np.ndarray]

    @classmethod
    def of(cls, both: Both, streams: int) -> Joined:
        made = join(both)
        file = both.folder / "joined.onnx"
        file.write_bytes(made.model.SerializeToString())
        onnx.checker.check_model(file, full_check=True)
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        session = onnxruntime.InferenceSession(file, options)
        values = {each.before: np.repeat(each.start[None], streams, 0) for each in made.state}
        return cls(session, both.split.streaming.frame, made.state, values)

    def push(self, frames: np.ndarray, at: np.ndarray) -> dict[str, np.ndarray]:
        names = [value.name for value in self.session.get_outputs()]
        feeds = {self.frame: frames, **{name: value[at] for name, value in self.values.items()}}
        made = dict(zip(names, self.session.run(None, feeds), strict=True))
        for each in self.state:
            self.values[each.before][at] = made[each.after]
        return made


def join(both: Both) -> implicit_state.StreamModel:
    head, tail = (onnx.load(both.folder / file, load_external_data=False) for file in (HEAD, TAIL))
    return implicit_state.joined(head, tail, both.split.streaming, both.contract.shape[0])


def check_in_any_order(both: Both, windows: Floats) -> None:
    """Six windows as frames of three streams, which are at different steps, in batches as a server makes them.

    All answers are those of `Streams`, to the bit.
    """
    steps, *item = both.contract.shape
    frames = windows.reshape(3, 2 * steps, *item)
    streams, joined, rng = both.streams(3), Joined.of(both, 3), np.random.default_rng(0)
    (output,) = (value.name for value in both.split.tail.graph.output)
    seen, complete_windows, batched = np.zeros(3, int), 0, 0
    while seen.min() < frames.shape[1]:
        open_ = np.flatnonzero(seen < frames.shape[1])
        at = rng.permutation(open_)[: rng.integers(1, len(open_) + 1)]
        now = frames[at, seen[at]]
        expected, made = streams.push(now, at), joined.push(now, at)
        complete = made[COMPLETE][:, 0]
        assert at[complete].tolist() == expected.streams.tolist()
        np.testing.assert_array_equal(made[output][complete], expected.outputs)
        assert not made[output][~complete].any()
        seen[at] += 1
        complete_windows += len(expected.streams)
        batched += len(at) > 1
    assert complete_windows == 6
    assert batched
