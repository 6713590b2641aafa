"""A bundle's network in Python, against a bare session of ONNX Runtime, PyTorch, and the commands."""

from __future__ import annotations

import json
import math
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import tcja_runtime as tcja
from tcja_deploy.cli import app
from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events, InMemory
from tcja_runtime.events.sources import open_source
from tcja_runtime.network import network

from ... import networks
from ...described import described
from ...streams import Fed, atis, drawn

T, SIZE, N = 5, 64, 6000


@pytest.fixture
def name() -> str:
    return "fashion_mnist"


@pytest.fixture(scope="module")
def events() -> Events:
    return drawn(N, seconds=0.6)


@pytest.fixture(scope="module")
def recording(events, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("recording") / "a.bin"
    file.write_bytes(atis(events))
    return file


@pytest.fixture(scope="module")
def gestures(streamed) -> Path:
    """A bundle of a network for events, with stepwise models."""
    return streamed(networks.SMALL["dvs128"])


@pytest.fixture
def net(gestures):
    with tcja.load(gestures, backend="onnxruntime") as loaded:
        yield loaded


def bare(bundle: Path, windows: np.ndarray) -> np.ndarray:
    """What ONNX Runtime says, without any of our code."""
    session = onnxruntime.InferenceSession(str(bundle / PLAIN_MODEL), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: windows})[0]
    return found


def by_number(events: Events) -> np.ndarray:
    """A window [T, 2, H, W] of frames with the same number of events, counted one by one."""
    frames = np.zeros((T, 2, SIZE, SIZE), np.float32)
    each = len(events) // T
    for at, (x, y, p) in enumerate(zip(events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True)):
        frames[min(at // each, T - 1), int(p), y, x] += 1
    return frames


def told(capsys, *arguments: object) -> list[dict]:
    """The objects that a command prints, a line or all of stdout each."""
    assert app.run([*map(str, arguments)]) == 0
    out = capsys.readouterr().out
    return [json.loads(out)] if out.startswith("{\n") else [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("name", ["fashion_mnist", pytest.param("dvs128", marks=pytest.mark.slow)])
def test_a_call_gives_the_scores_of_a_bare_session(bundle, name, monkeypatch):
    small = networks.SMALL[name]
    windows = small.inputs(5, seed=3)
    expected = bare(bundle, windows.numpy())
    classes = small.network.classes(small.sizes)
    monkeypatch.setattr(network, "batch_size", lambda _: 2)  # of five windows, the last is run alone
    with tcja.load(str(bundle)) as loaded:
        for given in (windows, windows.numpy(), windows.double()):
            found = loaded(given)
            np.testing.assert_allclose(found.scores, expected, rtol=0, atol=1e-6)
            assert found.scores.dtype == np.float32
            assert found.classes == [classes[at] for at in expected.argmax(1)]
            assert (found.output, found.class_names) == (small.network.output, classes)
        single = loaded(windows[3])
        np.testing.assert_allclose(single.scores, expected[3:4], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(loaded.outputs(windows), loaded(windows).scores)


def test_an_image_of_bytes_is_that_of_intensities(bundle):
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28), np.uint8)
    with tcja.load(bundle) as loaded:
        found = loaded(torch.from_numpy(image)).scores
    np.testing.assert_allclose(found, bare(bundle, image[None].astype(np.float32) / 255), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.full((1, 28, 28), 255.0),
            "'images' has values from 255 to 255; the network takes intensities from 0 to 1;",
        ),
        (np.full((1, 28, 28), np.nan), "'images' has values that are NaN; give finite numbers"),
        (np.full((1, 28, 28), -np.inf, np.float32), "'images' has values that are infinite; give finite numbers"),
        (np.full((1, 28, 28), 1e300), "'images' has values of up to 1e+300, which are too large for float32"),
        (np.full((1, 28, 28), -1), "'images' is int64 with values from -1 to -1; integers are taken as intensities"),
        (np.full((1, 28, 28), 4095, np.uint16), "'images' is uint16 with values from 4095 to 4095; integers are taken"),
        (np.full((1, 28, 28), -0.5), "'images' has values from -0.5 to -0.5; the network takes intensities from 0 to"),
        (np.zeros((28, 28, 1)), "'images' is float64 [28, 28, 1]; the network takes [1, 28, 28] for one window"),
    ],
)
def test_what_the_network_does_not_take_is_refused(bundle, values, message):
    with tcja.load(bundle) as loaded, pytest.raises(BadInput) as error:
        loaded(values)
    assert str(error.value).startswith(message)


