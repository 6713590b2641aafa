"""The command `compare`."""

from __future__ import annotations

import json

import pytest

from . import printed


@pytest.fixture
def name() -> str:
    return "fashion_mnist"


def fleet(folder, n, **odd):
    """Results of boards, of which one is other than the rest."""
    for board in range(n):
        changes = odd if board == 1 else {}
        printed.file(folder / f"orin-{board:03d}.json", *printed.all_of(board, **changes))
    return folder


def test_boards_that_are_alike(run, tmp_path):
    code, out, err = run("compare", fleet(tmp_path, 3))
    assert (code, err) == (0, "")
    said = " ".join(out.split())
    assert "3 boards, 1 bundle; parity is met on all; nothing differs." in said
    assert f"The same on all: model {printed.MODEL}; JetPack 6.2 (Jetson Linux 36.4.3); mode 25W" in said
    assert "orin-002" in said


def test_a_serious_difference_is_the_exit_code(run, tmp_path):
    folder = fleet(tmp_path, 3)
    printed.file(
        folder / "orin-001.json", printed.verify(1, failure="conv.0 fires \x1b[31mwrongly\n\u202ein 3 windows")
    )
    code, out, err = run("compare", folder)
    assert code == 1
    assert "\x1b" not in out + err
    assert "\u202e" not in out + err
    line = "Parity is not met on orin-001: TensorRT 10.3.0, Orin: conv.0 fires"
    assert line in out
    assert err.startswith(f"error: {line}")
    assert err.count("\n") == 1
    assert "NOT MET" in out


def test_of_a_hundred_boards_those_that_differ_are_listed(run, tmp_path):
    code, out, _ = run("compare", fleet(tmp_path, 100, power_mode="7W"))
    assert code == 0
    assert "On orin-001, the power mode is 7W; on the other 99 boards it is 25W." in out
    assert "orin-002" not in out
    assert "99 others, median" in out
    assert "0 of 1,980" in out
    assert "orin-002" in run("compare", tmp_path, "--verbose")[1]
    code, out, _ = run("compare", tmp_path, "--json")
    found = json.loads(out)
    assert (code, found["met"], len(found["boards"])) == (0, True, 100)
    (difference,) = found["differences"]
    assert difference == {
        "what": "the power mode",
        "boards": ["orin-001"],
        "value": "7W",
        "others": "25W",
        "serious": False,
        "text": "On orin-001, the power mode is 7W; on the other 99 boards it is 25W",
    }
    assert found["boards"][0]["joules"] == 0.01


def test_a_file_of_something_else_is_bad_input(run, tmp_path):
    file = tmp_path / "a.json"
    file.write_text("{}")
    code, out, err = run("compare", file)
    assert (code, out) == (2, "")
    assert err == (
        f"error: {file} is not what 'tcja-deploy build', 'verify', 'bench' or 'run' prints with --json: it has the "
        "fields of none of them\n"
    )


@pytest.mark.slow
def test_it_is_what_the_commands_print(run, simulated, bundle, data, tmp_path):
    """On a board that is simulated, and on this machine; the fields of `printed` are those of the commands."""
    results = tmp_path / "results"
    shown = {
        "build": ("build", bundle, "--target", "tensorrt"),
        "verify": ("verify", bundle),
        "bench": ("bench", bundle, "--seconds", "0", "--warm-up", "0"),
        "run": ("run", bundle, data["fashion_mnist"]),
    }
    found = {name: json.loads(run(*command, "--json")[1]) for name, command in shown.items()}
    for (name, each), made in zip(found.items(), printed.all_of(1), strict=True):
        assert made.keys() <= each.keys(), name
        assert made["machine"].keys() == each["machine"].keys()
    assert len({each["bundle_sha256"] for each in found.values()}) == 1
    printed.file(results / "board.json", *found.values())
    simulated.setenv("SIMULATED_GPU", "")
    proof = run("verify", bundle, "--json")[1]
    (results / "here.json").write_text(proof)
    code, out, _ = run("compare", results, "--json")
    board, here = json.loads(out)["boards"]
    assert code == 0, out
    assert (board["name"], board["program"], board["met"]) == ("board", "TensorRT 10.3.0", True)
    assert board["engine"] == found["build"]["sha256"] == found["bench"]["engine_sha256"]
    assert (here["name"], here["met"], here["engine"]) == ("here", True, "")
    assert board["answers"] == here["answers"]
    assert len(board["answers"]["the 12 golden windows"]) == 64
    (difference,) = [each for each in json.loads(out)["differences"] if each["what"] == "what runs the network"]
    assert "TensorRT 10.3.0 on board" in difference["text"]
