"""A node of the plugin: its name, and the attribute with its neuron and pooling."""

from __future__ import annotations

import dataclasses
import json

from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.tensorrt.plugin.kernel import Kernel, width

NAME, NAMESPACE, VERSION = "TcjaLif", "tcja", "1"


FIELD = "kernel"


def described(spec: NeuronSpec, pool: int = 1) -> str:
    """The attribute `kernel` of a node, from its neuron and the k of the k x k maximum pooling after it."""
    return json.dumps({**dataclasses.asdict(spec), "pool": pool})


def pool_of(text: str) -> int:
    """The k of the pooling, from the attribute `kernel` of a node."""
    return int(json.loads(text)["pool"])


def kernel_of(text: str, half: bool, window: tuple[int, ...]) -> Kernel:
    """The kernel of a node.

    Args:
        text: the attribute `kernel` of the node.
        half: whether the currents are float16; else they are float32.
        window: the shape of the currents of one window and step, (C, H, W); -1 where it varies.
    """
    fields = json.loads(text)
    pool = fields.pop("pool")
    wide = 1 if -1 in window else width(window, half, pool)
    return Kernel(NeuronSpec.from_dict(fields), half, wide, pool)
