"""Small logs in the formats of TensorRT 10 and TensorRT-RTX 1.7; real ones are in test_built_plan.py."""

from __future__ import annotations

import json

import pytest

from tcja_runtime.tensorrt import kernel_plan as kp
from tcja_runtime.tensorrt.kernel_plan import PlanUnread

TENSORRT_10 = """Layers:
Name: Reformatting CopyNode for Input Tensor 0 to /conv/Conv + /relu/Relu, LayerType: Reformat, \
Inputs: [ { Name: x, Location: Device, Dimensions: [1,3,8,8], Format/Datatype: Row major linear FP32 }], \
Outputs: [ { Name: Reformatted Input Tensor 0 to /conv/Conv + /relu/Relu, Location: Device, Dimensions: [1,3,8,8], \
Format/Datatype: Channel major FP16 format where channel % 4 == 0 }], \
ParameterType: Reformat, Origin: REFORMAT, TacticValue: 0x00000000000003e8, StreamId: 0, Metadata:
Name: /conv/Conv + /relu/Relu, LayerType: CaskConvolution, \
Inputs: [ { Name: Reformatted Input Tensor 0 to /conv/Conv + /relu/Relu, Location: Device, Dimensions: [1,3,8,8], \
Format/Datatype: Half }], \
Outputs: [ { Name: /relu/Relu_output_0, Location: Device, Dimensions: [1,16,8,8], Format/Datatype: Half }], \
ParameterType: Convolution, Kernel: [3,3], Weights: {"Type": "Half", "Count": 432}, \
Bias: {"Type": "Half", "Count": 16}, HasBias: 1, Activation: RELU, TacticName: sm80_xmma_fprop, \
StreamId: 0, Metadata: [ONNX Layer: conv.0/Conv][ONNX Layer: conv.1/Relu]
Name: reshape, LayerType: NoOp, \
Inputs: [ { Name: /relu/Relu_output_0, Location: Device, Dimensions: [1,16,8,8], Format/Datatype: Half }], \
Outputs: [ { Name: flat, Location: Device, Dimensions: [1,1024], Format/Datatype: Half }], \
TacticValue: 0x0000000000000000, StreamId: 0, Metadata:
Name: fc/Gemm_myl0_1, LayerType: gemm, \
Inputs: [ { Name: flat, Dimensions: [1,1024], Format/Datatype: Half }, \
{ Name: __mye595_dconst, Dimensions: [1024,10], Format/Datatype: Half }], \
Outputs: [ { Name: y, Dimensions: [1,10], Format/Datatype: Float }], \
TacticName: sm50_xmma_cublas_gemvx, StreamId: 0, Metadata: [ONNX Layer: fc/Gemm]
Name: __mye9, LayerType: signal, Inputs: [], Outputs: [], TacticName: , StreamId: 0, Metadata:

Bindings:
x
y"""
"""Lines as in github.com/NVIDIA/TensorRT issues 4020 and 4397; formats as in trex/activations.py."""

IMAGE, HALVES, MAPS = 4 * 3 * 64, 2 * 3 * 64, 2 * 16 * 64
EXPECTED = {
    "Reformatting CopyNode for Input Tensor 0 to /conv/Conv + /relu/Relu": (IMAGE + HALVES, 0, []),
    "/conv/Conv + /relu/Relu": (HALVES + MAPS, 2 * (432 + 16), ["conv.0", "conv.1"]),
    "fc/Gemm_myl0_1": (MAPS + 4 * 10, 2 * 1024 * 10, ["fc"]),
}


def rtx(name: str, dims: str, kind: str = "Float") -> str:
    return (
        f"{{ Name: {name}, Dimensions: [{dims}], Strides: [1], StrideOrder: [0], Datatype: {kind}, "
        "Format: (Linear) Row major linear format }"
    )


def rtx_layer(name: str, reads: list[str], writes: list[str], constants: list[str] | None = None) -> str:
    listed = [
        f"{word}: [ {', '.join(each)}]"
        for word, each in (("Inputs", reads), ("Constants", constants or []), ("Outputs", writes))
    ]
    return f"Name: {name}, LayerType: kgen, {', '.join(listed)}, TacticName: t, StreamId: 0, Metadata: "


def rtx_log(*lines: str) -> list[str]:
    return ["Layers:\n" + "\n".join(lines) + "\n\nI/O Tensors:\n Name: x, IOMode: Input, DataType: Float"]


def plan(messages, inputs=("x",), time_steps=1):
    return kp.kernel_plan(kp.from_log(messages), inputs, time_steps)


@pytest.mark.parametrize("head", ["Layers:", "Engine Layer Information:"])
def test_a_log_of_tensorrt_10(head):
    other = "Name: z, LayerType: kgen, is not a message about layers"
    found = plan(["Total time", other, TENSORRT_10.replace("Layers:", head)])
    assert {kernel.name: (kernel.bytes, kernel.weight_bytes, kernel.modules) for kernel in found.largest} == EXPECTED
    assert found.kernels == 3
    assert found.bytes == sum(moved for moved, _, _ in EXPECTED.values())
    assert found.moved == found.bytes + sum(weights for _, weights, _ in EXPECTED.values())
    assert found.largest[0].name == "fc/Gemm_myl0_1"