def test_a_network_without_classes(bundle):
    images = networks.SMALL["fashion_mnist"].inputs(2)
    described(bundle, classes=[])
    with tcja.load(bundle) as loaded:
        np.testing.assert_allclose(loaded.outputs(images), bare(bundle, images.numpy()), rtol=0, atol=1e-6)
        calls = (
            lambda: loaded(images),
            lambda: loaded.classify("x.npz"),
            loaded.stepwise,
            lambda: loaded.stream(Fed()),
        )
        for call in calls:
            with pytest.raises(BadInput) as error:
                call()
            assert str(error.value) == (
                f"{bundle}: the network has no classes, so it cannot classify; in Python, `net.outputs` returns what "
                "it computes"
            )
        assert "It has no classes, " in str(loaded)


@pytest.mark.parametrize("window", [None, "200ms", "1500events"])
def test_classify_says_what_run_says(net, gestures, recording, capsys, window):
    cut = () if window is None else ("--window", window)
    (said,) = told(capsys, "run", gestures, recording, *cut, "--top", "3", "--json")
    found = net.classify(recording, window)
    of_run = {"bundle_sha256", "machine", "versions"}  # what tells results of boards apart
    assert found.to_dict(top=3) == {name: value for name, value in said.items() if name not in of_run}
    assert len(found) == {None: 1, "200ms": 3, "1500events": 4}[window]
    np.testing.assert_allclose(found.scores, bare(gestures, net.frames(recording, window)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("top", [0, -1, "2", 1.5])
def test_a_number_of_classes_to_name(net, recording, top):
    found = net.classify(recording)
    for told_in in (found.to_csv, found.to_dict):
        with pytest.raises(BadInput, match="^`top` .*must be"):
            told_in(top)


def test_the_frames_of_a_recording(net, recording, events):
    frames = net.frames(str(recording))
    np.testing.assert_array_equal(frames, by_number(events)[None])
    np.testing.assert_array_equal(net(frames).scores, net.classify(recording).scores)


def test_events_in_memory_are_a_recording(net, recording, events):
    memory = InMemory([events[:700], events[700:]], sensor=(SIZE, SIZE))
    one, other = net.classify(memory, "200ms"), net.classify(recording, "200ms")
    np.testing.assert_array_equal(one.scores, other.scores)
    assert (one.spans, one.files) == (other.spans, ["events"])
    both = net.classify([memory, recording], Window(200_000))
    np.testing.assert_array_equal(both.scores, np.concatenate([one.scores, other.scores]))
    assert both.counts == [3, 3]


def test_folders_of_classes_are_labels(net, recording, tmp_path):
    names = net.info.classes
    said = net.classify(recording).classes[0]
    for label in names:
        (tmp_path / label).mkdir()
    shutil.copy(recording, tmp_path / said / "a.bin")
    shutil.copy(recording, tmp_path / next(label for label in names if label != said) / "b.bin")
    found = net.classify(tmp_path)
    assert (found.accuracy.right, found.accuracy.labelled) == (1, 2)
    assert {names[label] for label in found.labels} == {path.parent.name for path in map(Path, found.files)}
    lines = str(found).splitlines()
    assert lines[-1] == "1 of 2 windows with a label are classified right"
    assert f", window 0, 0.000 to 0.600 s (label {said}): {said} (" in str(found)


def test_frame_by_frame_is_the_whole_window(net):
    windows = networks.SMALL["dvs128"].inputs(2, seed=5)
    stepwise = net.stepwise()
    for window, expected in zip(windows, net(windows), strict=True):
        for step, frame in enumerate(window[:-1]):
            assert stepwise.step == step
            assert stepwise.push(frame.to(torch.uint8)) is None
        found = stepwise.push(window[-1].numpy())
        np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-6)
        assert found.name == expected.name
    stepwise.push(windows[0, 0])
    with pytest.raises(BadInput, match=r"'frame' is float32 \[64, 64\]; the network takes \[2, 64, 64\], one frame"):
        stepwise.push(windows[0, 0, 0])
    with pytest.raises(BadInput, match="frames have values from -1 to -1; the network takes counts of events"):
        stepwise.push(np.full((2, SIZE, SIZE), -1))
    assert stepwise.step == 1
    stepwise.reset()
    assert stepwise.step == 0


def test_frames_that_are_pushed_by_hand_are_compared(net, caplog):
    window = networks.SMALL["dvs128"].inputs(1)[0].numpy()
    stepwise = net.stepwise()
    stepwise.push(window[0] / 255)
    stepwise.reset()
    for frame in window:
        stepwise.push(frame)
    assert caplog.messages == []
    for frame in window / 255:
        stepwise.push(frame)
    (text,) = caplog.messages
    assert text.startswith("the inputs hold fractions, and the network was proven on whole numbers of events")


def test_a_bundle_without_stepwise_models(bundle):
    with tcja.load(bundle) as loaded, pytest.raises(BadInput, match="was exported without `streaming`"):
        loaded.stepwise()


@pytest.mark.parametrize(("window", "hop"), [("200ms", "100ms"), ("1500events", None), (None, None)])
def test_stream_says_what_the_command_says(net, gestures, recording, capsys, window, hop):
    cut = [part for pair in (("--window", window), ("--hop", hop)) if pair[1] for part in pair]
    *said, summary = told(capsys, "stream", gestures, recording, *cut, "--speed", "max", "--top", "3", "--json")
    with net.stream(recording, window, hop=hop, speed=math.inf) as stream:
        found = list(stream)
    assert len(found) == len(said) > 0
    for one, row in zip(found, said, strict=True):
        assert [{"class": name, "score": score} for name, score in one.top(3)] == row["top"]
        assert (one.window, one.begin, one.end, one.events) == tuple(
            row[k] for k in ("window", "begin", "end", "events")
        )
    assert (stream.summary.ended, stream.summary.events) == ("end", summary["summary"]["events"])
    assert stream.summary.stepwise == summary["summary"]["stepwise"]


def test_a_loaded_network_is_that_of_the_files_that_were_checked(gestures, recording, tmp_path):
    """Another program writes other weights into the file, and cuts the models short, while the network is loaded."""
    folder = shutil.copytree(gestures, tmp_path / "a.bundle")
    with tcja.load(folder) as loaded:
        before = [list(found.scores) for found in loaded.stream(recording, "100ms", speed=math.inf)]
        windows = loaded.frames(recording, "100ms")
        whole = loaded.outputs(windows)
        for file in folder.glob("*.*"):
            with file.open("r+b") as stream:
                weights = stream.read()[::-1]
                stream.seek(0)
                stream.write(weights) if file.suffix == ".bin" else stream.truncate(1)
        np.testing.assert_array_equal(loaded.outputs(windows), whole)
        after = [list(found.scores) for found in loaded.stream(recording, "100ms", speed=math.inf)]
        assert len(before) > 3
        np.testing.assert_array_equal(after, before)


def test_a_socket_is_read_until_the_iterator_is_closed(net, events):
    """The camera of this test sends on, and nobody listens any more."""
    before = threading.active_count()
    stream = net.stream("udp://127.0.0.1:0", "1000events", form="atis")
    host, _, port = stream.address.removeprefix("udp://").rpartition(":")
    content = atis(events)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as camera:
        for at in range(0, len(content), 500):
            camera.sendto(content[at : at + 500], (host, int(port)))
        found = [next(stream) for _ in range(3)]
        stream.close()
        assert [one.window for one in found] == [0, 1, 2]
        assert threading.active_count() == before
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((host, int(port)))  # which it could not if the source were open
    assert stream.summary.ended == "stopped"
    assert list(stream) == []


@pytest.mark.parametrize("how", ["left", "never begun", "from another thread"])
def test_an_iterator_that_is_given_up_closes_its_source(net, recording, how):
    source = open_source(str(recording), speed=1.0)
    closed = threading.Event()
    source.close = closed.set
    before = threading.active_count()
    if how == "left":
        for _ in net.stream(source, "100ms"):
            break
    elif how == "never begun":
        net.stream(source, "100ms").close()
    else:
        stream = net.stream(source, Window(500_000))
        closing = threading.Timer(0.05, stream.close)
        closing.start()
        assert list(stream) == []
        closing.join()
    assert closed.wait(2)
    assert threading.active_count() <= before


def test_a_stream_that_another_thread_closes_ends(net, events):
    """The source is slow to stop, so that the iteration goes on while the other thread closes it."""
    begun = threading.Event()

    class Slow(Fed):
        def runs(self, stop):
            yield events
            stop.wait()
            begun.set()
            time.sleep(0.2)

    stream = net.stream(Slow(), "1000events")
    next(stream)
    closing = threading.Thread(target=stream.close)
    closing.start()
    assert begun.wait(5)
    assert next(stream, None) is None
    closing.join()
    assert stream.summary.ended == "stopped"


def test_a_stream_that_is_closed_by_its_own_notes_ends(net, events, monkeypatch):
    source, closed = Fed(events), []
    source.warnings, source.close = ("a warning",), lambda: closed.append(True)
    streams = []
    monkeypatch.setattr(network.logger, "warning", lambda _: streams[0].close())
    streams.append(net.stream(source, "1000events"))
    assert len(list(streams[0])) <= 1
    assert closed
    assert streams[0].summary.ended == "stopped"


@pytest.mark.parametrize("speed", [0, -1, math.nan, -math.inf, "2", True, [1], 10**400])
def test_a_speed_is_a_number_above_0(net, recording, speed):
    with pytest.raises(BadInput, match="^`speed` .* must be a number above 0$"):
        net.stream(recording, speed=speed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": Window(200_000)}, "`window` is in `options`; give it as an argument of the call"),
        ({"backend": "onnxruntime"}, "`backend` is in `options`; give it to `load`"),
    ],
)
def test_what_is_given_in_another_way_is_not_in_the_options(net, recording, options, message):
    calls = [lambda: net.stream(recording, options=tcja.StreamOptions(**options))]
    if "window" in options:
        given = tcja.DataOptions(**options)
        calls += [lambda: net.classify(recording, options=given), lambda: net.frames(recording, options=given)]
    for call in calls:
        with pytest.raises(BadInput) as error:
            call()
        assert str(error.value) == message


