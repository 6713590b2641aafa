"""Where a bundle and its engines come from decides what is loaded, on a GPU and a TensorRT that are simulated."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import tcja_runtime as tcja
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.networks.base import Attention
from tcja_exporters.networks.shared.event_sizes import EventSizes
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import Engine, engines
from tcja_runtime.bundle.manifest import seal
from tcja_runtime.bundle.origin import built_here
from tcja_runtime.errors import TcjaError
from tcja_runtime.signing.trust import Trust

from .. import networks, signing, streams
from ..runtime.bundle.sealing import reseal

DOCUMENT = Path(__file__).parents[2] / "docs/how-to/signing.md"
EVENTS = networks.Small(
    "dvs128",
    EventSizes(Attention("tcja", "product", 2, ((2, 2), (2, 2))), (2,) * 5, height=32, width=32, hidden=4, classes=3),
)
"""A network that takes events, so small that many commands take little time."""
BUILD = ("--target", "tensorrt", "--batch", "1:1:2")


@pytest.fixture
def name() -> str:
    return "fashion_mnist"


@pytest.fixture(scope="session")
def _events(tmp_path_factory) -> Path:
    """A bundle of this network, with two golden windows."""
    folder = tmp_path_factory.mktemp("events")
    checkpoint, out = EVENTS.checkpoint(folder / "model.pth"), folder / "a.bundle"
    pipeline.export(ExportRequest(checkpoint=checkpoint, out=out, target="onnx", samples=2))
    return out


@pytest.fixture
def bundle(request, name, tmp_path) -> Path:
    """A bundle of the network, to do with as one likes."""
    events = name == "dvs128"
    made = request.getfixturevalue("_events") if events else request.getfixturevalue("_bundles")[name]
    return Path(shutil.copytree(made, tmp_path / f"{name}.bundle"))


@pytest.fixture
def unsigned(bundle, run, simulated) -> Path:
    """A bundle with an engine that was built here."""
    code, _, err = run("build", bundle, *BUILD)
    assert code == 0, err
    return bundle


@pytest.fixture
def keys(tmp_path) -> dict[str, tuple[Path, Path]]:
    return {name: signing.ssh_key(tmp_path, name) for name in ("release", "board", "stranger")}


@pytest.fixture
def recording(tmp_path) -> Path:
    contract = EVENTS.network.contract(EVENTS.sizes)
    file = tmp_path / "a.bin"
    file.write_bytes(streams.atis(streams.drawn(400, 3, sensor=contract.shape[:1:-1])))
    return file


def opened_engines(bundle: Path, trust: Trust) -> list[Engine]:
    return engines(Bundle.open(bundle, trust))


def copy(bundle: Path, name: str) -> Path:
    return Path(shutil.copytree(bundle, bundle.with_name(f"{name}.bundle")))


def swap_engine(bundle: Path, *, sealed: bool = True) -> None:
    """Put other native code into a bundle, and write all hashes anew, as an attacker can; or not those of the lists."""
    file = next((bundle / "engines").glob("*/model.engine"))
    wrong = file.read_bytes() + b"\0"
    sidecar = json.loads(file.with_name("engine.json").read_text())
    sidecar |= {"sha256": hashlib.sha256(wrong).hexdigest(), "bytes": len(wrong)}
    for path, content in ((file, wrong), (file.with_name("engine.json"), json.dumps(sidecar).encode())):
        path.unlink()
        path.write_bytes(content)
    if not sealed:
        return
    facts = {
        f"engines/{file.parent.name}/{each.name}": {
            "sha256": hashlib.sha256(each.read_bytes()).hexdigest(),
            "bytes": each.stat().st_size,
        }
        for each in file.parent.iterdir()
    }
    later = bundle / "engines" / "manifest.json"
    listed = json.loads((later if later.exists() else bundle / "manifest.json").read_text())
    engines, files = {**listed["engines"], file.parent.name: sidecar}, {**listed["files"], **facts}
    if later.exists():
        del listed["seal"]
        listed |= {"engines": engines, "files": files}
        later.write_text(json.dumps({**listed, "seal": seal(listed)}))
    else:
        reseal(bundle, engines=engines, files=files)


def signed(run: Callable[..., tuple[int, str, str]], bundle: Path, key: Path, name: str) -> Path:
    made = copy(bundle, name)
    code, _, err = run("sign", made, "--key", key)
    assert code == 0, err
    return made


@pytest.fixture
def cases(run, unsigned, keys) -> Mapping[str, Path]:
    """By the words of the document, bundles that are signed and attacked."""
    right = signed(run, unsigned, keys["release"][0], "signed")
    found = {"not signed": unsigned, "signed": right}
    found["signed by a stranger"] = signed(run, unsigned, keys["stranger"][0], "stranger")
    found["signed, then changed and sealed again"] = copy(right, "changed")
    reseal(found["signed, then changed and sealed again"], labels="text-order")
    found["engine swapped, sealed again"] = copy(unsigned, "swapped")
    later = copy(right, "later")
    assert run("build", later, *BUILD)[0] == 0
    found["signed; engine swapped, its list sealed again"] = later
    for name in ("engine swapped, sealed again", "signed; engine swapped, its list sealed again"):
        swap_engine(found[name])
    return found


def load(bundle: Path, *arguments: object) -> int:
    try:
        tcja.load(bundle, public_keys=arguments[1:]).close()
    except TcjaError as error:
        return error.exit_code
    return 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dvs128"])
def test_the_table_of_the_document_is_what_commands_do(run, cases, keys, recording, tmp_path):
    commands: dict[str, Callable[..., int]] = {
        "verify": lambda bundle, *key: run("verify", bundle, "--backend", "onnxruntime", "--anytime", 0, *key)[0],
        "run": lambda bundle, *key: run("run", bundle, recording, *key)[0],
        "run --backend tensorrt": lambda b, *key: run("run", b, recording, "--backend", "tensorrt", *key)[0],
        "stream": lambda bundle, *key: run("stream", bundle, recording, "--speed", "max", *key)[0],
        "bench": lambda bundle, *key: run("bench", bundle, "--seconds", 0, "--warm-up", 0, *key)[0],
        "load": load,
        "build": lambda bundle, *key: run("build", bundle, *BUILD, *key)[0],
    }
    key = ("--public-key", keys["release"][1])
    lines = [f"| bundle | {' | '.join(f'`{name}`' for name in commands)} |", f"| --- |{' --- |' * len(commands)}"]
    for case, bundle in cases.items():
        codes = [f"{call(bundle)}, {call(bundle, *key)}" for call in commands.values()]
        lines.append(f"| {case} | {' | '.join(codes)} |")
    assert "\n".join(lines) in DOCUMENT.read_text()


def test_an_engine_of_unknown_origin_is_passed_over(run, unsigned, data, name):
    bundle = unsigned
    swap_engine(bundle)
    engine = next((bundle / "engines").iterdir()).name
    why = "of unknown origin: no key that is trusted here signed it, and this user did not build it here"
    again = f"run 'tcja-deploy build {bundle} --target tensorrt' here, or pass --trust-engine if you trust where it"
    code, out, err = run("run", bundle, data[name], "--csv")
    assert code == 0
    assert f"engine {engine} skipped: it is {why}; {again} comes from" in err
    assert out == run("run", bundle, data[name], "--csv", "--backend", "onnxruntime")[1]
    code, _, err = run("run", bundle, data[name], "--backend", "tensorrt")
    assert (code, err.splitlines()[-1]) == (2, f"error: engine {engine} is {why}; {again} comes from")
    assert "is of unknown origin" in run("verify", bundle, "--anytime", 0)[1]
    (told,) = json.loads(run("inspect", bundle, "--json")[1])["engines"]
    assert (told["origin"], told["runs_here"]) == ("of unknown origin", "its origin is unknown")
    (trusted,) = opened_engines(bundle, Trust(trust_engine=True))
    assert trusted.refusal() is None


def test_an_engine_that_was_built_here_for_another_network_is_of_unknown_origin(unsigned):
    """A bundle may say that the engine is for its model, but not the user's own list."""
    content = json.loads((unsigned / "manifest.json").read_text())
    for info in content["engines"].values():
        info["model_sha256"] = "0" * 64
    reseal(unsigned, engines=content["engines"])
    (engine,) = opened_engines(unsigned, Trust())
    assert str(engine.origin) == "of unknown origin"


