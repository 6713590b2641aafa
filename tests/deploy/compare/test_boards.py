"""Which results are of one board, what it is called, and which of its figures stand for it."""

import pytest

from tcja_deploy.compare.boards import boards
from tcja_deploy.compare.results import read

from . import printed


def found_in(folder):
    return boards(read([folder]))


def test_the_files_of_a_machine_are_one_board(tmp_path):
    for board in (1, 2):
        build, verify, bench, classified = printed.all_of(board)
        printed.file(tmp_path / f"orin-{board}-build.json", build)
        printed.file(tmp_path / f"orin-{board}-verify.json", verify)
        printed.file(tmp_path / f"orin-{board}-bench.json", bench, classified)
    first, second = found_in(tmp_path)
    assert (first.name, second.name) == ("orin-1", "orin-2")
    assert len(first.files) == 3
    assert (first.engine, second.engine) == (printed.engine(1), printed.engine(2))
    assert (first.program, first.met, first.p50, first.windows) == ("TensorRT 10.3.0", True, 0.002, 20)
    assert first.answers == {"the 16 golden windows": "5a" * 32}


@pytest.mark.parametrize("told", [True, False], ids=["with machines", "without machines"])
def test_folders_are_boards(tmp_path, told):
    for board in (1, 2):
        for each, name in zip(printed.all_of(board), ("build", "verify", "bench", "run"), strict=True):
            changed = each if told else {**each, "machine": {}}
            printed.file(tmp_path / f"orin-{board}" / f"{name}.json", changed)
    assert [(board.name, len(board.files)) for board in found_in(tmp_path)] == [("orin-1", 4), ("orin-2", 4)]


def test_machines_that_cannot_be_told_apart_are_not_joined(tmp_path):
    """Boards whose system was copied have one machine-id; and a board may be proven twice."""
    for name in ("a", "b"):
        printed.file(tmp_path / f"{name}.json", printed.verify(1), printed.bench(1))
    assert [board.name for board in found_in(tmp_path)] == ["a", "b"]


def test_results_without_a_machine_are_boards_of_their_own(tmp_path):
    for name in ("a", "b"):
        printed.file(tmp_path / f"{name}.json", {**printed.verify(1), "machine": {}})
    printed.file(tmp_path / "c.json", {**printed.bench(1), "machine": {}})
    assert [board.name for board in found_in(tmp_path)] == ["a", "b", "c"]


NAMES = {
    "one word each": ({1: ["a.json"], 2: ["b.json"]}, ["a", "b"]),
    "a folder each": ({1: ["s/orin-1/verify.json"], 2: ["s/orin-2/verify.json"]}, ["orin-1", "orin-2"]),
    "nothing in common": ({1: ["bench.json", "verify.json"], 2: ["x.json"]}, ["bench", "x"]),
    "one board": ({1: ["orin-1/bench.json", "orin-1/verify.json"]}, ["orin-1"]),
    "numbers": ({1: ["orin-1.bench.json", "orin-1.verify.json"], 2: ["orin-12.json"]}, ["orin-1", "orin-12"]),
    "sites": ({1: ["north/1.json"], 2: ["south/1.json"], 3: ["south/2.json"]}, ["north/1", "south/1", "south/2"]),
}


@pytest.mark.parametrize("how", NAMES)
def test_a_board_is_named_by_its_files(tmp_path, how):
    files, names = NAMES[how]
    for board, paths in files.items():
        for path in paths:
            printed.file(tmp_path / path, (printed.bench if "bench" in path else printed.verify)(board))
    assert [board.name for board in found_in(tmp_path)] == names


def test_two_bundles_of_a_board_are_two_rows(tmp_path):
    printed.file(tmp_path / "a.json", *printed.all_of(1), printed.verify(1, bundle_sha256="2e" * 32))
    assert [(each.name, each.bundle[:2], each.p50) for each in found_in(tmp_path)] == [
        ("a", "1f", 0.002),
        ("a", "2e", None),
    ]


def test_parity_is_that_of_what_runs(tmp_path):
    """An engine that was measured is not proven by a proof of ONNX Runtime."""
    proof = printed.verify(1)
    proof["backends"], proof["engines"] = [{"backend": "ONNX Runtime 1.23.2"}], []
    printed.file(tmp_path / "a.json", printed.bench(1), proof)
    printed.file(tmp_path / "b.json", proof)
    first, second = found_in(tmp_path)
    assert (first.program, first.met, first.engine) == ("TensorRT 10.3.0", None, printed.engine(1))
    assert (second.program, second.met, second.engine) == ("ONNX Runtime 1.23.2", True, "")


def test_the_smallest_batch_of_an_engine_stands_for_a_board(tmp_path):
    cases = [{**printed.bench(1, p50=p50), "batch": batch} for batch, p50 in ((8, 0.01), (1, 0.003))]
    other = {**printed.bench(1, p50=0.5), "title": "ONNX Runtime 1.23.2", "engine": None, "engine_sha256": None}
    printed.file(tmp_path / "a.json", other, *cases)
    (board,) = found_in(tmp_path)
    assert (board.batch, board.p50, board.program) == (1, 0.003, "TensorRT 10.3.0")
