import numpy as np
import pytest
import torch

from tcja_exporters.user_models.conversion import convert
from tcja_exporters.user_models.readout import answer_of, chosen_output, output_chosen
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput

from ..peers import own
from ..peers.own import CONTRACT, Returning, windows

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.parametrize("time_steps", [1, 2, 3])  # 2 is also the number of windows
@pytest.mark.parametrize(
    ("arranged", "per_step"),
    [
        (lambda s: s, True),
        (lambda s: s.transpose(0, 1), True),
        (lambda s: s.mean(0), False),
        (lambda s: (s.mean(0), "more"), False),
    ],
)
def test_answers_may_be_arranged_in_many_ways(arranged, per_step, time_steps):
    network = own.awake(Returning(arranged))
    contract = InputContract.of((time_steps, 2, 8, 8))
    x = np.random.default_rng(0).poisson(1.0, (2, *contract.shape)).astype(np.float32)
    found = convert(network, contract, x, layout="TN")
    with torch.no_grad():
        rates = network.lif(network.fc(torch.from_numpy(x).transpose(0, 1).flatten(2))).mean(0)
        torch.testing.assert_close(found.model(torch.from_numpy(x)), rates)
    assert len(found.classes) == 6


@pytest.mark.parametrize(
    ("arranged", "message"),
    [
        (lambda s: s.sum(), r"the network returns shape \[\] for windows of 4 steps; it must return \[N, classes\]"),
        (lambda s: s.mean(0).T, r"the network returns shape \[6, 4\]"),
        (
            lambda s: {"spikes": s},
            "the network returns a dict with the keys spikes; choose the output with `output`",
        ),
        (lambda s: s.mean(0) + s.mean(), "the output for a window alone differs from that in a batch"),
        (lambda s: s.mean((0, 2)), r"the network returns shape \[4\] for windows of 4 steps; it must return \[N"),
        (lambda s: s.mean(0)[:, :0], r"the network returns shape \[4, 0\], which is empty; it must return \[N, cl"),
        (lambda s: s.mean(0) > 0.3, "the network returns bool; return floating-point scores"),
        (lambda s: s.sum(0).argmax(1), "the network returns int64; return floating-point scores"),
        (lambda s: tuple(s[:0]), "the network returns an empty tuple; it must return a tensor"),
        (lambda s: s.mean(0) / 0, "the network's output holds NaN or infinite values"),
        (
            lambda s: s.permute(1, 2, 0),
            r"returns \[N, 6, 4\] for 4 time steps, with the time axis last; return \[N, T, classe",
        ),
        (
            lambda s: s[..., :4].permute(1, 2, 0),
            r"returns \[N, 4, 4\], in which both last axes could be the 4 time steps; return \[T, N, classes\]",
        ),
        (
            lambda s: list(s.unbind()),
            r"returns 4 tensors of shape \[4, 6\]; if they are the outputs of the time steps, return torch.stack\(out",
        ),
        (lambda s: s.unbind(), r"returns 4 tensors of shape \[4, 6\]; if they are the outputs of the time steps"),
        (
            lambda s: (s.mean(0), s.mean(0)[:, :3]),
            r"returns tensors of shapes \[4, 6\] and \[4, 3\], and the second has no spiking layer's shape",
        ),
    ],
)
def test_answers_of_other_shapes_are_refused(arranged, message):
    with pytest.raises(BadInput, match=message):
        convert(own.awake(Returning(arranged)), CONTRACT, windows(), layout="TN")


def test_states_after_the_answer_are_left_out_and_it_is_said():
    said = "check this: its forward returns 3 values; the first is the output"
    found = convert(own.awake(Returning(lambda s: (s, s[-1], {"more": s}))), CONTRACT, windows(), layout="TN")
    assert said in found.evidence
    found = convert(own.awake(Returning(lambda s: s)), CONTRACT, windows(), layout="TN")
    assert not any("the first is the output" in line for line in found.evidence)


def test_one_of_several_values_is_chosen():
    spikes, mem = torch.ones(4, 2), torch.zeros(4, 2)
    with output_chosen("1"):
        chosen = chosen_output()
    assert chosen_output() == ""
    assert answer_of((spikes, mem), chosen) is mem
    assert answer_of((spikes, mem)) is spikes
    assert answer_of({"spk": spikes, "mem": mem}, "mem") is mem
    with pytest.raises(BadInput, match=r"`output` 2 is not one of the network's values: 0, 1$"):
        answer_of((spikes, mem), "2")
    with pytest.raises(BadInput, match="`output` mem is not one of the network's values: spk"):
        answer_of({"spk": spikes}, "mem")
    with pytest.raises(BadInput, match="`output` 1 chooses one of several values, and the network returns one; leave"):
        answer_of(spikes, "1")