def test_a_build_does_not_break_a_signature(run, unsigned, keys, monkeypatch, tmp_path):
    """And the board's own key signs what it adds, so that other machines load it."""
    (release, public), (board, board_public) = keys["release"], keys["board"]
    bundle = signed(run, unsigned, release, "signed")
    before = {file.name: file.read_bytes() for file in bundle.iterdir() if file.is_file()}
    code, _, err = run("build", bundle, "--target", "tensorrt", "--batch", "1:1:4", "--public-key", public)
    assert code == 0, err
    listed = "the bundle is signed, so the engine is listed in engines/manifest.json, which"
    assert f"{listed} is not signed; --key signs it" in err
    assert {file.name: file.read_bytes() for file in bundle.iterdir() if file.is_file()} == before
    opened = Bundle.open(bundle, Trust(public_keys=(public,)))
    assert len(opened.manifest.engines) == 2
    assert [str(each.origin).partition(" (")[0] for each in opened_engines(bundle, Trust(public_keys=(public,)))] == [
        "built here",
        "signed by key release.pub",
    ]
    code, _, err = run("build", bundle, "--target", "tensorrt", "--batch", "1:1:4", "--key", board)
    assert code == 0, err
    assert f"{listed} {board} signed" in err
    assert {file.name: file.read_bytes() for file in bundle.iterdir() if file.is_file()} == before
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    both = Trust(public_keys=(public, board_public))
    assert [str(each.origin).partition(" (")[0] for each in opened_engines(bundle, both)] == [
        "signed by key board.pub",
        "signed by key release.pub",
    ]
    assert [each.origin.known for each in opened_engines(bundle, Trust(public_keys=(public,)))] == [False, True]