def test_the_rest_of_a_stream_s_errors(net, recording, tmp_path):
    with pytest.raises(BadInput, match="`form` is for a source that is given by its path or address; leave it out"):
        net.stream(Fed(), form="atis")
    with pytest.raises(BadInput, match="`form` is 3, and must be text"):
        net.stream(recording, form=3)
    with pytest.raises(BadInput, match="`hop` is 3, and must be text"):
        net.stream(recording, hop=3)
    with pytest.raises(BadInput, match="`hop` needs `window` as text"):
        net.stream(recording, None, hop="100ms")
    with pytest.raises(BadInput, match=r"nowhere\.bin does not exist"):
        net.stream(tmp_path / "nowhere.bin")
    with pytest.raises(BadInput, match="has no end, so give the length of windows"):
        net.stream("udp://127.0.0.1:0", None, form="atis")
    with pytest.raises(BadInput, match="`window` is 3, and must be"):
        net.stream(recording, 3)
    with pytest.raises(BadInput, match="`source` is 3, and must be a path, an address or a source of events"):
        net.stream(3)
    (tmp_path / "damaged.bin").write_bytes(recording.read_bytes()[:-2])
    stream = net.stream(tmp_path / "damaged.bin", "100ms", speed=math.inf)
    with pytest.raises(BadInput, match=r"damaged\.bin"):
        list(stream)
    assert stream.summary.ended == "error"