def as_json(layers):
    """The same as the engine inspector returns it."""
    return json.dumps(
        {
            "Layers": [
                {
                    "Name": layer.name,
                    "LayerType": layer.kind,
                    **{
                        word: [
                            {
                                "Name": t.name,
                                "Location": "Device",
                                "Dimensions": list(t.dims),
                                "Format/Datatype": t.type,
                            }
                            for t in tensors
                        ]
                        for word, tensors in (("Inputs", layer.reads), ("Outputs", layer.writes))
                    },
                    **({"Weights": {"Type": "Half", "Count": 432}} if layer.kind == "CaskConvolution" else {}),
                    **({"Bias": {"Type": "Half", "Count": 16}} if layer.kind == "CaskConvolution" else {}),
                    "Metadata": "\x1e".join(f"[ONNX Layer: {module}/Op]" for module in layer.modules),
                }
                for layer in layers
            ],
            "Bindings": ["x", "y"],
        }
    )


def test_the_inspectors_json_says_the_same():
    layers = kp.from_log([TENSORRT_10])
    assert kp.from_json(as_json(layers)) == layers


@pytest.mark.parametrize("text", ["", "[]", '{"Layers": ["conv1", "fc"]}', '{"Layers": [{"Name": "a"}]}', "{}"])
def test_an_inspector_that_says_less_is_not_read(text):
    with pytest.raises(PlanUnread, match="the engine inspector tells of the layers in a format that is not known"):
        kp.from_json(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("Float", 4),
        ("Half", 2),
        ("BFloat16", 2),
        ("Bool", 1),
        ("Int64", 8),
        ("Row major linear FP32", 4),
        ("Row major linear FP16 format", 2),
        ("Row major linear BFloat16 format", 2),
        ("Row major Int8 format", 1),
        ("Row major linear BOOL", 1),
        ("Channel major FP32 format where channel % 4 == 0 with 3 spatial dimensions", 4),
        ("Channel major INT8 format where channel == 4 and column stride % 32 == 0", 1),
        ("Thirty-two wide channel vectorized row major Int8 format", 1),
        ("Row major linear FP8 format", 1),
    ],
)
def test_every_format_has_a_size(text, size):
    assert kp.Tensor("a", (3, 5), text).bytes == 15 * size


def test_two_values_of_four_bits_are_a_byte():
    assert kp.Tensor("a", (4, 4), "Int4").bytes == 8


def test_a_kernel_reads_of_a_tensor_what_it_reads_of_its_slices():
    """20 steps, of which one kernel reads 6 and another 14: together they read the tensor once."""
    current, spikes = rtx("c", "20,1,8"), [rtx(f"s{i}", "1,1,8") for i in range(20)]
    lines = [
        rtx_layer("Conv", [rtx("x", "20,1,8")], [current]),
        rtx_layer("__myl_SlicMulAdd", [current] * 6, spikes[:6], [rtx("half", "1")]),
        rtx_layer("__myl_SlicMulSub", [current] * 14, spikes[6:]),
    ]
    found = {kernel.name: kernel for kernel in plan(rtx_log(*lines), time_steps=20).largest}
    step = 4 * 8
    assert found["__myl_SlicMulAdd"].bytes == (6 + 6) * step
    assert found["__myl_SlicMulSub"].bytes == (14 + 14) * step
    assert found["__myl_SlicMulAdd"].weight_bytes == 4
    assert found["Conv"].bytes == 2 * 20 * step


@pytest.mark.parametrize(
    ("name", "reads", "sizes"),
    [
        ("__myl_Slic", [rtx("c", "20,8")] * 20, 20),  # all slices are the tensor once
        ("__myl_Slic", [rtx("c", "20,8")] * 25, 20),  # never more than the tensor
        ("__myl_Slic", [rtx("c", "20,8")], 20),  # named once: read whole
        ("__myl_Slic", [rtx("c", "1,8")] * 3, 3),  # slices named by their own size
        ("__myl_MulAdd", [rtx("c", "20,8")] * 2, 20),  # no slices: x * x reads x once
    ],
)
def test_a_tensor_is_read_once_at_most(name, reads, sizes):
    lines = [rtx_layer("Conv", [rtx("x", "20,8")], [rtx("c", "20,8")]), rtx_layer(name, reads, [rtx("y", "8")])]
    found = {kernel.name: kernel.bytes for kernel in plan(rtx_log(*lines), time_steps=20).largest}
    assert found[name] == 4 * 8 * (sizes + 1)


def test_a_constant_layer_makes_weights_and_is_no_kernel():
    lines = [
        rtx_layer("w", [], [rtx("w", "8")]).replace("LayerType: kgen", "LayerType: Constant"),
        rtx_layer("Add", [rtx("x", "8"), rtx("w", "8")], [rtx("y", "8")]),
    ]
    found = plan(rtx_log(*lines))
    assert (found.kernels, found.bytes, found.weight_bytes) == (1, 2 * 32, 32)


