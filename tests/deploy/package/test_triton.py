"""`package triton`, on a real server: whole windows in Triton's Python backend."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from signal import SIGKILL
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tcja_runtime as tcja
from tcja_deploy.cli import app
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.package.options import TritonOptions
from tcja_deploy.package.windows import shared_memory
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.events import InMemory

from ... import networks, servers, signing, streams
from ...docs.blocks import ROOT, blocks, runnable
from ...runtime.bundle.sealing import reseal
from ...runtime.events import writers
from ...sidecars import engine_info

pytestmark = [pytest.mark.releases, servers.NEEDED]

yaml = pytest.importorskip("ruamel.yaml")

CLOTHES, GESTURES = "fashion_mnist", "dvs128"
PROTOCOLS = ("http", "grpc")
SERVING = ROOT / "docs" / "how-to" / "serving.md"
EVT3 = b"% evt 3.0\n% end\n"


def package(bundle: Path, repository: Path, *options: object) -> int:
    return app.run(["package", "triton", str(bundle), str(repository), *map(str, options)])


@pytest.fixture(scope="module")
def bundles(_bundles):
    return {name: _bundles[name] for name in networks.SMALL}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The private and public key of the one who makes bundles, and the public key of a stranger."""
    folder = tmp_path_factory.mktemp("keys")
    return (*signing.ssh_key(folder), signing.ssh_key(folder, "stranger")[1])


@pytest.fixture(scope="module")
def signed(bundles, keys, tmp_path_factory):
    """A signed copy of a bundle."""
    copy = Path(shutil.copytree(bundles[CLOTHES], tmp_path_factory.mktemp("signed") / "signed.bundle"))
    assert app.run(["sign", str(copy), "--key", str(keys[0])]) == 0
    return copy


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    repository = tmp_path_factory.mktemp("repository") / "models"
    for bundle in bundles.values():
        assert package(bundle, repository, "--delay", "50ms") == 0
    with servers.serving(repository, tmp_path_factory.mktemp("server"), list(bundles)) as server:
        yield server


@pytest.fixture(params=PROTOCOLS)
def client(request, server):
    found = getattr(server, request.param)(**({"concurrency": 8} if request.param == "http" else {}))
    yield found
    found.close()


def given(client: Any, name: str, values: np.ndarray) -> Any:
    module = importlib.import_module(type(client).__module__.rpartition(".")[0])
    kinds = {"f": "FP32", "O": "BYTES", "u": "UINT8"}
    found = module.InferInput(name, list(values.shape), kinds[values.dtype.kind])
    found.set_data_from_numpy(values)
    return found


def raw(*recordings: bytes) -> np.ndarray:
    return np.array([[each] for each in recordings], object)


def refusal(client: Any, model: str, *inputs: Any, **options: Any) -> str:
    """The text with which a request is refused."""
    with pytest.raises(Exception, match=r"INVALID_ARGUMENT|\[400\]") as refused:
        client.infer(model, list(inputs), **options)
    return str(refused.value)


def test_it_answers_what_the_local_session_answers(server, client, bundles):
    assert client.is_server_live()
    for name, bundle in bundles.items():
        assert client.is_model_ready(name)
        windows = networks.SMALL[name].inputs(3, seed=3).numpy()
        with tcja.load(bundle) as net:
            expected, info = net(windows).scores, net.info
        answer = client.infer(name, [given(client, info.input.name, windows)])
        assert np.array_equal(answer.as_numpy(info.output), expected)
    assert f"{CLOTHES} version 1: {CLOTHES} of " in server.said()


