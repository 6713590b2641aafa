"""A stepwise bundle for Triton's backend for ONNX Runtime: the configuration is parsed, held against its model, run.

The backend is not here, but the server is: it reads the configuration, and gives the initial values to a model. For the
answers, a driver of the backend's rules (`tcja_deploy.package.served`) runs the model with the states that the
configuration names, and they are those of the stepwise network, to the bit.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tcja_deploy.package.agreement import Tensors, disagreements
from tcja_deploy.package.configuration import protobuf, text
from tcja_deploy.package.onnx_stream import write_onnx_stream
from tcja_deploy.package.options import TritonOptions
from tcja_deploy.package.served import Request, Served
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import ParityNotMet

from ... import networks
from ...servers import serving

pytestmark = pytest.mark.releases

SMALL = networks.SMALL["dvs128"]


@pytest.fixture(scope="module")
def bundle(streamed) -> Bundle:
    return Bundle.open(streamed(SMALL))


@pytest.fixture(scope="module")
def written(bundle, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_onnx_stream(folder, "gestures_stream", bundle, TritonOptions(max_batch=4))
    return folder


def drawn(cameras: int, windows: int) -> np.ndarray:
    """The frames of cameras, [cameras, windows T, P, H, W]."""
    inputs = SMALL.inputs(cameras * windows, seed=5).numpy()
    return inputs.reshape(cameras, -1, *inputs.shape[2:])


def test_cameras_in_batches_are_answered_as_streams_are(written, bundle):
    """16 cameras, in batches of one to four in any order; each starts with its own first frame."""
    cameras, frames, rng = 16, drawn(16, 2), np.random.default_rng(0)
    served, streams, seen = Served.open(written), Streams.open(bundle, 16), np.zeros(16, int)
    complete = 0
    while seen.min() < frames.shape[1]:
        open_ = np.flatnonzero(seen < frames.shape[1])
        at = rng.permutation(open_)[: rng.integers(1, 5)]
        now = frames[at, seen[at]]
        expected = streams.push(now, at)
        requests = [
            Request({"frame": frame[None]}, int(camera), start=not seen[camera])
            for camera, frame in zip(at, now, strict=True)
        ]
        found = served.run(requests)
        done = [bool(each["complete"][0, 0]) for each in found]
        assert at[done].tolist() == expected.streams.tolist()
        for each, output in zip(
            [e for e, whole in zip(found, done, strict=True) if whole], expected.outputs, strict=True
        ):
            np.testing.assert_array_equal(each["rates"][0], output)
        seen[at] += 1
        complete += sum(done)
    assert complete == 2 * cameras


def test_a_stepwise_bundle_becomes_two_models(run, bundle, tmp_path):
    repository = tmp_path / "models"
    code, out, err = run("package", "triton", bundle.path, repository, "--name", "gestures", "--backend", "onnxruntime")
    assert code == 0, err
    assert sorted(each.name for each in repository.iterdir()) == ["gestures", "gestures_stream"]
    said = "".join(out.split())  # the path may be cut at the end of a line
    assert f"Written:version1ofthemodelsgestures,gestures_streamin{repository},forTriton'sonnxruntime" in said
    assert "gavethebundle'sanswerstogoldenwindowshere,tothebit" in said
    assert Served.open(repository / "gestures_stream").config.max_batch_size == 1  # alone, so to the bit
    again = ("package", "triton", bundle.path, repository, "--name", "gestures")
    code, _, err = run(*again, "--backend", "onnxruntime")
    assert (code, "gestures exists; " in err) == (2, True)
    assert run(*again, "--new-version")[0] == 0
    for name in ("gestures", "gestures_stream"):
        first, second = (repository / name / version for version in "12")
        files = {each.name: each.read_bytes() for each in first.iterdir()}
        assert files.keys() == {"manifest.json", "model.onnx", "weights.bin"}
        assert files == {each.name: each.read_bytes() for each in second.iterdir()}
    state = Served.open(repository / "gestures_stream", "2").config.sequence_batching.state[0]
    config = repository / "gestures_stream" / "config.pbtxt"
    config.write_text(config.read_text().replace(state.input_name, "other"))
    code, _, err = run(*again, "--new-version")
    assert (code, err.splitlines()[-1]) == (
        2,
        "error: gestures_stream: its states are not those of this bundle; package it under another --name",
    )
    assert not (repository / "gestures" / "3").exists()  # both models, or none


def test_a_camera_that_starts_again_forgets(written, bundle):
    frames, served, streams = drawn(1, 2)[0], Served.open(written), Streams.open(bundle)
    for at, frame in enumerate([*frames[:3], *frames[-5:]]):
        if at == 3:
            streams.reset()
        expected = streams.push(frame[None]).outputs
        (found,) = served.run([Request({"frame": frame[None]}, 7, start=at in (0, 3))])
    np.testing.assert_array_equal(found["rates"], expected)
    with pytest.raises(ValueError, match="the first request of sequence 8 does not start it"):
        served.run([Request({"frame": frames[:1]}, 8)])


def resting(bundle: Bundle, rest: float) -> Bundle:
    """A bundle whose neurons begin at another membrane: the head takes it as an input, so only the manifest says it."""
    manifest = bundle.manifest
    layers = [
        dataclasses.replace(each, neuron=dataclasses.replace(each.neuron, v_initial=rest)) for each in manifest.layers
    ]
    states = [dataclasses.replace(each, start=rest) for each in manifest.streaming.states]
    streaming = dataclasses.replace(manifest.streaming, states=states)
    return dataclasses.replace(bundle, manifest=dataclasses.replace(manifest, layers=layers, streaming=streaming))


def test_membranes_that_do_not_begin_at_zero_are_files(bundle, tmp_path):
    other = resting(bundle, -0.5)
    folder = tmp_path / "model"
    folder.mkdir()
    write_onnx_stream(folder, "other_stream", other, TritonOptions())
    served = Served.open(folder)
    first = {each.input_name: each.initial_state[0] for each in served.config.sequence_batching.state}
    for state in other.manifest.streaming.states:
        content = (folder / "initial_state" / first[f"v_before/{state.layer}"].data_file).read_bytes()
        assert (np.frombuffer(content, "<f4") == -0.5).all()
        assert len(content) == 4 * np.prod(state.shape)
    assert all(each.zero_data for name, each in first.items() if not name.startswith("v_before"))
    (file, *_) = (folder / "initial_state").iterdir()
    file.write_bytes(bytes(file.stat().st_size))
    frames, streams, served = drawn(1, 1)[0], Streams.open(other), Served.open(folder)
    for at, frame in enumerate(frames):
        expected = streams.push(frame[None]).outputs
        (found,) = served.run([Request({"frame": frame[None]}, start=at == 0)])
    assert not np.array_equal(found["rates"], expected)  # a wrong file is seen by its answers


def without_start(config: Any) -> None:
    config.sequence_batching.state[2].ClearField("initial_state")


def with_wrong_size(config: Any) -> None:
    config.sequence_batching.state[2].dims[0] += 1


def with_wrong_type(config: Any) -> None:
    config.sequence_batching.state[-1].data_type = protobuf().TYPE_FP32


def with_other_names(config: Any) -> None:
    config.output[0].name = "logits"


def without_a_state(config: Any) -> None:
    del config.sequence_batching.state[0]


def with_exchanged_outputs(config: Any) -> None:
    one, other = config.sequence_batching.state[2:4]
    one.output_name, other.output_name = other.output_name, one.output_name


def without_batches(config: Any) -> None:
    config.max_batch_size = 0


WRONG: dict[Callable[[Any], None], str] = {
    without_start: "state 'v_before/conv.1' has no initial values",
    with_wrong_size: "input 'v_before/conv.1' is [7, 64, 64], in the model [6, 64, 64]",
    with_wrong_type: "input 'frames_before/seen' is TYPE_FP32, in the model TYPE_INT64",
    with_other_names: "the model has no output 'logits'",
    without_a_state: "input 'kept_before/conv.12.0/MaxPool/ungated' of the model is not named",
    with_exchanged_outputs: "state 'v_after/conv.1' would get 'v_after/conv.4'",
    without_batches: "max_batch_size is 0, and the model has a batch axis",
}


@pytest.mark.parametrize("change", WRONG, ids=lambda change: change.__name__)
def test_a_configuration_that_is_not_its_model_s(written, change):
    config, model = Served.open(written).config, Tensors.of_onnx(onnx.load(written / "1" / "model.onnx"))
    assert disagreements(config, model) == []
    change(config)
    assert any(WRONG[change] in each for each in disagreements(config, model))


def test_what_nobody_would_notice_is_seen_by_the_answers(written, bundle, tmp_path):
    """Without initial values, a server takes what is in memory: the first window of a camera is wrong."""
    folder = Path(shutil.copytree(written, tmp_path / "model"))
    config = Served.open(folder).config
    without_start(config)
    (folder / "config.pbtxt").write_text(text(config))
    served, streams = Served.open(folder), Streams.open(bundle)
    for at, frame in enumerate(drawn(1, 1)[0]):
        expected = streams.push(frame[None]).outputs
        (found,) = served.run([Request({"frame": frame[None]}, start=at == 0)])
    assert not np.array_equal(found["rates"], expected)


ECHO = """
import json
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.names = [state["input_name"] for state in json.loads(args["model_config"])["sequence_batching"]["state"]]

    def execute(self, requests):
        return [pb.InferenceResponse([self.echo(request, name) for name in self.names]) for request in requests]

    def echo(self, request, name):
        return pb.Tensor(f"echo/{name}", pb.get_input_tensor_by_name(request, name).as_numpy())
