"""NAME_stream on a real server: each camera's answers are those of a session on this machine, to the bit."""

from __future__ import annotations

import dataclasses
import itertools
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tcja_runtime as tcja
from tcja_deploy.cli import app
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.stepwise import Streaming
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.triton.metrics import EVERY

from ... import networks
from ...docs.blocks import ROOT, runnable
from ...servers import Server, serving, until
from ...streams import atis, cut_by_time, drawn

pytestmark = pytest.mark.releases

T, SIZE = 5, 64
WINDOW = "100ms"
IDLE = 2  # seconds; of the model with two places


@pytest.fixture(scope="module")
def bundle(streamed, tmp_path_factory) -> Path:
    """A network of frames [2, 64, 64], five of a window, whose recordings are cut into equal times."""
    return cut_by_time(streamed(networks.SMALL["dvs128"]), tmp_path_factory.mktemp("cut") / "a.bundle")


@pytest.fixture(scope="module")
def server(bundle, tmp_path_factory) -> Iterator[Server]:
    """Two models: `cameras_stream` has room for 16 cameras; `few_stream` for two, which are soon forgotten."""
    models = tmp_path_factory.mktemp("models")
    cut = ["--window", WINDOW, "--format", "atis"]
    for name, options in {"cameras": [*cut, "--delay", "5ms"], "few": ["--cameras", "2", "--idle", f"{IDLE}s"]}.items():
        assert app.run(["package", "triton", str(bundle), str(models), "--name", name, *options]) == 0
    with serving(models, tmp_path_factory.mktemp("server"), ["cameras_stream", "few_stream"]) as found:
        yield found


@dataclasses.dataclass
class Camera:
    """A client that is one camera.

    Attributes:
        client: a client of tritonclient, HTTP or gRPC, of its own.
        module: the module of the client.
        key: the correlation ID.
        model: the name of the model.
    """

    client: Any
    module: Any
    key: int | str
    model: str = "cameras_stream"

    def send(self, *, frame: np.ndarray | None = None, packet: bytes | None = None, **options: Any) -> Any:
        """Send a frame or a packet of events. Returns the result."""
        if packet is None:
            given = self.module.InferInput("frame", [1, 2, SIZE, SIZE] if frame is None else [1, *frame.shape], "FP32")
            given.set_data_from_numpy(np.zeros((1, 2, SIZE, SIZE), np.float32) if frame is None else frame[None])
        else:
            given = self.module.InferInput("events", [1, 1], "BYTES")
            given.set_data_from_numpy(np.array([[packet]], np.object_))
        flags = {f"sequence_{name}": options.pop(name) for name in ("start", "end") if name in options}
        return self.client.infer(self.model, [given], sequence_id=self.key, **flags, **options)

    def refused(self, **options: Any) -> str:
        """The text of the error that a request gets."""
        from tritonclient.utils import InferenceServerException

        with pytest.raises(InferenceServerException) as error:
            self.send(**options)
        return str(error.value.message())


@pytest.fixture
def camera(server) -> Iterator[Callable[..., Camera]]:
    """Makes cameras, by the protocol and the correlation ID."""
    clients = []

    def make(protocol: str, key: int | str, model: str = "cameras_stream") -> Camera:
        import tritonclient.grpc
        import tritonclient.http

        clients.append(getattr(server, protocol)())
        return Camera(clients[-1], getattr(tritonclient, protocol), key, model)

    yield make
    for client in clients:
        client.close()


def frames(key: int, count: int = 3 * T) -> np.ndarray:
    """The frames that a camera sends."""
    return np.random.default_rng(key).integers(0, 4, (count, 2, SIZE, SIZE)).astype(np.float32)


def answered(result: Any) -> list[tuple[Any, ...]]:
    """The windows of a result: number, begin, end, events, whether whole, class, and the bytes of the scores."""
    names = ("number", "begin", "end", "count", "whole", "class")
    columns = [result.as_numpy(name)[0].tolist() for name in names]
    return list(zip(*columns, [row.tobytes() for row in result.as_numpy("rates")[0]], strict=True))