def test_notes_are_warnings_of_the_logger(gestures, recording, tmp_path, caplog):
    timed = Path(shutil.copytree(gestures, tmp_path / "timed.bundle"))
    described(timed, input=InputContract.frames(T, SIZE, SIZE).cut_by("duration:40ms"))
    limits = tcja.StreamOptions(windows=1)
    with tcja.load(timed) as loaded:
        with loaded.stream(recording, "200ms", speed=math.inf, options=limits) as stream:
            assert len(list(stream)) == 1
        assert (stream.summary.ended, caplog.messages) == ("windows", [])
        loaded.stream(recording, "100ms").close()
    (said,) = caplog.records
    assert (said.name, said.levelname) == ("tcja_runtime", "WARNING")
    assert said.message.startswith(
        "each frame lasts 20 ms here and lasted 40 ms in training; `window` 200000us restores"
    )


def test_windows_that_overlap(net, recording):
    for window, hop in (("200ms", "100ms"), ("1500events", "500events")):
        found = net.classify(recording, window, hop=hop)
        expected = net.classify(recording, Window.parse(window, hop))
        assert [span.begin for span in found.spans] == [span.begin for span in expected.spans]
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert len(net.frames(recording, window, hop=hop)) == len(found) > len(net.classify(recording, window))
    with pytest.raises(BadInput, match="`hop` needs `window` as text"):
        net.classify(recording, hop="100ms")