def test_its_description_is_that_of_the_network(server, bundles):
    with server.http() as client:
        told, config = client.get_model_metadata(GESTURES), client.get_model_config(GESTURES)
        with tcja.load(bundles[GESTURES]) as net:
            info = net.info
        shape = [-1, *info.input.shape]
        assert told["inputs"] == [
            {"name": "frames", "datatype": "FP32", "shape": shape},
            {"name": "events", "datatype": "BYTES", "shape": [-1, 1]},
        ]
        assert told["outputs"] == [{"name": info.output, "datatype": "FP32", "shape": [-1, len(info.classes)]}]
        assert config["max_batch_size"] == 64
        assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 50_000
        assert [each["kind"] for each in config["instance_group"]] == ["KIND_CPU"]
        assert [each["batch_size"] for each in config["model_warmup"]] == [1, 64]


def test_the_shared_memory_is_as_large_as_package_says(server, bundles, tmp_path, capsys):
    memory = {file.stat().st_size for file in Path("/dev/shm").glob(f"{server.shared_memory}*")}
    bundle = Bundle.open(bundles[GESTURES])
    assert memory >= {shared_memory(bundle, TritonOptions(instances=1))} == {(64 * 5 * 2 * 64 * 64 * 4) + 2**20}
    assert package(bundles[GESTURES], tmp_path / "models", "--instances", 9) == 0
    note = " ".join(capsys.readouterr().err.replace("\xa0", " ").split())
    assert "the largest batches take 104 MB of shared memory, and a container has 67 MB by default" in note


def test_classes_have_their_names(client, bundles):
    windows = networks.SMALL[CLOTHES].inputs(2, seed=3).numpy()
    with tcja.load(bundles[CLOTHES]) as net:
        found = net(windows)
    module = importlib.import_module(type(client).__module__.rpartition(".")[0])
    asked = module.InferRequestedOutput(net.info.output, class_count=2)
    answer = client.infer(CLOTHES, [given(client, "images", windows)], outputs=[asked]).as_numpy(net.info.output)
    assert [each.decode().split(":")[2] for each in answer[:, 0].tolist()] == found.classes


def test_requests_that_come_together_run_together(server, bundles):
    windows = networks.SMALL[CLOTHES].inputs(16, seed=9).numpy()
    with tcja.load(bundles[CLOTHES]) as net:
        expected = net(windows).scores
    before = [server.metric(f"nv_inference_{name}", model=CLOTHES) for name in ("count", "exec_count")]
    with server.http(concurrency=16) as client:
        asked = [client.async_infer(CLOTHES, [given(client, "images", window[None])]) for window in windows]
        answers = [each.get_result().as_numpy(net.info.output) for each in asked]
    assert np.array_equal(np.concatenate(answers), expected)

    def ran() -> tuple[float, float]:
        after = [server.metric(f"nv_inference_{name}", model=CLOTHES) for name in ("count", "exec_count")]
        return after[0] - before[0], after[1] - before[1]

    servers.until(lambda: ran()[0] == 16)
    assert ran()[1] < 8


def test_raw_events_are_integrated_by_the_rule_of_the_bundle(client, bundles):
    recordings = [streams.drawn(n, seed=n) for n in (300, 2000)]
    listed = [list(zip(*(getattr(e, a).astype(int).tolist() for a in "txyp"), strict=True)) for e in recordings]
    with tcja.load(bundles[GESTURES]) as net:
        expected = net.classify([InMemory([each]) for each in recordings]).scores
    for form, contents in (
        ("atis", [streams.atis(each) for each in recordings]),
        ("evt3", [writers.evt3(each, b"") for each in listed]),
        (None, [writers.evt3(each, EVT3) for each in listed]),
    ):
        parameters = {"format": form} if form else None
        answer = client.infer(GESTURES, [given(client, "events", raw(*contents))], parameters=parameters)
        assert np.array_equal(answer.as_numpy(net.info.output), expected)


