"""The names of plugins that are launched at run time. What a plugin computes, standard operators compute."""

from __future__ import annotations

import enum
import json

import onnx
from onnx import helper


class IPluginV3:
    pass


class IPluginV3OneCore:
    pass


class IPluginV3OneBuild:
    pass


class IPluginV3OneRuntime:
    pass


class IPluginCreatorV3One:
    pass


class PluginFieldType(enum.Enum):
    CHAR, INT32 = range(2)


class TensorRTPhase(enum.Enum):
    BUILD, RUNTIME = range(2)


class PluginField:
    def __init__(self, name, data, kind) -> None:
        self.name, self.data = name, data


PluginFieldCollection = list


class _Registry:
    def __init__(self) -> None:
        self._creators = {}

    def register_creator(self, creator, namespace) -> None:
        self._creators[creator.name, creator.plugin_version, namespace] = creator

    def get_creator(self, name, version, namespace):
        return self._creators.get((name, version, namespace))


_registry = _Registry()


def get_plugin_registry():
    return _registry


def without_plugin(model):
    """A model whose nodes of the plugin are operators that ONNX Runtime knows."""
    if not any(node.domain for node in model.graph.node):
        return model
    from tcja_exporters import time_forms  # a process of the builder is to start quickly

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[:]
    for node in model.graph.node:
        changed.graph.node.extend(_computing(node) if node.domain else [node])
    return time_forms.lower(changed)


def _computing(node):
    from tcja_exporters import custom_op
    from tcja_runtime.neuron import NeuronSpec

    (said,) = (attribute.s for attribute in node.attribute if attribute.name == "kernel")
    fields = json.loads(said)
    pool, name, (output,) = fields.pop("pool"), node.name, node.output
    spikes = output if pool == 1 else f"{name}/spikes"
    constants = custom_op.attributes(NeuronSpec.from_dict(fields))
    nodes = [helper.make_node("TcjaLif", list(node.input), [spikes], name, domain="tcja", **constants)]
    if pool > 1:
        sizes, joined = f"{name}/sizes", f"{name}/joined"
        nodes += [
            helper.make_node("Shape", [spikes], [f"{name}/plane"], start=2),
            helper.make_node("Constant", [], [f"{name}/any"], value_ints=[-1]),
            helper.make_node("Concat", [f"{name}/any", f"{name}/plane"], [sizes], axis=0),
            helper.make_node("Reshape", [spikes, sizes], [joined]),
            helper.make_node("MaxPool", [joined], [output], kernel_shape=[pool] * 2, strides=[pool] * 2),
        ]
    return nodes