def test_names_of_a_bundle_are_printed_in_one_line(bundle):
    """A name could hold what a terminal obeys."""
    names = [f"c{at}\x1b[31m\n" for at in range(10)]
    described(bundle, classes=names)
    with tcja.load(bundle) as loaded:
        found = loaded(networks.SMALL["fashion_mnist"].inputs(2))
        texts = [str(loaded), repr(loaded), str(found), str(found[0]), repr(found), repr(found.top(1)), repr(found[0])]
        assert found.classes[0] in names
    assert "(c0 [31m , c1 [31m , c2 [31m , c3 [31m  and 6 more)" in texts[0]
    assert len(texts[2].splitlines()) == 3
    assert not any("\x1b" in text for text in texts)


def test_threads_may_share_it(bundle):
    images = networks.SMALL["fashion_mnist"].inputs(32, seed=3).numpy()
    expected = bare(bundle, images)
    with tcja.load(bundle) as loaded, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda image: loaded(image).scores[0], images))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_engine_of_this_gpu_is_chosen(bundle, simulated, capsys):
    """On a GPU and a TensorRT that are simulated (tests/simulated/README.md)."""
    images = networks.SMALL["fashion_mnist"].inputs(3)
    assert app.run(["build", str(bundle), "--target", "tensorrt"]) == 0
    with tcja.load(bundle) as loaded:
        assert loaded.info.backend.startswith("TensorRT 10.3.0")
        assert loaded.info.engine
        np.testing.assert_allclose(loaded(images).scores, bare(bundle, images.numpy()), rtol=0, atol=1e-5)
        with ThreadPoolExecutor(4) as threads:
            each = list(threads.map(lambda image: loaded(image).scores[0], [*images] * 4))
        np.testing.assert_allclose(each, np.tile(loaded(images).scores, (4, 1)), rtol=0, atol=1e-5)
    simulated.setenv("SIMULATED_GPU", "Another GPU, 9.0")
    with tcja.load(bundle) as loaded:
        assert loaded.info.backend.startswith("ONNX Runtime")
        assert loaded.info.engine is None
        (line,) = loaded.info.not_run
        assert f"Not run: {line}" in str(loaded)
    (engine,) = (bundle / "engines").glob("*/model.engine")
    engine.write_bytes(engine.read_bytes() + b" ")
    with pytest.raises(BadInput, match=r"model\.engine"):
        tcja.load(bundle)
    tcja.load(bundle, trust_engine=True).close()


