"""The list of added engines is read as it was written, and refused if it was changed or names what is not its own."""

from __future__ import annotations

import json
import re

import pytest

from tcja_runtime.bundle.manifest import seal
from tcja_runtime.bundle.origin.engine_list import EngineList, engine_of

from ....sidecars import engine_info

LIST = EngineList(
    manifest="a" * 64,
    engines={"orin": engine_info()},
    files={"engines/orin/model.engine": {"sha256": "b" * 64, "bytes": 3}},
    replaced=["thor"],
)


def test_it_is_read_as_it_was_written():
    assert EngineList.of_content(LIST.content()) == LIST


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 2}, "it was written by another version of tcja-deploy"),
        ({"files": {"model.onnx": {"sha256": "", "bytes": 0}}}, "'model.onnx' is no file of an engine in the list"),
        ({"files": {"engines/../x": {"sha256": "", "bytes": 0}}}, "is no file of an engine in the list"),
        ({"engines": {}}, "'engines/orin/model.engine' is no file of an engine in the list"),
        ({"more": 1}, "more is not known to this version"),
        ({"manifest": 3}, "manifest is 3, and must be text"),
    ],
)
def test_what_it_cannot_hold_is_refused(changes, said):
    fields = json.loads(LIST.content())
    del fields["seal"]
    fields |= changes
    with pytest.raises(ValueError, match=re.escape(said)):
        EngineList.of_content(json.dumps({**fields, "seal": seal(fields)}).encode())


def test_a_changed_list_is_refused():
    with pytest.raises(ValueError, match="it was changed after it was written"):
        EngineList.of_content(LIST.content().replace(b"thor", b"mars"))
    with pytest.raises(ValueError, match="'\\.\\.' cannot be the name of an engine"):
        EngineList(manifest="", engines={"..": engine_info()}, files={})


@pytest.mark.parametrize(
    ("name", "engine"),
    [("engines/a/model.engine", "a"), ("engines/manifest.json", ""), ("model.onnx", ""), ("engines/a/b/c", "a")],
)
def test_the_engine_of_a_file(name, engine):
    assert engine_of(name) == engine
