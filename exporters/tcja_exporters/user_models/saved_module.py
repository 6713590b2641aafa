"""Runs the module that a checkpoint stores, and compares its output with that of the network that got its weights."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from tcja_exporters.libraries import reset
from tcja_exporters.user_models.driven import Driven
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.counting import counted
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.errors import BadInput, first_line


def compare_outputs(
    saved: nn.Module, network: nn.Module, contract: InputContract, layout: str, inputs: Floats, path: Path
) -> list[str]:
    """Compare the outputs of a saved module and of the network on the same windows, in float64.

    Args:
        saved: the module in the checkpoint.
        network: the network that got its weights.
        contract: the input of the network.
        layout: the order of the axes in which both take frames.
        inputs: the windows, [N, *contract.shape].
        path: the checkpoint, for messages.

    Returns:
        A line on what was compared. If the network does not run, the list is empty: the conversion says why.

    Raises:
        BadInput: the outputs differ.
    """
    try:
        ours = _answer(network, contract, layout, inputs)
    except Exception:  # a user's code can fail in any way
        return []
    try:
        theirs = _answer(saved, contract, layout, inputs)
    except Exception as error:  # a user's code can fail in any way
        return [f"{CHECK}the saved module does not run here ({first_line(error)[:80]}), so its output is not compared"]
    if theirs.shape != ours.shape:
        raise BadInput(
            f"the module saved in {path} is not this network: its output has the shape {tuple(theirs.shape)}, that of "
            f"the network {tuple(ours.shape)}"
        )
    if not torch.allclose(theirs, ours, rtol=1e-9, atol=1e-9, equal_nan=True):
        most = float((theirs - ours).abs().max())
        raise BadInput(
            f"the module saved in {path} is not this network: on {counted(len(inputs), 'window')} with the same "
            "weights, their "
            f"outputs differ by up to {most:.3g}; build the network as it was trained, or save the state_dict alone "
            "if the network is right"
        )
    return [f"the saved module and the network return the same output on {counted(len(inputs), 'window')}"]


def _answer(net: nn.Module, contract: InputContract, layout: str, inputs: Floats) -> Tensor:
    """Return the output of a copy of a network in float64."""
    net = copy.deepcopy(net).double().eval()
    reset(net)
    with torch.no_grad():
        answer: Tensor = Driven(net, contract, layout)(torch.from_numpy(inputs).double())
    return answer
