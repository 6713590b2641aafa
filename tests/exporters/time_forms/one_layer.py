"""Models of one spiking layer, `layer`, in standard operators."""

import onnx
import onnxruntime
from onnx import TensorProto, helper

from tcja_exporters import custom_op, time_forms

CURRENT, SPIKES, HALF = "layer/current", "layer/spikes", "layer/current/half"
value = helper.make_tensor_value_info


def result(spec):
    """The name of what the layer returns."""
    return "layer/membranes" if spec.integrates else SPIKES


def lif(spec):
    constants = custom_op.attributes(spec)
    name = f"layer/{custom_op.NAME}"
    return helper.make_node(custom_op.NAME, [CURRENT], [result(spec)], name=name, domain=custom_op.DOMAIN, **constants)


def model(spec, form, steps, *, half=False, behind=(), neurons=None):
    """The layer reads `x` [steps, N, ...].

    Args:
        spec: the neuron.
        form: the time form; None for the operator itself, with the function that defines it.
        steps: the number of time steps.
        half: whether the current is a half tensor, and a Cast.
        behind: more nodes; what they return is an output of the model.
        neurons: the shape of its neurons; None for one axis of unknown size.
    """
    shape = [steps, "batch", *(neurons or ["neurons"])]
    before = [helper.make_node("Identity", ["x"], [HALF if half else CURRENT])]
    before += [helper.make_node("Cast", [HALF], [CURRENT], name=CURRENT, to=TensorProto.FLOAT)] if half else []
    graph = helper.make_graph(
        [*before, lif(spec), *behind],
        "layer",
        [value("x", TensorProto.FLOAT16 if half else TensorProto.FLOAT, shape)],
        [value(name, TensorProto.FLOAT, shape) for name in (result(spec), *(node.output[0] for node in behind))],
        value_info=[
            value(CURRENT, TensorProto.FLOAT, shape),
            *([value(HALF, TensorProto.FLOAT16, shape)] if half else []),
        ],
    )
    opsets = [helper.make_opsetid("", custom_op.OPSET), helper.make_opsetid(custom_op.DOMAIN, custom_op.VERSION)]
    plain = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if form is None:
        custom_op.define(plain)
    else:
        plain = time_forms.lower(plain, {"layer": form})
    onnx.checker.check_model(plain, full_check=True)
    return plain


def defined(spec, steps):
    """The layer as the function that defines its operator."""
    shape = [steps, "batch", "neurons"]
    node = lif(spec)
    node.input[0], node.output[0] = "x", "y"
    values = ([value(name, TensorProto.FLOAT, shape)] for name in ("x", "y"))
    made = helper.make_model(helper.make_graph([node], "layer", *values), ir_version=10)
    made.opset_import[0].version = custom_op.OPSET
    custom_op.define(made)
    onnx.checker.check_model(made, full_check=True)
    return made


def ran(plain, x):
    """What ONNX Runtime returns for a current."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(plain.SerializeToString(), options).run(None, {"x": x})[0]
