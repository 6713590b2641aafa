"""A bundle is sealed again only if what stays in it is what was read, and what was added is the engine."""

import dataclasses
import hashlib
import json

import pytest

from tcja_runtime.bundle.bundle import sha256
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.errors import BadInput

from ...sidecars import engine_info
from .manifests import FILES, MANIFEST

PLAN = b"native code"
INFO = engine_info(sha256=hashlib.sha256(PLAN).hexdigest(), bytes=len(PLAN))


@pytest.fixture
def changed(tmp_path):
    """A bundle with an engine, to which another engine was added; and what its manifest says of the files that stay."""
    for name in (*FILES, "report.html", "engines/old/model.engine", "engines/new/model.engine"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PLAN)
    names = [*FILES, "report.html", "engines/old/model.engine"]
    return tmp_path, {name: {"sha256": sha256(tmp_path / name), "bytes": len(PLAN)} for name in names}


def test_the_added_engine_is_listed(changed):
    folder, kept = changed
    write_manifest(folder, dataclasses.replace(MANIFEST, engines={"old": INFO, "new": INFO}), kept)
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    assert listed.keys() == {*kept, "README.md", "engines/new/model.engine"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report.html", "report.html was changed while the engine was built, so the bundle is left as it is"),
        ("engines/old/model.engine", "engines/old/model.engine was changed"),
        ("engines/new/model.engine", "engines/new/model.engine was changed"),
        ("notes.txt", "notes.txt was added while the engine was built"),
        ("engines/old/more", "engines/old/more was added"),
    ],
)
def test_what_another_program_changed_is_not_sealed(changed, name, message):
    folder, kept = changed
    (folder / name).write_bytes(b"evil")
    with pytest.raises(BadInput, match=message):
        write_manifest(folder, dataclasses.replace(MANIFEST, engines={"old": INFO, "new": INFO}), kept)
    assert not (folder / "manifest.json").exists()


def test_a_file_that_is_missing_is_not_sealed(changed):
    folder, kept = changed
    (folder / "report.html").unlink()
    with pytest.raises(BadInput, match="report.html was changed"):
        write_manifest(folder, dataclasses.replace(MANIFEST, engines={"old": INFO, "new": INFO}), kept)
