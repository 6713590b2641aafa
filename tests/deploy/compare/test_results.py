"""Results are read from files of other people."""

import json
import os

import pytest

from tcja_deploy.compare import results
from tcja_deploy.compare.results import Built, Classified, Measured, Verified, read
from tcja_runtime.errors import BadInput
from tcja_runtime.files.limits import Limit

from . import printed


def test_a_file_has_one_result_or_several(tmp_path):
    whole = printed.file(tmp_path / "a" / "whole.json", *printed.all_of(1))
    alone = printed.file(tmp_path / "a" / "deeper" / "alone.json", printed.bench(2))
    (tmp_path / "a" / "notes.txt").write_text("not read")
    found = read([tmp_path / "a", whole])
    assert [file.name for file in found] == [str(alone), str(whole)]
    assert [type(each) for each in found[1].results] == [Built, Verified, Measured, Classified]
    built, verified, measured, classified = found[1].results
    assert (built.info.sha256, built.title) == (printed.engine(1), "TensorRT 10.3.0")
    assert (verified.met, verified.machine.jetpack, verified.answers[0].windows) == (True, printed.JETPACK, 16)
    assert (measured.cases[0].latency.p50, measured.cases[0].joules) == (0.002, 0.01)
    assert (classified.windows, classified.drifted) == (20, 0)


def test_what_an_older_version_printed_is_read(tmp_path):
    """It names neither the machine nor the bundle's hash; `bench` has the conditions of the machine."""
    older = [printed.build(1), printed.verify(1), printed.bench(1)]
    for each in older:
        for name in ("machine", "versions", "bundle_sha256", "answers", "engine_sha256"):
            each.pop(name, None)
    older[2]["before"] = {"processor": printed.MODEL, "jetpack": printed.JETPACK, "power_mode": "15W", "load": 0.1}
    (found,) = read([printed.file(tmp_path / "a.json", *older)])
    assert [each.machine.id for each in found.results] == [None] * 3
    assert found.results[1].met
    assert (found.results[2].machine.board, found.results[2].machine.power_mode) == (printed.MODEL, "15W")


def test_several_cases_are_read(tmp_path):
    several = printed.bench(1)
    cases = [{**several, "batch": batch} for batch in (8, 1)]
    for name in ("latency", "batch", "backend", "title", "engine"):
        del several[name]
    (found,) = read([printed.file(tmp_path / "a.json", {**several, "cases": cases})])
    assert [case.batch for case in found.results[0].cases] == [8, 1]


NONE = "is not what 'tcja-deploy build', 'verify', 'bench' or 'run' prints with --json: "
BROKEN = {
    "no JSON": ('{"met": true,\n', NONE + "line 2 is not JSON"),
    "empty": ("\n", "is empty: nothing was printed into it; run the command on its board again"),
    "bytes": (b"\xff\xfe", NONE + "byte 0 is not UTF-8"),
    "a list": ("[]", NONE + "it has list where an object is expected"),
    "a result of doctor": ('{"what": "verify"}', NONE + "it has the fields of none of them"),
    "text behind it": (json.dumps(printed.bench(1)) + " done", NONE + "line 1 is not JSON"),
    "no time": (
        json.dumps({**printed.bench(1), "latency": {"p50": "fast"}}),
        NONE + 'cases[0].latency.p50 is "fast", and must be a finite number',
    ),
    "infinite": (json.dumps({**printed.bench(1), "joules": float("inf")}), "joules is Infinity, and must be a finite"),
    "before its begin": (
        json.dumps({**printed.bench(1), "latency": {"p99": -1}}),
        NONE + "cases[0].latency.p99 is -1, and must be 0 to 1,000,000",
    ),
    "too large": (json.dumps({**printed.bench(1), "joules": 1e300}), "joules is 1e+300, and must be 0 to 1,000,000"),
    "a missing field": ('{"met": true, "backends": []}', NONE + "bundle is missing"),
    "two machines": (
        json.dumps(printed.bench(1)) + json.dumps(printed.verify(2)),
        f"has results of 2 machines ({1:016x}, {2:016x}); write a file for each",
    ),
    "no engine": (json.dumps({**printed.build(1), "version": "new"}), "version is 'new', and must be a version"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_another_file_is_refused(tmp_path, how):
    content, words = BROKEN[how]
    file = tmp_path / "a.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput) as caught:
        read([file])
    assert str(caught.value).startswith(f"{file} ")
    assert words in str(caught.value)


def test_what_is_no_file_of_results_is_refused(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match=r"none\.json does not exist"):
        read([tmp_path / "none.json"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"empty has no file whose name ends with \.json"):
        read([tmp_path / "empty"])
    os.mkfifo(tmp_path / "empty" / "pipe.json")
    with pytest.raises(BadInput, match=r"pipe\.json is a pipe, not a file"):
        read([tmp_path / "empty"])
    large = printed.file(tmp_path / "large.json", printed.bench(1))
    monkeypatch.setattr(results, "RESULT", Limit("results in JSON", 100))
    with pytest.raises(BadInput, match=r"large\.json has [\d,]+ bytes, and results in JSON has at most 100"):
        read([large])