def of_frames(net: tcja.Network, sent: np.ndarray) -> list[tuple[Any, ...]]:
    """What a session on this machine answers to frames."""
    stepwise = net.stepwise()
    found = [each for frame in sent if (each := stepwise.push(frame)) is not None]
    return [(k, T * k, T * k + T, -1, True, each.name.encode(), each.scores.tobytes()) for k, each in enumerate(found)]


def of_packets(net: tcja.Network, file: Path, window: str, hop: str | None = None) -> list[tuple[Any, ...]]:
    """What a stream on this machine answers to a recording."""
    with net.stream(file, window=window, hop=hop, speed=math.inf) as stream:
        return [
            (each.window, each.begin, each.end, each.events, each.whole, each.name.encode(), each.scores.tobytes())
            for each in stream
        ]


def test_sixteen_cameras_at_once(server, camera, bundle, tmp_path):
    """Half by HTTP, half by gRPC; half send frames, half packets of events. They share batches, and no bit changes."""
    asked = ("nv_inference_count", "nv_inference_exec_count")
    before = [server.metric(name, model="cameras_stream") for name in asked]
    cameras = [camera(("http", "grpc")[i % 2], i + 1) for i in range(16)]
    recordings = {i: drawn(20_000 + 500 * i, i, seconds=0.95) for i in range(0, 16, 4)}
    recordings |= {i: drawn(10_000 + 500 * i, i, seconds=0.6) for i in range(1, 16, 4)}
    started = threading.Barrier(16)

    def run(i: int) -> list[tuple[Any, ...]]:
        started.wait(30)
        found, each = [], cameras[i]
        if i not in recordings:
            for k, frame in enumerate(frames(i)):
                result = each.send(frame=frame, start=not k, end=k + 1 == 3 * T)
                assert result.as_numpy("step").tolist() == [[(k + 1) % T]]
                assert result.as_numpy("rates").shape == (1, int((k + 1) % T == 0), 3)
                found += answered(result)
            return found
        content, cuts = atis(recordings[i]), [*range(0, 5 * len(recordings[i]), 7_003), None]
        pieces = [content[a:b] for a, b in itertools.pairwise(cuts)]
        for k, piece in enumerate(pieces):
            found += answered(each.send(packet=piece, start=not k, end=k + 1 == len(pieces)))
        return found

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(run, range(16)))
    with tcja.load(bundle) as net:
        for i in range(16):
            file = tmp_path / f"{i}.bin"
            file.write_bytes(atis(recordings[i]) if i in recordings else b"")
            expected = of_packets(net, file, WINDOW) if i in recordings else of_frames(net, frames(i))
            assert len(expected) >= 3
            assert found[i] == expected
    assert len({each[-1] for one in found for each in one}) > 20, "the answers are alike, so they show little"
    until(lambda: server.metric(asked[0], model="cameras_stream") - before[0] >= 16 * 3)
    requests, batches = [server.metric(name, model="cameras_stream") for name in asked]
    assert batches - before[1] < requests - before[0]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_client_that_dies_and_another_with_its_id(camera, bundle, protocol):
    sent = frames(3)
    one = camera(protocol, 33)
    for k, frame in enumerate(sent[:3]):
        one.send(frame=frame, start=not k)
    one.client.close()
    other = camera(protocol, 33)
    found = [answered(other.send(frame=frame, start=not k)) for k, frame in enumerate(sent[3 : 3 + T])]
    with tcja.load(bundle) as net:
        assert found[-1] == of_frames(net, sent[3 : 3 + T])
    other.send(frame=sent[0], end=True)
    text = other.refused(frame=sent[0])
    assert "sequence 33 to model 'cameras_stream' must specify the START flag on the first request" in text


