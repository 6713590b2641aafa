"""Head and tail as one model: what the model means, and how its states are named.

test_stepwise.py compares its answers with those of streams, for all networks and neurons.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tcja_exporters.graph import implicit_state
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec

from ... import networks
from ..peers.joined import Joined, join
from ..peers.streamed import Both, split

pytestmark = pytest.mark.slow

FRAMES = InputContract.frames(5, 8, 8)
SPEC = NeuronSpec.leaky(decay_input=True, tau=3.0, v_reset=-0.5)


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Both:
    return split(networks.streamable(SPEC), FRAMES, tmp_path_factory.mktemp("split"))


def test_another_evaluator_answers_the_same(both):
    """That of onnx: the model means what ONNX says, not only what ONNX Runtime makes of it."""
    made = Joined.of(both, 1)
    evaluator = ReferenceEvaluator(onnx.load(both.folder / "joined.onnx"))
    frames = np.random.default_rng(0).poisson(1.0, (2 * 5, 1, *FRAMES.shape[1:])).astype(np.float32)
    complete = []
    for frame in frames:
        feeds = {made.frame: frame, **{name: value.copy() for name, value in made.values.items()}}
        theirs = dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))
        ours = made.push(frame, np.array([0]))
        assert theirs.keys() == ours.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-5, err_msg=name)
        complete.append(bool(ours["complete"]))
    assert complete == [False] * 4 + [True] + [False] * 4 + [True]


def test_membranes_begin_at_rest(both):
    starts = [each.start for each in join(both).state if each.before.startswith("v_before/")]
    assert len(starts) == 2
    assert all((start == -0.5).all() for start in starts)


def test_states_are_paired_by_the_order_of_their_names(both):
    """As Triton pairs them, also where the name of a layer is the beginning of another one's."""
    first = both.split.streaming.states[0]
    states = [dataclasses.replace(first, layer=name) for name in ("a", "a/b", "a.b", "a b", "ab")]
    head, tail = (onnx.load(both.folder / file, load_external_data=False) for file in (HEAD, TAIL))
    state = implicit_state.joined(head, tail, dataclasses.replace(both.split.streaming, states=states), 5).state
    assert {"v_before/a.b", "kept_before/" + both.split.streaming.features[0].name} <= {each.before for each in state}
    assert sorted(state, key=lambda each: each.before) == sorted(state, key=lambda each: each.after)