def test_what_cannot_be_used_is_refused_in_words(client):
    shape = tuple(networks.SMALL[GESTURES].inputs(1).shape)
    images = networks.SMALL[CLOTHES].inputs(1).numpy()
    frames = np.zeros(shape, np.float32)

    def events(content: bytes) -> Any:
        return given(client, "events", raw(content))

    cases = [
        ("'images' has values from 0", [given(client, "images", images * 255)], CLOTHES, {}),
        ("'images' has values that are NaN; give finite", [given(client, "images", images * np.nan)], CLOTHES, {}),
        ("'frames' has values from -1 to -1; the network takes", [given(client, "frames", frames - 1)], GESTURES, {}),
        (
            "has both of 'frames' and 'events'; give one of them",
            [given(client, "frames", frames), events(b"1")],
            GESTURES,
            {},
        ),
        ("the format of 'events' is not known from their first bytes", [events(b"?" * 40)], GESTURES, {}),
        ("the `format` png of 'events' is not taken; give one of aedat2,", [events(b"?")], GESTURES, {"format": "png"}),
        ("the `format` aedat4 of 'events' is not taken", [events(b"?")], GESTURES, {"format": "aedat4"}),
        ("'events' is empty; give the bytes of a recording", [events(b"")], GESTURES, {}),
        ("events: byte 5: the last event has 2 of its 5 bytes", [events(b"1234567")], GESTURES, {"format": "atis"}),
    ]
    for words, inputs, model, parameters in cases:
        assert words in refusal(client, model, *inputs, parameters=parameters or None)
    # What the server refuses by itself, in its own words.
    assert "expects 'FP32'" in refusal(client, CLOTHES, given(client, "images", (images * 255).astype(np.uint8)))
    assert "unexpected shape for input 'images'" in refusal(client, CLOTHES, given(client, "images", images[..., 1:]))


def test_one_bad_request_does_not_spoil_its_batch(server, bundles):
    windows = networks.SMALL[CLOTHES].inputs(8, seed=4).numpy()
    with tcja.load(bundles[CLOTHES]) as net:
        expected = net(windows).scores
    windows[3] *= -1
    with server.http(concurrency=8) as client:
        asked = [client.async_infer(CLOTHES, [given(client, "images", window[None])]) for window in windows]
        for number, each in enumerate(asked):
            if number == 3:
                with pytest.raises(Exception, match=r"'images' has values from -\S+ to -?0"):
                    each.get_result()
            else:
                assert np.array_equal(each.get_result().as_numpy(net.info.output)[0], expected[number])


def signal() -> nn.Module:
    """A network whose scores are also sums of its inputs, so that very large inputs make them infinite."""
    own: dict[str, Any] = {}
    exec(networks.OWN_LIF, own)

    class Signal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif, self.spikes, self.values = (
                nn.Linear(4, 8),
                own["LIF"](),
                nn.Linear(8, 3),
                nn.Linear(4, 3),
            )

        def forward(self, x: Tensor) -> Tensor:
            return (self.spikes(self.lif(self.fc(x))) + self.values(x)).mean(0)

    torch.manual_seed(0)
    return Signal().eval()


def test_a_request_that_fails_when_it_runs_fails_alone(server, tmp_path):
    bundle = tmp_path / "signal.bundle"
    request = ExportRequest(
        checkpoint=None,
        model=signal(),
        out=bundle,
        data=None,
        target="onnx",
        samples=1,
        shape=(3, 4),
        input="features",
        layout="TN",
    )
    pipeline.export(request)
    assert package(bundle, server.repository, "--delay", "50ms") == 0
    assert loading(server, "signal") == ""
    windows = np.random.default_rng(0).normal(size=(8, 3, 4)).astype(np.float32)
    with tcja.load(bundle) as net:
        expected = [net(window).scores for window in windows]
    windows[5] = 3e38
    with server.http(concurrency=8) as client:
        asked = [client.async_infer("signal", [given(client, "features", window[None])]) for window in windows]
        for number, each in enumerate(asked):
            if number == 5:
                with pytest.raises(Exception, match="ONNX Runtime .* returns scores that are NaN or infinite"):
                    each.get_result()
            else:
                assert np.array_equal(each.get_result().as_numpy(net.info.output), expected[number])


def loading(server: servers.Server, name: str) -> str:
    """The text with which the server refuses to load a model; empty if it loads it."""
    with server.http() as client:
        try:
            client.load_model(name)
        except Exception as error:
            return str(error)
        return ""