"""


def test_the_real_server_reads_the_configuration_and_the_initial_values(bundle, tmp_path):
    """In place of ONNX Runtime, which the server lacks, a model returns the states that the server gives to it."""
    from tritonclient import http

    folder, other = tmp_path / "models" / "other_stream", resting(bundle, -0.5)
    folder.mkdir(parents=True)
    write_onnx_stream(folder, "other_stream", other, TritonOptions(max_batch=4))
    config = Served.open(folder).config
    config.backend, config.default_model_filename = "python", "model.py"
    del config.output[:]
    for state in config.sequence_batching.state:
        config.output.add(name=f"echo/{state.input_name}", data_type=state.data_type, dims=state.dims)
    (folder / "config.pbtxt").write_text(text(config))
    (folder / "1" / "model.py").write_text(ECHO)
    frame = drawn(1, 1)[0, :1]
    with serving(tmp_path / "models", tmp_path / "server", ["other_stream"]) as server:
        client = server.http()
        given = http.InferInput("frame", list(frame.shape), "FP32")
        given.set_data_from_numpy(frame)
        answer = client.infer("other_stream", [given], sequence_id=5, sequence_start=True)
        client.close()
    for state in other.manifest.streaming.states:
        np.testing.assert_array_equal(answer.as_numpy(f"echo/v_before/{state.layer}"), state.membranes(1))
    for feature in other.manifest.streaming.features:
        kept = answer.as_numpy(f"echo/kept_before/{feature.name}")
        np.testing.assert_array_equal(kept, np.zeros((1, other.manifest.time_steps, *feature.shape)))
    np.testing.assert_array_equal(answer.as_numpy("echo/frames_before/seen"), [[0]])


def test_a_model_with_other_answers_is_not_written(bundle, tmp_path, monkeypatch):
    """The model begins at other membranes than the stepwise network that it is proven against."""
    (tmp_path / "wrong").mkdir()
    other = resting(bundle, -0.5)
    opened = Streams.open
    monkeypatch.setattr(Streams, "open", lambda given: opened(bundle if given is other else given))
    with pytest.raises(ParityNotMet, match="the model wrong does not give the answers of .* to its golden windows, so"):
        write_onnx_stream(tmp_path / "wrong", "wrong", other, TritonOptions())