def test_each_camera_may_say_how_its_events_are_cut(camera, bundle, tmp_path):
    """At its start; by the parameters of the request. A correlation ID may be a text."""
    file, events = tmp_path / "a.bin", drawn(9_000, 5, seconds=0.5)
    file.write_bytes(atis(events))
    one = camera("grpc", "gate 7")
    found = answered(one.send(packet=file.read_bytes(), start=True, end=True, parameters={"window": "1000events"}))
    with tcja.load(bundle) as net:
        assert found == of_packets(net, file, "1000events")


@pytest.mark.parametrize(
    ("then", "text"),
    [
        ({"frame": frames(1)[0][:, 1:]}, "unexpected shape for input 'frame' for model"),
        ({"frame": -frames(1)[0] - 1}, "'frame' has values from -4 to -1; the network takes counts"),
        ({"packet": b""}, "this stream began with frames; go on with them, or start again"),
        (
            {"frame": frames(1)[0], "parameters": {"window": "1s"}},
            "`window` and `format` are given at the start of a stream; leave them out, or start again",
        ),
    ],
)
def test_a_request_that_is_refused_leaves_its_stream_as_it_was(camera, bundle, then, text):
    one, sent = camera("grpc", 77), frames(1)
    one.send(frame=sent[0], start=True)
    assert text in one.refused(**then)
    found = [answered(one.send(frame=frame)) for frame in sent[1:T]]
    with tcja.load(bundle) as net:
        assert found[-1] == of_frames(net, sent[:T])
    one.send(frame=sent[0], end=True)


@pytest.mark.parametrize(
    ("start", "text"),
    [
        ({"packet": b"", "parameters": {"window": "1 s"}}, "`window` '1 s' must be a time or a number of events"),
        ({"packet": b"", "parameters": {"window": "4us"}}, "`window` 4 us cannot be cut into 5 frames; take a longer"),
        ({"packet": b"", "parameters": {"window": "1s", "hop": "100ms"}}, "`hop` puts an event into 10 windows, and"),
        ({"packet": b"", "parameters": {"format": "evt9"}}, "there is no format 'evt9'; a stream can be one of aedat2"),
        ({"packet": bytes([64, 0, 0, 0, 0])}, "camera 78: event 0 is at column 64, row 0; the network takes 64x64"),
        ({"packet": b"\1\2\3", "parameters": {"format": "evt3"}, "end": True}, "camera 78: byte"),
    ],
)
def test_a_start_that_is_refused_and_the_rest_of_its_requests(camera, start, text):
    one = camera("grpc", 78)
    assert text in one.refused(**start, start=True)
    if "end" not in start:
        assert "no stream of camera 78 is open: it has ended, was silent for too long, or" in one.refused(packet=b"")
        one.refused(packet=b"", end=True)


def test_more_cameras_than_there_is_room_for(camera, bundle):
    """The third waits until the one that was silent is forgotten; that one must start again, in words."""
    sent = frames(4)
    silent, lively, third = (camera("grpc", key, "few_stream") for key in (1, 2, 3))
    fell_silent, waiting, k = time.monotonic(), None, 0
    for one in (silent, lively):
        one.send(frame=sent[0], start=True)
    with ThreadPoolExecutor(1) as pool:
        while waiting is None or not waiting.done():
            k += 1
            lively.send(frame=sent[k % len(sent)])
            time.sleep(0.05)
            # Of a camera that waits as long as a silent one lives, Triton takes the place away, too.
            if waiting is None and time.monotonic() - fell_silent > IDLE / 2:
                waiting = pool.submit(third.send, frame=sent[0], start=True)
        assert answered(waiting.result()) == []
    assert time.monotonic() - fell_silent >= IDLE
    found = [answered(third.send(frame=frame)) for frame in sent[1:T]]
    with tcja.load(bundle) as net:
        assert found[-1] == of_frames(net, sent[:T])
    assert "must specify the START flag" in silent.refused(frame=sent[1])
    text = silent.refused(frame=sent[0], start=True, timeout=100_000)  # the others are lively: there is no room
    assert text == "timeout of the corresponding sequence has been expired"
    for one in (lively, third):
        one.send(frame=sent[0], end=True)
    silent.send(frame=sent[0], start=True, end=True)