def test_what_is_known_of_it(net, gestures):
    assert (net.info.network, net.info.time_steps, net.info.input.shape) == ("dvs128", 5, (5, 2, 64, 64))
    assert net.info.stepwise
    assert repr(net) == f"<Network dvs128 of {gestures}, in {net.info.backend}>"
    assert str(net).splitlines() == [
        f"dvs128 of {gestures}, in ONNX Runtime {onnxruntime.__version__}.",
        "It has 3 classes (0, 1, 2), 3,151 parameters and 5 time steps, in fp32.",
        "It takes 'frames' [N, 5, 2, 64, 64]: counts of events, not negative, or recordings of events.",
        net.info.parity,
        "The bundle is not signed.",
    ]
    assert net.info.parity.startswith("Parity met")


def test_what_is_closed_is_not_run(bundle):
    images = networks.SMALL["fashion_mnist"].inputs(1)
    with tcja.load(bundle) as loaded:
        loaded(images)
    with pytest.raises(BadInput, match=f"^the network of {bundle} is closed; load it again$"):
        loaded(images)
    loaded.close()
    assert str(loaded) == f"fashion_mnist of {bundle} is closed; load it again."
    assert repr(loaded) == f"<Network fashion_mnist of {bundle}, closed>"


def test_nothing_of_what_is_closed_is_run(gestures, recording):
    with tcja.load(gestures) as loaded:
        stepwise = loaded.stepwise()
        assert stepwise.push(np.zeros((2, SIZE, SIZE))) is None
        assert repr(stepwise) == f"<Stepwise dvs128 of {gestures}, at frame 1 of {T}>"
    for call in (
        loaded.stepwise,
        lambda: stepwise.push(np.zeros((2, SIZE, SIZE))),
        lambda: loaded.classify(recording),
        lambda: loaded.frames(recording),
        lambda: loaded.stream(recording),
        lambda: loaded.outputs(np.zeros((T, 2, SIZE, SIZE))),
    ):
        with pytest.raises(BadInput, match=f"^the network of {gestures} is closed; load it again$"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: tcja.load("nowhere"), "nowhere does not exist"),
        (lambda _: tcja.load(3), "`path` is 3, and must be a path"),
        (lambda bundle: tcja.load(bundle, backend="fast"), "`backend` fast must be one of auto, tensorrt, "),
        (lambda bundle: tcja.load(bundle, backend=None), "`backend` is None, and must be text"),
        (
            lambda bundle: tcja.load(bundle, backend="tensorrt"),
            "{bundle} has no tensorrt engine: run 'tcja-deploy build",
        ),
        (lambda bundle: tcja.load(bundle, trust_engine=1), "`trust_engine` is 1, and must be true or false"),
        (lambda bundle: tcja.load(bundle).classify([]), "`source` is empty; give a recording"),
        (lambda bundle: tcja.load(bundle).classify(3), "`source` is 3, and must be a path"),
        (lambda bundle: tcja.load(bundle).classify("a", options=3), "`options` is 3, and must be a DataOptions"),
        (lambda bundle: tcja.load(bundle).stream("a", options=3), "`options` is 3, and must be a StreamOptions"),
        (lambda _: tcja.DataOptions(window="500ms"), '`window` is "500ms", and must be a Window'),
        (lambda _: tcja.DataOptions(labels=3), "`labels` is 3, and must be text"),
        (lambda _: tcja.CameraView(crop=3), "`crop` is 3, and must be"),
    ],
)
def test_wrong_arguments_are_refused_by_their_names(bundle, call, message):
    with pytest.raises(BadInput) as error:
        call(bundle)
    assert str(error.value).startswith(message.format(bundle=bundle))


def test_a_changed_file_is_refused(bundle):
    weights = bundle / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match=r"weights\.bin was changed: its sha256 is not the manifest's"):
        tcja.load(bundle)
