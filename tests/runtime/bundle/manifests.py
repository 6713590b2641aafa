"""A manifest of a small network, and the files of its bundle."""

from tcja_runtime.bundle.manifest import Manifest, TimeForms
from tcja_runtime.bundle.network_signature import Layer, Tap
from tcja_runtime.bundle.parity_summary import ParitySummary
from tcja_runtime.bundle.stepwise import Feature, State, Streaming
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec

MANIFEST = Manifest(
    producer="test",
    created="2026-01-01T00:00:00+00:00",
    checkpoint={"name": "a.pth", "sha256": "0" * 64, "bytes": 1},
    network="dvs128",
    dialect="spikingjelly",
    evidence=["because"],
    time_steps=20,
    parameters=7,
    input=InputContract.frames(20, 128, 128),
    output="rates",
    output_shape=(3,),
    classes=["a", "b", "c"],
    layers=[Layer(name="conv.1", shape=(2, 3), neuron=NeuronSpec.leaky(decay_input=True, tau=2.0))],
    passes=[],
    time_form=TimeForms(form="scan", why="asked for", layers={}),
    precision="fp32",
    streaming=Streaming(
        frame="frame",
        states=[State(layer="conv.1", shape=(2, 3), start=0.0)],
        features=[Feature(name="conv.1/spikes", shape=(2, 3))],
    ),
    calibration={},
    targets=["onnx"],
    engines={},
    taps=[],
    answer=Tap(name="readout", tensor="fc/Reshape", unfold=(), axes=(1, 0, 2)),
    weights=[],
    parity=ParitySummary(reference="PyTorch"),
    tools={"python": "3"},
)
FILES = ("model.onnx", "model.plain.onnx", "head.onnx", "tail.onnx", "weights.bin", "golden.npz")
