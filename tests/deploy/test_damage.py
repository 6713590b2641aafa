"""Whatever the files of a bundle hold, a command ends with one line: exit code 70 and raw exceptions mean a bug.

The files are changed at random, from a seed, and the manifest is sealed again, as an owner could.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tcja_deploy.cli import app
from tcja_deploy.inspect.describe import inspect
from tcja_runtime.bundle import bundle as bundles
from tcja_runtime.bundle import conformance
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import engines
from tcja_runtime.bundle.manifest import seal
from tcja_runtime.errors import TcjaError
from tcja_runtime.evidence import golden
from tcja_runtime.files.folder import Folder
from tcja_runtime.origin.trust import Trust

from ..runtime.bundle.sealing import reseal
from ..sidecars import engine_info


@pytest.fixture
def name() -> str:
    """The network of all bundles here: the smaller one."""
    return "fashion_mnist"


SEEDS = [pytest.param(0, 30), pytest.param(1, 400, marks=pytest.mark.slow)]
"""The seed of the random numbers, and the number of changes."""

ODD = (
    *(None, True, 0, -1, 1, 1.5, 2**31, 2**63, 10**30, 1e308, float("nan"), float("-inf")),
    *("", ".", "..", "a/b", "x" * 300, "\0", "\ud800", "\N{SNOWMAN}", "scan", "images", "TcjaLif"),
    *([], {}, [[]], [None], [0, 0], [-1], {"": None}, {"form": "scan"}, ["a", "a"]),
)


def nested(levels: int) -> Any:
    made: Any = {}
    for _ in range(levels):
        made = {"key": made}
    return made


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value of JSON, with each of its keys or indices."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def changed_json(value: Any, rng: random.Random) -> Any:
    """A copy of a value of JSON in which one value is another one, is missing, or is there twice."""
    value = copy.deepcopy(value)
    container, key = rng.choice(list(places(value)))
    change = rng.randrange(8)
    if change == 0:
        del container[key]
    elif change == 1 and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif change == 2 and isinstance(container, dict):
        container[rng.choice(("", "new", ".", "a/../b", "x\0"))] = container.pop(key)
    elif change == 3:
        container[key] = nested(rng.choice((5, 100)))
    elif change == 4:
        container[key] = copy.deepcopy(rng.choice([inner[at] for inner, at in places(value)]))
    else:
        container[key] = copy.deepcopy(rng.choice(ODD))
    return value


def changed_bytes(content: bytes, rng: random.Random, near: bytes = b"") -> bytes:
    """A copy of bytes of which some are changed, cut out or there twice, half of the time near the bytes `near`."""
    at = rng.randrange(len(content))
    if near and rng.random() < 0.5:
        found = [i for i in range(len(content)) if content.startswith(near, i)]
        at = min(rng.choice(found) + rng.randrange(48), len(content) - 1)
    size = rng.choice((1, 1, 1, 2, 4, 30))
    piece = {
        0: rng.randbytes(size),
        1: bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 : at + size],
        2: b"",
        3: content[at : at + size] * 2,
        4: rng.choice((b"\0", b"\xff")) * size,
    }[rng.randrange(5)]
    return content[:at] + piece + content[at + size :]


def ends_well(run: Callable[[], object], what: str) -> bool:
    """Whether a function returns; one that raises must raise an error for the user, of one line."""
    try:
        run()
    except TcjaError as error:
        said = str(error)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}, of {what}") from error
    else:
        return True
    assert "\n" not in said, what
    return False


def ends_well_printed(capsys: pytest.CaptureFixture[str], what: str, *arguments: object) -> bool:
    """Whether a command succeeds; one that fails must print one line, and exit with another code than 70."""
    code = app.run([*map(str, arguments)])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert code in (0, 1, 2, 3), (what, errors)
    assert len(errors) == (code != 0), what
    return code == 0


@pytest.mark.parametrize(("seed", "count"), SEEDS)
def test_manifests(bundle, capsys, seed, count):
    rng, opened = random.Random(seed), 0
    (bundle / "engines" / "e").mkdir(parents=True)
    for file in ("model.engine", "engine.json"):
        (bundle / "engines" / "e" / file).write_text("{}")
    manifest = Bundle.open(bundle, Trust(trust_engine=True)).manifest
    bundles.write_manifest(bundle, dataclasses.replace(manifest, engines={"e": engine_info()}))
    original = json.loads((bundle / "manifest.json").read_text())
    for i in range(count):
        content = changed_json(original, rng)
        content = {key: value for key, value in content.items() if key != "seal"}
        text = json.dumps({**content, "seal": seal(content)})
        (bundle / "manifest.json").write_text(text)
        opened += ends_well(lambda: inspect(bundle), text)
        if i % 20 == 0 and ends_well_printed(capsys, text, "inspect", bundle) and i % 100 == 0:
            ends_well_printed(capsys, text, "verify", bundle, "--anytime", 0)
    assert 0.1 * count < opened < 0.9 * count


@pytest.mark.parametrize(("seed", "count"), SEEDS)
def test_sidecars(bundle, seed, count):
    rng, opened = random.Random(seed), 0
    sidecar = bundle / "engines" / "e" / "engine.json"
    sidecar.parent.mkdir(parents=True)
    whole = Bundle.open(bundle, Trust(trust_engine=True))
    plugin = {"form": "ahead of time", "nodes": 1, "halves": 0, "pools": 0}
    tensors = [{"name": "images", "type": "FLOAT", "shape": [-1, 1, 2, 2], "input": True}]
    kernel = {"name": "k", "kind": "gemm", "modules": ["fc"], "bytes": 10, "weight_bytes": 4}
    plan = {"kernels": 1, "bytes": 10, "weight_bytes": 4, "largest": [kernel]}
    original = dataclasses.asdict(engine_info(plugin=plugin, tensors=tensors, plan=plan, plan_unread=""))
    text = json.dumps(original).encode()
    for i in range(count):
        content = changed_bytes(text, rng) if i % 4 == 0 else json.dumps(changed_json(original, rng)).encode()
        sidecar.write_bytes(content)
        opened += ends_well(lambda: [each.refusal() for each in engines(whole)], str(content))
    assert 0.1 * count < opened < 0.9 * count


def rewritten(content: bytes, rng: random.Random) -> bytes:
    """Golden vectors in which one array is missing, or has another type, shape or values."""
    arrays = dict(np.load(io.BytesIO(content)))
    name = rng.choice(list(arrays))
    array = arrays[name]
    made: dict[int, Callable[[], Any]] = {
        0: lambda: array[:-1] if array.ndim else array[None],
        1: lambda: array[None],
        2: lambda: array.astype(rng.choice((np.str_, np.float16, np.complex64, np.int8, np.bool_))),
        3: lambda: array.ravel()[:0],
        4: lambda: np.full_like(array, array.dtype.type(0)) if array.dtype.kind in "iufb" else array[..., None],
        5: lambda: array.astype(np.float64) * np.nan if array.dtype.kind == "f" else -array.astype(np.int64),
        6: lambda: arrays[rng.choice(list(arrays))],
    }
    if rng.randrange(8) == 0:
        del arrays[name]
    else:
        try:
            arrays[name] = made[rng.randrange(7)]()
        except (ValueError, TypeError):  # it has no such form
            arrays[name] = np.zeros(3)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(("seed", "count"), SEEDS)
def test_golden_vectors(bundle, capsys, seed, count):
    rng, file, opened = random.Random(seed), bundle / "golden.npz", 0
    original, contract = file.read_bytes(), Bundle.open(bundle).manifest.input
    count = min(count, 300)  # they take longer than the others
    for i in range(count):
        content = rewritten(original, rng) if i % 2 else changed_bytes(original, rng, near=b"PK")
        file.write_bytes(content)
        if ends_well(lambda: golden.load(file, contract), f"change {i} of seed {seed}"):
            opened += 1
            if i % 100 == 1:
                seal_files(bundle)
                ends_well_printed(capsys, f"change {i} of seed {seed}", "verify", bundle, "--anytime", 0)
    assert 0 < opened < count


def seal_files(folder: Path) -> None:
    """Put the hashes of the present files into a manifest."""
    files = {
        name: {"sha256": bundles.sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for name in json.loads((folder / "manifest.json").read_text())["files"]
    }
    reseal(folder, files=files)


@pytest.mark.parametrize("how", ["encrypted", "an unknown compression", "not deflated", "another compression"])
def test_compressions_of_golden_vectors(bundle, run, how):
    file = bundle / "golden.npz"
    content = bytearray(file.read_bytes())
    entry = content.find(b"PK\x01\x02")  # the first entry of the directory at the end; its header is at 0
    if how == "encrypted":
        content[6] |= 1
        content[entry + 8] |= 1
    elif how == "an unknown compression":
        content[8] = content[entry + 10] = 99
    elif how == "not deflated":
        content[60:90] = b"\xff" * 30
    file.write_bytes(content)
    if how == "another compression":  # which Python reads
        with zipfile.ZipFile(file) as archive:
            members = {each: archive.read(each) for each in archive.namelist()}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
            for each, values in members.items():
                archive.writestr(each, values)
    seal_files(bundle)
    code, _, err = run("verify", bundle, "--anytime", 0)
    if how == "another compression":
        assert (code, [line for line in err.splitlines() if "error" in line]) == (0, [])
    else:
        assert code == 2
        assert f"error: {file}: byte 0: array images, which begins here, is damaged: " in err


@pytest.mark.parametrize(("seed", "count"), SEEDS)
def test_models(bundle, seed, count):
    rng, signature, opened = random.Random(seed), Bundle.open(bundle).manifest.signature, 0
    for i in range(count):
        file = bundle / ("model.onnx" if i % 2 else "model.plain.onnx")
        original = file.read_bytes()
        file.write_bytes(changed_bytes(original, rng, near=b"TcjaLif" if i % 2 else b"Scan"))
        opened += ends_well(lambda: conformance.check(Folder(bundle), signature), f"change {i} of seed {seed}")
        file.write_bytes(original)
    assert 0.1 * count < opened < 0.95 * count
