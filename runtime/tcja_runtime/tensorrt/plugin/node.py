"""A node of the plugin: the names of the plugin, and the attribute with the neuron and the pooling of the node."""

from __future__ import annotations

import dataclasses
import json

from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.tensorrt.plugin.kernel import Kernel, width

NAME, NAMESPACE, VERSION = "TcjaLif", "tcja", "1"


FIELD = "kernel"


def described(spec: NeuronSpec, pool: int = 1) -> str:
    """Returns the text of a node's attribute `kernel`.

    Args:
        spec: the constants of the node's neurons.
        pool: the k of the k x k maximum pooling after the neurons; 1 if there is none.
    """
    return json.dumps({**dataclasses.asdict(spec), "pool": pool})


def pool_of(text: str) -> int:
    """Returns the k of the k x k pooling from the text of a node's attribute `kernel`; 1 if there is none."""
    return int(json.loads(text)["pool"])


def kernel_of(text: str, half: bool, window: tuple[int, ...]) -> Kernel:
    """Returns the kernel of a node.

    Args:
        text: the text of the node's attribute `kernel`.
        half: whether the currents are float16; else they are float32.
        window: the shape of the currents of one window and time step, (C, H, W); -1 for an axis of any size.
    """
    fields = json.loads(text)
    pool = fields.pop("pool")
    wide = 1 if -1 in window else width(window, half, pool)
    return Kernel(NeuronSpec.from_dict(fields), half, wide, pool)