def test_instances_share_the_cores(server, bundles):
    """Each is a process; the threads of its network are fewer than those of a network alone."""
    windows = networks.SMALL[CLOTHES].inputs(2, seed=5).numpy()
    with tcja.load(bundles[CLOTHES]) as net:
        expected = net(windows).scores
    counts = {}
    for instances in (1, 2):
        name = f"instances{instances}"
        assert package(bundles[CLOTHES], server.repository, "--name", name, "--instances", instances) == 0
        assert loading(server, name) == ""
        found = [each for each in processes_of(server) if f"/{name}/" in each.read_text()]
        counts[instances] = [len([*(each.parent / "task").iterdir()]) for each in found]
        with server.grpc() as client:
            for _ in range(8):
                assert np.array_equal(
                    client.infer(name, [given(client, "images", windows)]).as_numpy("rates"), expected
                )
            client.unload_model(name)
    assert len(counts[1]) == 1
    assert len(counts[2]) == 2
    if len(os.sched_getaffinity(0)) > 1:
        assert max(counts[2]) < counts[1][0]


def test_the_liveness_probe_sees_that_a_process_was_killed(server, bundles):
    """The server does not: it says that the model is ready."""
    found = [yaml.YAML(typ="safe").load_all(each.code) for each in blocks(SERVING) if each.language == "yaml"]
    (deployment,) = [each for documents in found for each in documents if each.get("kind") == "Deployment"]
    probe = deployment["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["exec"]["command"]
    windows = networks.SMALL[CLOTHES].inputs(1, seed=5).numpy()
    assert package(bundles[CLOTHES], server.repository, "--name", "killed") == 0
    assert loading(server, "killed") == ""
    (process,) = [each for each in processes_of(server) if "/killed/" in each.read_text()]

    def alive() -> bool:
        here = {"localhost:8000": server.address, "/proc/[0-9]*/cmdline": str(process)}
        command = [functools.reduce(lambda text, name: text.replace(name, here[name]), here, each) for each in probe]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert alive()
    os.kill(int(process.parent.name), SIGKILL)
    servers.until(lambda: not alive())
    with server.grpc() as client:
        assert client.is_server_live()
        assert client.is_model_ready("killed")
        with pytest.raises(Exception, match="is not healthy"):
            client.infer("killed", [given(client, "images", windows)])
        assert loading(server, "killed") == ""
        client.infer("killed", [given(client, "images", windows)])
        client.unload_model("killed")


def processes_of(server: servers.Server) -> list[Path]:
    """The files with the command lines of the processes that run models."""
    tasks = Path(f"/proc/{server.pid}/task").glob("*/children")
    return [Path(f"/proc/{child}/cmdline") for task in tasks for child in task.read_text().split()]


def test_a_bundle_that_was_changed_is_not_loaded(server, bundles):
    assert package(bundles[CLOTHES], server.repository, "--name", "changed") == 0
    weights = server.repository / "changed" / "1" / "model.bundle" / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    assert "weights.bin was changed: its sha256 is not the manifest's; copy the bundle" in loading(server, "changed")


def test_a_bundle_is_loaded_with_the_signature_that_was_required(server, signed, keys, capsys):
    _, public, stranger = keys
    assert package(signed, server.repository, "--name", "strange", "--public-key", stranger) == 2
    assert "none of those whom you trust made it (key stranger.pub" in capsys.readouterr().err
    assert package(signed, server.repository, "--name", "signed", "--public-key", public) == 0
    assert loading(server, "signed") == ""
    assert "The bundle is signed by key release.pub (SHA256:" in server.said()
    shutil.copytree(server.repository / "signed", server.repository / "strange")
    config = server.repository / "strange" / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "signed"', 'name: "strange"'))
    shutil.copy(stranger, server.repository / "strange" / "keys" / "release.pub")
    assert "none of those whom you trust made it (key release.pub" in loading(server, "strange")
    (server.repository / "strange" / "1" / "model.bundle" / "manifest.json.sig").unlink()
    assert "is not signed, and `public_keys` requires a signature" in loading(server, "strange")


def test_a_new_version_takes_over_and_no_answer_is_lost(server, bundles, tmp_path, capsys):
    small = networks.SMALL[CLOTHES]
    checkpoint = small.checkpoint(tmp_path / "model.pth", seed=1)
    pipeline.export(ExportRequest(checkpoint=checkpoint, out=tmp_path / "b.bundle", target="onnx", samples=1))
    windows = small.inputs(4, seed=6).numpy()
    old, new = (tcja.load(each)(windows).scores for each in (bundles[CLOTHES], tmp_path / "b.bundle"))
    assert not np.array_equal(old, new)
    assert package(bundles[CLOTHES], server.repository, "--name", "rolling") == 0
    assert loading(server, "rolling") == ""
    answers, failed, over = [], [], threading.Event()

    def ask() -> None:
        with server.grpc() as client:
            while not over.is_set():
                try:
                    found = client.infer("rolling", [given(client, "images", windows)])
                    answers.append((found.get_response().model_version, found.as_numpy("rates")))
                except Exception as error:
                    failed.append(error)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for each in asking:
        each.start()
    try:
        servers.until(lambda: len(answers) > 20)
        capsys.readouterr()
        assert package(tmp_path / "b.bundle", server.repository, "--name", "rolling", "--new-version", "--json") == 0
        assert json.loads(capsys.readouterr().out)["version"] == 2
        assert loading(server, "rolling") == ""
        seen = len(answers)
        servers.until(lambda: len(answers) > seen + 20)
    finally:
        over.set()
        for each in asking:
            each.join()
    assert failed == []
    assert {version for version, _ in answers} == {"1", "2"}
    assert all(np.array_equal(found, old if version == "1" else new) for version, found in answers)
    assert answers[-1][0] == "2"


def test_the_guide_is_true(server, bundles, tmp_path, monkeypatch, capsys):
    """docs/how-to/triton.md: its commands, and its program."""
    write, start, ask, replace = (block for block in runnable(ROOT / "docs/how-to/triton.md"))
    assert start.reason is not None
    assert [block.test for block in (write, ask, replace)] == ["tests/deploy/package/test_triton.py"] * 3
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundles[GESTURES], "gestures.bundle")
    Path("models").symlink_to(server.repository)
    events = streams.drawn(900, seed=3)
    Path("recording.bin").write_bytes(streams.atis(events))
    assert app.run(write.code.split()[1:]) == 0
    assert loading(server, "gestures") == ""
    capsys.readouterr()
    program = ask.code.replace("127.0.0.1:8001", server.grpc_address)
    exec(compile(program, "triton.md", "exec"), {"__name__": "__main__"})
    with tcja.load("gestures.bundle") as net:
        expected = net.classify(InMemory([events]))[0]
    assert f":{expected.name}'" in capsys.readouterr().out.split()[0]
    assert app.run(replace.code.split()[1:]) == 0
    assert "Written: version 2 of the model gestures in models" in " ".join(capsys.readouterr().out.split())