def test_a_model_that_is_loaded_again(server, camera, bundle):
    """Its streams are told to start again."""
    cameras, sent = [camera("grpc", key) for key in range(91, 95)], frames(6)
    for one in cameras:
        one.send(frame=sent[0], start=True)
    file = server.repository / "cameras_stream" / "1" / "model.py"
    file.write_text(file.read_text() + "\n")
    with server.grpc() as client:
        client.load_model("cameras_stream")
    for one in cameras:
        assert "must specify the START flag on the first request of the sequence" in one.refused(frame=sent[1])
    with tcja.load(bundle) as net:
        expected = of_frames(net, sent[:T])
    for one in cameras:
        assert [answered(one.send(frame=frame, start=not k)) for k, frame in enumerate(sent[:T])][-1] == expected
        one.send(frame=sent[0], end=True)
    assert server.said().count("cameras_stream version 1: room for 16 cameras") == 2


def test_a_new_bundle_takes_over_and_no_stream_is_lost(server, camera, bundle):
    """Under another name: streams that have begun go on until they end, while new ones start on the new model."""
    sent, new = frames(6), ["package", "triton", str(bundle), str(server.repository), "--name", "newer"]
    one, other = camera("grpc", 201), camera("grpc", 201, "newer_stream")
    one.send(frame=sent[0], start=True)
    assert app.run(new) == 0
    with tcja.load(bundle) as net, server.grpc() as client, ThreadPoolExecutor(1) as pool:
        expected, loading, k = of_frames(net, sent[:T])[0][-1], pool.submit(client.load_model, "newer_stream"), 0
        while not (loading.done() and k % T == T - 1):
            k += 1
            found = [row[-1] for row in answered(one.send(frame=sent[k % T]))]
            assert found == ([expected] if k % T == T - 1 else [])
        loading.result()
        last = [answered(other.send(frame=frame, start=not k)) for k, frame in enumerate(sent[:T])][-1]
        assert [row[-1] for row in last] == [expected]
        one.send(frame=sent[0], end=True)
        client.unload_model("newer_stream")
    assert k > T
    shutil.rmtree(server.repository / "newer_stream")


def test_what_the_server_says_of_its_streams(server, camera, bundle):
    """Windows, refused requests, open streams, and events that came too late, also after the stream has ended."""
    names = ("windows_total", "refused_requests_total", "dropped_events_total", "open_streams")

    def told() -> list[float]:
        return [server.metric(f"tcja_{name}", model="cameras_stream") for name in names]

    one, late = camera("grpc", 301), drawn(40, 1, seconds=0.05)
    time.sleep(EVERY)
    one.send(packet=atis(drawn(3_000, 1, seconds=0.35)), start=True)
    until(lambda: told()[3] == 1)
    before = told()
    result = one.send(packet=atis(late))
    assert result.as_numpy("dropped").tolist() == [[40]]
    one.refused(frame=frames(1)[0])
    one.send(packet=b"", end=True)
    other = camera("grpc", 303)
    other.send(frame=frames(1)[0], start=True)
    assert "`window` '1 s' must be" in other.refused(packet=b"", parameters={"window": "1 s"}, end=True)  # it ends
    time.sleep(EVERY)
    camera("grpc", 302).send(frame=frames(1)[0], start=True, end=True)
    until(lambda: told() == [before[0] + 1, before[1] + 2, before[2] + 40, 0])
    loaded = {"model": "cameras_stream", "bundle": Bundle.open(bundle).sha256}
    assert server.metric("tcja_loaded_instances", **loaded) == 1
    wanted = ("tcja_unlike_proof{", 'kind="inputs"', 'model="cameras_stream"')
    compared = [value for line, value in server.metrics().items() if all(each in line for each in wanted)]
    assert compared in ([0], [1])