def test_a_key_that_cannot_sign_is_found_before_the_build(run, bundle, tmp_path, monkeypatch, simulated):
    signing.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", tmp_path / "secret")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SSH_ASKPASS", "false")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    code, _, err = run("build", bundle, *BUILD, "--key", tmp_path / "secret")
    assert (code, err.splitlines()[-1].partition(":")[0]) == (2, "error")
    assert "secret cannot sign: " in err
    assert built_here.known() == frozenset()


@pytest.mark.slow
def test_a_key_does_not_sign_engines_of_unknown_origin(run, unsigned, keys, monkeypatch, tmp_path):
    bundle = signed(run, unsigned, keys["release"][0], "signed")
    assert run("build", bundle, *BUILD)[0] == 0
    swap_engine(bundle)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    code, _, err = run("build", bundle, "--target", "tensorrt", "--batch", "1:1:4", "--key", keys["board"][0])
    assert code == 0, err
    assert re.search("engine .* is of unknown origin, so it is removed from the bundle", err)
    (info,) = Bundle.open(bundle).manifest.engines.values()
    assert info.batch == (1, 1, 4)
    fresh = copy(unsigned, "fresh")
    code, _, err = run("sign", fresh, "--key", keys["release"][0])
    assert code == 2
    assert "is of unknown origin, and a signature would say that it is yours; build it here" in err


def test_a_signature_is_not_for_an_engine_in_the_place_of_the_signed_one(run, unsigned, keys):
    """Whoever trusts any engine is still told whose it is."""
    bundle = signed(run, unsigned, keys["release"][0], "signed")
    trust = Trust(trust_engine=True, public_keys=(keys["release"][1],))
    assert [each.origin.text[:9] for each in opened_engines(bundle, trust)] == ["signed by"]
    swap_engine(bundle, sealed=False)
    assert [str(each.origin) for each in opened_engines(bundle, trust)] == ["of unknown origin"]


@pytest.mark.slow
def test_a_list_of_added_engines_for_another_manifest_is_refused_and_written_again(run, unsigned, keys):
    bundle = signed(run, unsigned, keys["release"][0], "signed")
    assert run("build", bundle, *BUILD)[0] == 0
    file = bundle / "engines" / "manifest.json"
    fields = json.loads(file.read_text())
    del fields["seal"]
    fields["manifest"] = "0" * 64
    file.write_text(json.dumps({**fields, "seal": seal(fields)}))
    code, _, err = run("verify", bundle)
    again = f"run 'tcja-deploy build {bundle}', which writes it again"
    assert (code, err.splitlines()[-1]) == (2, f"error: {file}: it belongs to another manifest.json; {again}")
    assert run("build", bundle, *BUILD)[0] == 0
    assert run("inspect", bundle)[0] == 0


@pytest.mark.slow
def test_an_engine_that_cannot_be_listed_is_built_and_a_note_says_so(run, unsigned, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    code, _, err = run("build", unsigned, *BUILD)
    assert code == 0
    assert "the list of engines built here, cannot be written (Not a directory), so this engine is of unknown" in err
    assert built_here.known() == frozenset()
    assert len(Bundle.open(unsigned).manifest.engines) == 1