def test_numpy_2_is_refused_where_the_server_is_older(server, tmp_path):
    """The server would take wrong values from requests, without an error."""
    site = Path(np.__file__).parent.parent
    assert np.__version__.startswith("2.")
    for name in ("numpy", "numpy.libs"):
        (tmp_path / name).symlink_to(site / name)
    with servers.serving(server.repository, tmp_path / "server", first=[tmp_path]) as old:
        assert (
            f"this server takes wrong values from the arrays of NumPy {np.__version__}, as servers before 24.11 do; run"
            in loading(old, CLOTHES)
        )


def test_a_bundle_with_engines_runs_without_them_where_none_fits(server, bundles, tmp_path):
    bundle = Path(shutil.copytree(bundles[CLOTHES], tmp_path / "engines.bundle"))
    folder, engine = bundle / "engines" / "orin-sm87-trt10.3.0-fp16", b"not an engine"
    folder.mkdir(parents=True)
    info = dataclasses.asdict(engine_info(bytes=len(engine), sha256=hashlib.sha256(engine).hexdigest()))
    (folder / "model.engine").write_bytes(engine)
    (folder / "engine.json").write_text(json.dumps(info))
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    for file in folder.iterdir():
        content = file.read_bytes()
        found = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        files[file.relative_to(bundle).as_posix()] = found
    reseal(bundle, engines={folder.name: info}, files=files)
    assert package(bundle, server.repository) == 0
    assert loading(server, "engines") == ""
    with server.http() as client:
        config = client.get_model_config("engines")
        windows = networks.SMALL[CLOTHES].inputs(8, seed=4).numpy()
        answer = client.infer("engines", [given(client, "images", windows)])
    assert config["max_batch_size"] == 8
    with tcja.load(bundles[CLOTHES]) as net:
        assert np.array_equal(answer.as_numpy("rates"), net(windows).scores)
    assert f"Not run: engine {folder.name} skipped: " in server.said()


