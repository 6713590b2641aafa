"""The board that differs is said: which board, which value, what the others have."""

import pytest

from tcja_deploy.compare.boards import boards
from tcja_deploy.compare.differences import differences
from tcja_deploy.compare.results import read

from . import printed

FIRES = "the network fires unlike in the 16 windows that it was proven on"
ODD = {
    "JetPack": (
        {"jetpack": printed.OLDER_JETPACK},
        ["On orin-2, the JetPack is 6.1 (Jetson Linux 36.4.0); on the other 4 boards it is 6.2 (Jetson Linux 36.4.3)"],
        False,
    ),
    "power mode": ({"power_mode": "7W"}, ["On orin-2, the power mode is 7W; on the other 4 boards it is 25W"], False),
    "model": (
        {"board": printed.OTHER_MODEL},
        [f"On orin-2, the model of the board is {printed.OTHER_MODEL}; on the other 4 boards it is {printed.MODEL}"],
        False,
    ),
    "version": (
        {"versions": {"numpy": "2.2.6", "python": "3.10.12"}},
        ["On orin-2, the version of numpy is 2.2.6; on the other 4 boards it is 1.26.4"],
        False,
    ),
    "bundle": (
        {"bundle_sha256": "2e" * 32},
        [f"On orin-2, the bundle is {'2e' * 6}; on the other 4 boards it is {'1f' * 6}"],
        True,
    ),
    "classes": (
        {"classes": "00"},
        [
            "On orin-2, the predicted classes of the 16 golden windows are not those of the other 4 boards; "
            "parity is met there, so rounding can explain it"
        ],
        True,
    ),
    "parity": (
        {"failure": "conv.0 fires wrongly"},
        ["Parity is not met on orin-2: TensorRT 10.3.0, Orin: conv.0 fires wrongly"],
        True,
    ),
    "firing": ({"unlike": FIRES, "drifted": 20}, [f"On orin-2, {FIRES}"], False),
    "latency": (
        {"p50": 0.005},
        [
            "On orin-2, the median latency is 5.00 ms, 2.5 times the median of 5 boards of its kind, 2.00 ms",
            "On orin-2, the 99th percentile of the latency is 6.00 ms, 2.5 times the median of 5 boards of its kind, "
            "2.40 ms",
        ],
        False,
    ),
    "energy": (
        {"joules": 0.007},
        ["On orin-2, the energy for a window is 7.00 mJ, 0.7 times the median of 5 boards of its kind, 10.0 mJ"],
        False,
    ),
}
OF = {
    printed.verify: ("classes", "failure", "unlike"),
    printed.bench: ("p50", "joules"),
    printed.classified: ("drifted", "unlike"),
    printed.build: (),
}
ANY = ("jetpack", "power_mode", "board", "versions", "bundle_sha256")


def write(folder, number, **changes):
    """The results of a board, each with the changes that are of it."""
    results = [make(number, **{n: v for n, v in changes.items() if n in (*names, *ANY)}) for make, names in OF.items()]
    printed.file(folder / f"orin-{number}.json", *results)


def told(folder):
    return differences(boards(read([folder])))


def texts(folder):
    return [each.text.replace("\N{NO-BREAK SPACE}", " ") for each in told(folder)]


def test_boards_that_are_alike_do_not_differ(tmp_path):
    """Though each has built an engine of its own, and no two measure the same time."""
    for board in range(5):
        write(tmp_path, board, p50=0.002 + board * 1e-5)
    assert told(tmp_path) == []


@pytest.mark.parametrize("how", ODD)
def test_the_board_that_differs_is_said(tmp_path, how):
    changes, sentences, serious = ODD[how]
    for board in range(5):
        write(tmp_path, board, **(changes if board == 2 else {}))
    assert texts(tmp_path) == sentences
    assert all(each.boards == ("orin-2",) for each in told(tmp_path))
    assert [each.serious for each in told(tmp_path)] == [serious] * len(sentences)


def test_several_boards_with_the_same_value_are_one_sentence(tmp_path):
    for board in range(13):
        write(tmp_path, board, power_mode="7W" if board < 6 else "25W")
    named = "orin-0, orin-1, orin-2, orin-3 and 2 more"
    assert texts(tmp_path) == [f"On {named}, the power mode is 7W; on the other 7 boards it is 25W"]
    assert len(told(tmp_path)[0].boards) == 6


def test_without_a_majority_all_values_are_named(tmp_path):
    for board in range(4):
        write(tmp_path, board, power_mode="7W" if board % 2 else "25W")
    (found,) = told(tmp_path)
    assert found.text == "The power mode differs: 25W on orin-0, orin-2; 7W on orin-1, orin-3"
    assert (found.value, found.others, len(found.boards)) == ("", "", 4)


def test_of_two_boards_the_slower_one_is_said(tmp_path):
    write(tmp_path, 0)
    write(tmp_path, 1, p50=0.003)
    assert texts(tmp_path) == ["On orin-1, the median latency is 3.00 ms, 1.5 times that of the other board, 2.00 ms"]


def test_an_engine_that_was_copied_to_the_boards_is_missed(tmp_path):
    """Engines differ if each board builds its own; if most share one, the other one is said."""
    for board in range(4):
        results = printed.all_of(board)
        if board:
            for each in results:
                each.update({"engine_sha256": "ee" * 32} if "latency" in each else {})
        printed.file(tmp_path / f"orin-{board}.json", *results)
    assert texts(tmp_path) == [f"On orin-0, the engine is {'00' * 6}; on the other 3 boards it is {'ee' * 6}"]


def test_classes_of_a_board_without_parity_are_not_explained(tmp_path):
    for board in range(3):
        write(tmp_path, board, **({"classes": "00", "failure": "it fires wrongly"} if board == 2 else {}))
    assert texts(tmp_path) == [
        "Parity is not met on orin-2: TensorRT 10.3.0, Orin: it fires wrongly",
        "On orin-2, the predicted classes of the 16 golden windows are not those of the other 2 boards",
    ]


def test_what_is_not_met_of_a_stepwise_network_is_said(tmp_path):
    write(tmp_path, 0)
    failures = [{"kind": "spikes", "text": "step 2 fires wrongly"}]
    proof = {**printed.verify(1), "met": False, "stepwise": {"backend": "ONNX Runtime 1.23.2", "failures": failures}}
    printed.file(tmp_path / "orin-1.json", proof)
    assert texts(tmp_path)[0] == "Parity is not met on orin-1: ONNX Runtime 1.23.2: step 2 fires wrongly"


def test_figures_of_another_kind_are_not_compared(tmp_path):
    for board in range(4):
        write(tmp_path, board, **({"p50": 0.02, "board": printed.OTHER_MODEL} if board == 2 else {}))
    assert [each.what for each in told(tmp_path)] == ["the model of the board"]


def test_a_board_without_a_proof_is_said(tmp_path):
    write(tmp_path, 0)
    write(tmp_path, 1)
    printed.file(tmp_path / "orin-1.json", printed.bench(1))
    assert texts(tmp_path) == [
        "Whether parity is met on orin-1 is not known: no result of 'tcja-deploy verify' says it of what runs the "
        "network there"
    ]