def test_a_new_version_of_both_models(bundle, tmp_path):
    add = ["package", "triton", str(bundle), str(tmp_path / "models"), "--name", "a"]
    assert app.run([*add, "--window", WINDOW, "--cameras", "4"]) == 0
    config = (tmp_path / "models" / "a_stream" / "config.pbtxt").read_text()
    assert app.run([*add, "--new-version"]) == 0
    for name in ("a", "a_stream"):
        assert sorted(each.name for each in (tmp_path / "models" / name).iterdir() if each.is_dir())[:2] == ["1", "2"]
        assert tcja.load(tmp_path / "models" / name / "2" / "model.bundle").info.network == "dvs128"
    assert (tmp_path / "models" / "a_stream" / "config.pbtxt").read_text() == config
    shutil.rmtree(tmp_path / "models" / "a" / "2")  # as the guide says, to go back
    assert app.run([*add, "--new-version"]) == 0
    assert len([*(tmp_path / "models").glob("*/3")]) == 2, "both get the same number"


def test_a_new_version_of_one_of_two_models_is_refused(bundle, tmp_path, capsys):
    """The other one would keep the old bundle."""
    whole = Path(shutil.copytree(bundle, tmp_path / "whole.bundle"))
    manifest = dataclasses.replace(Bundle.open(whole).manifest, streaming=Streaming())
    for file in ("head.onnx", "tail.onnx"):
        (whole / file).unlink()
    write_manifest(whole, manifest)
    models = tmp_path / "models"
    for first, second, words in (
        (bundle, whole, "takes frames, and {} was exported without --streaming, so that model would keep the old"),
        (whole, bundle, "{} was exported with --streaming, and there is no model"),
    ):
        add = ["package", "triton", "--name", "a", str(second), str(models), "--new-version"]
        assert app.run(["package", "triton", "--name", "a", str(first), str(models)]) == 0
        assert app.run(add) == 2
        assert words.format(second) in capsys.readouterr().err
        assert not [*models.glob("*/2")]
        shutil.rmtree(models)


def test_a_bundle_that_was_changed_is_not_loaded(server, bundle):
    models = server.repository
    assert app.run(["package", "triton", str(bundle), str(models), "--name", "changed"]) == 0
    with server.grpc() as client:
        for file in ("head.onnx", "tail.onnx"):
            changed = models / "changed_stream" / "1" / "model.bundle" / file
            content = changed.read_bytes()
            changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            with pytest.raises(Exception, match=f"{file} was changed: its sha256 is not the manifest"):
                client.load_model("changed_stream")
            changed.write_bytes(content)
    for name in ("changed", "changed_stream"):
        shutil.rmtree(models / name)


def test_the_guide_is_true(server, bundle, tmp_path, monkeypatch, capsys):
    """docs/how-to/cameras.md: its command, and its program."""
    write, ask = runnable(ROOT / "docs/how-to/cameras.md")
    assert {block.test for block in (write, ask)} == {"tests/deploy/package/test_streams.py"}
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle, "gestures.bundle")
    Path("models").symlink_to(server.repository)
    Path("recording.bin").write_bytes(atis(drawn(6000, 3, seconds=0.8)))
    assert app.run(write.code.split()[1:]) == 0
    with server.grpc() as client:
        client.load_model("gestures_stream")
        capsys.readouterr()
        exec(compile(ask.code.replace("127.0.0.1:8001", server.grpc_address), "cameras.md", "exec"), {})
        client.unload_model("gestures_stream")
    with tcja.load(bundle) as net:
        expected = of_packets(net, Path("recording.bin"), WINDOW)
    lines = [f"window {number}: {name.decode()}" for number, *_, name, _ in expected]
    assert capsys.readouterr().out.splitlines() == lines
    assert len(lines) == 8
