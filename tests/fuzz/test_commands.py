"""Whatever the files of a bundle hold, a command ends with one line: exit code 70 means a bug.

The manifest is sealed again, as everybody can.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from pathlib import Path

import pytest

from tcja_deploy.cli import app

from ..runtime.bundle.sealing import reseal
from . import small_bundle
from .damage import changed_bytes
from .of_origins import sealed
from .parsers import parsers

FILES = {"manifest": "manifest.json", "golden": "golden.npz", "model": "model.plain.onnx", "parity": "parity.json"}


@pytest.fixture
def bundle(tmp_path) -> Path:
    return small_bundle.unpacked(tmp_path)


def put(bundle: Path, name: str, content: bytes) -> None:
    """Change a file of a bundle, and seal it."""
    (bundle / name).write_bytes(sealed(content) if name == "manifest.json" else content)
    if name != "manifest.json":
        files = json.loads((bundle / "manifest.json").read_text())["files"]
        files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        reseal(bundle, files=files)


@pytest.mark.parametrize(
    ("kind", "count"),
    [("manifest", 4), ("golden", 4), *(pytest.param(kind, 12, marks=pytest.mark.slow) for kind in FILES)],
)
def test_commands_on_damaged_bundles(bundle, capsys, kind, count):
    parser = next(each for each in parsers() if each.name == kind)
    original, manifest = (bundle / FILES[kind]).read_bytes(), (bundle / "manifest.json").read_bytes()
    for seed in range(count):
        (bundle / "manifest.json").write_bytes(manifest)
        put(bundle, FILES[kind], parser.damage(random.Random(seed), original, changed_bytes))
        for arguments in (["inspect", bundle], ["verify", bundle, "--anytime", 0]):
            code = app.run([*map(str, arguments)])
            errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
            assert code in (0, 1, 2, 3), (seed, arguments[0], errors)
            assert len(errors) == (code != 0), (seed, arguments[0])


@pytest.mark.parametrize("how", ["encrypted", "an unknown compression", "not deflated", "another compression"])
def test_compressions_of_golden_vectors(bundle, capsys, how):
    content = bytearray((bundle / "golden.npz").read_bytes())
    entry = content.find(b"PK\x01\x02")  # the first entry of the directory at the end; its header is at 0
    if how == "encrypted":
        content[6] |= 1
        content[entry + 8] |= 1
    elif how == "an unknown compression":
        content[8] = content[entry + 10] = 99
    elif how == "not deflated":
        content[60:90] = b"\xff" * 30
    else:  # which Python reads
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {each: archive.read(each) for each in archive.namelist()}
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
            for each, values in members.items():
                archive.writestr(each, values)
        content = bytearray(file.getvalue())
    put(bundle, "golden.npz", bytes(content))
    code = app.run(["verify", str(bundle), "--anytime", "0"])
    err = capsys.readouterr().err
    if how == "another compression":
        assert (code, [line for line in err.splitlines() if "error" in line]) == (0, [])
    else:
        assert code == 2
        assert f"error: {bundle / 'golden.npz'}: byte 0: array frames, which begins here, is damaged: " in err