def test_the_last_engine_of_a_log_is_read():
    first, second = (rtx_log(rtx_layer(name, [rtx("x", "8")], [rtx("y", "8")])) for name in "ab")
    assert [kernel.name for kernel in plan([*first, *second]).largest] == ["b"]


def test_ten_kernels_are_named_and_all_are_counted():
    lines = [rtx_layer(f"k{i}", [rtx(f"t{i}", f"{i}")], [rtx(f"t{i + 1}", f"{i + 1}")]) for i in range(1, 15)]
    found = plan(rtx_log(*lines), ["t1"])
    assert found.kernels == 14
    assert [kernel.name for kernel in found.largest] == [f"k{i}" for i in range(14, 4, -1)]
    assert found.bytes == 4 * sum(2 * i + 1 for i in range(1, 15))


def test_open_axes_are_filled_from_an_engine_of_one_batch_size():
    def log(n, frames):
        lines = [
            "Name: __mye1, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , Metadata: ",
            rtx_layer("size", [], [rtx("n", "1", "Int64")]),
            rtx_layer("a", [rtx("x", f"{n},5,8")], [rtx("c", f"{frames},8")]),
            rtx_layer("b", [rtx("c", f"{frames},8")], [rtx("y", f"{n},8", "Half")]),
        ]
        return kp.from_log(rtx_log(*(lines if n == -1 else lines[2:])))

    layers = log(-1, -1)
    assert kp.is_open(layers)
    with pytest.raises(PlanUnread, match="it takes several batch sizes, and the sizes of its tensors depend on it"):
        kp.kernel_plan(layers, ["x"], 5)
    found = kp.kernel_plan(kp.filled(layers, log(3, 15)), ["x"], 5)
    assert (found.kernels, found.bytes) == (3, 8 + 3 * (3 * 4 * 5 * 8) + 2 * 3 * 8)
    # The engine of one batch size may be of three times as many windows.
    found = kp.kernel_plan(kp.filled(layers, log(3, 15), 3), ["x"], 5)
    assert (found.kernels, found.bytes) == (3, 8 + 3 * (4 * 5 * 8) + 2 * 8)
    with pytest.raises(PlanUnread, match="an axis of c does not grow with the batch size"):
        kp.filled(layers, log(4, 15), 2)


A, B, HALF_B = rtx_layer("a", [rtx("x", "-1,8")], [rtx("c", "-1,8")]), rtx("c", "4,8"), rtx("c", "4,8", "Half")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ([rtx_layer("a", [rtx("x", "4,9")], [B])], "its kernel a is another than in an engine of one batch size"),
        ([rtx_layer("a", [rtx("x", "4,8")], [HALF_B])], "its kernel a is another than"),
        ([rtx_layer("a", [rtx("x", "4,8")], [B, B])], "its kernel a is another than"),
        ([rtx_layer("a", [rtx("x", "4,8"), B], [B])], "its kernel a is another than"),
        ([rtx_layer("a", [rtx("x", "32")], [B])], "its kernel a is another than"),
        (
            [rtx_layer("a", [rtx("x", "4,8")], [B]), rtx_layer("b", [B], [B])],
            "an engine of one batch size has also the kernel b",
        ),
    ],
)
def test_other_kernels_fill_no_axis(other, said):
    with pytest.raises(PlanUnread, match=f"it takes several batch sizes.*{said}"):
        kp.filled(kp.from_log(rtx_log(A)), kp.from_log(rtx_log(*other)))


FORMAT = "in a format that is not known"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "the builder's log does not have the layers of the engine"),
        (["Engine generation completed in 0.1 seconds."], "the builder's log does not have the layers of the engine"),
        (["Layers:\nconv1\nfc"], f"the builder's log has the layers of the engine {FORMAT}"),
        (
            ["Engine Layer Information:\nLayer(CaskConvolution): conv1, Tactic: 1, x[Float(1,3,8,8)] -> y[Float(1,8)]"],
            f"the builder's log has the layers of the engine {FORMAT}",
        ),
        (rtx_log(A.replace("Inputs: [", "Reads: [")), f"the builder's log tells of the layer a {FORMAT}"),
        (rtx_log(A.replace("Datatype", "Kind")), f"the builder's log tells of the tensors of the layer a {FORMAT}"),
        (rtx_log(A.replace("-1", "4").replace("Float", "Posit")), "the size of TensorRT's type 'Posit' is not known"),
        (
            [TENSORRT_10.replace("LayerType: gemm", "LayerType: Myelin")],
            "TensorRT does not name the kernels of its layer fc/Gemm_myl0_1",
        ),
        (
            rtx_log(A.replace("-1", "4"), "Name: j1, LayerType: cjmp, Inputs: [], Constants: [], Outputs: [], "),
            r"it has a loop, and TensorRT does not say how often its kernels run \(j1\)",
        ),
    ],
)
def test_what_cannot_be_read_is_said(messages, said):
    with pytest.raises(PlanUnread, match=f"^{said}$"):
        plan(messages)