def test_a_package_that_is_missing_is_named(bundles, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    assert package(bundles[CLOTHES], tmp_path / "models") == 3
    assert "is not installed: run 'pip install \"tritonclient[grpc]\"'" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_what_cannot_be_packaged_is_said(bundles, tmp_path, capsys):
    repository, bundle = tmp_path / "models", bundles[CLOTHES]
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    assert package(bundle, repository) == 0
    assert "Next: tritonserver --model-repository=" in " ".join(capsys.readouterr().out.split())
    for name, character in {"my models": " ", "mod\u00e8les": "\u00e8"}.items():
        assert package(bundle, tmp_path / name) == 0
        said = f"may load no model from a path with '{character}'"
        assert said in " ".join(capsys.readouterr().err.split())
    before = sorted(repository.rglob("*"))
    for words, place, options in (
        (f"{repository / CLOTHES} exists; add the bundle as its next version with --new-version", repository, ""),
        ("--name a/b must have letters, digits", repository, "--name a/b"),
        ("file is not a folder; name a folder for the model repository", tmp_path / "file", ""),
        ("cannot be made: Not a directory; choose another folder", tmp_path / "file" / "models", ""),
        ("link is not a folder; name a folder for the model repository", tmp_path / "link", ""),
        (f"models is in the bundle {bundle}; name a folder outside it", bundle / "models", ""),
        (f"is in the bundle {bundle}; name a folder outside it", bundle / "models", "--backend onnxruntime"),
        ("--delay soon is not a time, such as 500us", repository, "--delay soon --name b"),
        ("--new-version keeps the configuration of the model; leave --delay", repository, "--new-version --delay 1ms"),
        ("c is not a model of a repository, so it gets no --new-version", repository, "--new-version --name c"),
        ("is not signed, and --require-signature requires a", repository, "--require-signature --name d"),
    ):
        assert package(bundle, place, *options.split()) == 2
        assert words in capsys.readouterr().err
    assert package(bundles[GESTURES], repository, "--new-version", "--name", CLOTHES) == 2
    assert f"{CLOTHES}: the field input of its configuration does not fit this bundle" in capsys.readouterr().err
    assert sorted(repository.rglob("*")) == before
    config = repository / CLOTHES / "config.pbtxt"
    kept = config.read_text()
    config.write_text(re.sub("max_batch_size: .*", "max_batch_size: 5000", kept))
    assert package(bundle, repository, "--new-version") == 2
    assert f"{CLOTHES}: max_batch_size in its configuration is 5,000, and must be 0 to 4," in capsys.readouterr().err
    config.write_text(kept)
    for name in ("9" * 20, "007"):  # the server takes neither as a version
        (repository / CLOTHES / name).mkdir()
    assert package(bundle, repository, "--new-version") == 0
    assert (repository / CLOTHES / "2").is_dir()
