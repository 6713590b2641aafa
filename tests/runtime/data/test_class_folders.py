"""Folders of data: which files are taken, and which class their folders say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tcja_runtime.data import class_folders
from tcja_runtime.errors import BadInput


def made(root: Path, *files: str) -> list[Path]:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return class_folders.data_files(root).files


def test_data_files_are_found_below_a_folder_in_the_order_of_their_names(tmp_path):
    found = made(tmp_path, "b/2.BIN", "b/10.bin", "a/x/y.aedat", "c.npz", "a/README.md", "a/x_labels.csv", "c.npz~")
    assert [str(file.relative_to(tmp_path)) for file in found] == ["a/x/y.aedat", "b/10.bin", "b/2.BIN", "c.npz"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    made(tmp_path / "elsewhere", "a.bin", "._a.bin", ".hidden/b.bin")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "3").symlink_to(tmp_path / "elsewhere")
    assert class_folders.data_files(tmp_path / "set").files == [tmp_path / "set" / "3" / "a.bin"]
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
    with pytest.raises(BadInput, match=r"set/3/back leads back to .*/set; remove the link"):
        class_folders.data_files(tmp_path / "set")


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    made(tmp_path, "3/a.bin", "4/a.bin")
    read = Path.iterdir

    def denied(folder):
        if folder.name == "4":
            raise PermissionError(13, "Permission denied")
        return read(folder)

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(BadInput, match="4 cannot be read: Permission denied"):
        class_folders.data_files(tmp_path)


def test_files_that_are_not_used_are_counted(tmp_path):
    made(tmp_path, "a/1.bin", "a/2.bin", "a/1_labels.csv")
    assert class_folders.data_files(tmp_path).remark == ""
    made(tmp_path, "b.txt", "a/c.TXT", "a/3.mp4", "a/README", "a/9_labels.csv", ".git/x.bin", "a/._1.bin", ".git/y.bin")
    assert class_folders.data_files(tmp_path).remark == (
        f"{tmp_path}: 7 entries are not used: 1 with .csv, 1 with .mp4, 2 with .txt, 1 with no suffix, 2 hidden"
    )
    assert class_folders.data_files(tmp_path / "a" / "1.bin").remark == ""


def test_bundles_in_a_folder_of_data_are_no_data(tmp_path):
    files = ("a.bundle/manifest.json", "a.bundle/weights.bin", "b/c/golden.npz", "b/c/manifest.json")
    with pytest.raises(BadInput, match="is a folder without data files; .*; it has 2 bundles"):
        made(tmp_path, *files)
    made(tmp_path, "b/1.bin", "b/2.txt")
    found = class_folders.data_files(tmp_path)
    assert found.files == [tmp_path / "b" / "1.bin"]
    assert found.remark == f"{tmp_path}: 3 entries are not used: 1 with .txt, 2 bundles"


ELEVEN = [f"c{i}" for i in range(11)]
NAMELESS = [str(i) for i in range(11)]
NUMBERED = list(map(str, range(11)))


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (["cat", "dog"], ["dog", "cat"], [1, 0]),  # by name
        (["cat"], ["dog", "cat"], [1]),
        (["Ankle-boot", "t_shirt top"], ["T-shirt/top", "Trouser", "Ankle boot"], [2, 0]),  # however it is written
        (["0", "1"], ELEVEN, [0, 1]),  # both rules for numbers say the same
        (["00", "10", "02"], NAMELESS, [0, 2, 10]),
        (["3"], [f"{i}" for i in range(10)], [3]),
        (["2019", "2020"], ["x", "2020"], None),
    ],
)
def test_folders_say_classes(tmp_path, names, classes, expected):
    files = made(tmp_path, *(f"{name}/a.bin" for name in names))
    if expected is None:
        with pytest.raises(BadInput, match="the folder '2019' is not a class of the network"):
            class_folders.folder_labels(tmp_path, files, classes)
        return
    assert class_folders.folder_labels(tmp_path, files, classes) == class_folders.FolderLabels(expected, "")
    assert class_folders.folder_labels(tmp_path, files, None).classes == [-1] * len(files)


TEXT_ORDER = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]  # of the folders 0, 1, 10, 2, ...
BY_NUMBER = [0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("names", "classes", "rule", "expected", "said"),
    [
        (
            NUMBERED,
            ELEVEN,
            None,
            TEXT_ORDER,
            "told by text-order, so the folder 10 is class 2 (c2); by `labels` numbers it",
        ),
        (
            NUMBERED,
            NAMELESS,
            None,
            BY_NUMBER,
            "told by numbers, so the folder 10 is class 10; by `labels` text-order it",
        ),
        (["10"], ELEVEN, None, [2], "would be class 10 (c10). SpikingJelly's data sets have the order of texts"),
        (
            ["10", "9"],
            NAMELESS,
            None,
            [10, 9],
            "so the folder 10 is class 10; by `labels` text-order it would be class 2.",
        ),
        (
            ["1", "2"],
            ["1", "2"],
            None,
            [0, 1],
            "told by names, so the folder 1 is class 0 (1); by `labels` numbers it would",
        ),
        (
            ["b", "a"],
            ["0", "1"],
            None,
            [0, 1],
            "are taken as the network's classes, in their order as texts: 0 = a, 1 = b",
        ),
        (NUMBERED, ELEVEN, "numbers", BY_NUMBER, ""),
        (NUMBERED, NAMELESS, "text-order", TEXT_ORDER, ""),
        (NUMBERED, NAMELESS, "names", BY_NUMBER, ""),
        (["b", "a"], ["x", "y"], "text-order", [0, 1], ""),
    ],
)
def test_where_rules_differ_one_is_taken_and_said(tmp_path, names, classes, rule, expected, said):
    files = made(tmp_path, *(f"{name}/a.bin" for name in names))
    found = class_folders.folder_labels(tmp_path, files, classes, rule)
    assert found.classes == expected
    assert said in found.remark
    assert bool(found.remark) == bool(said)


@pytest.mark.parametrize(
    ("names", "rule", "said"),
    [
        (["0", "x"], "numbers", r"the folder 'x' is not a class of the network \(0 to 2\); rename .* with `labels`"),
        (["cat"], "names", r"the folder 'cat' is not a class of the network \(a, b, c\); rename"),
        (
            ["x", "y"],
            "text-order",
            "`labels` text-order needs a folder for each of the network's 3 classes, and there are 2",
        ),
        (["1", "01"], "numbers", "two of its folders, 01 and 1, are the same class"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(tmp_path, names, rule, said):
    files = made(tmp_path, *(f"{name}/a.bin" for name in names))
    with pytest.raises(BadInput, match=said):
        class_folders.folder_labels(tmp_path, files, ["a", "b", "c"], rule)


def test_label_files_number_classes_as_folders_do(tmp_path):
    """Which is what `tcja_runtime.data.recordings` asks for."""
    in_order = [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 2, None]
    for classes, rule, expected in (
        (ELEVEN, None, in_order),
        (NAMELESS, None, [*range(11), None]),
        (ELEVEN, "numbers", [*range(11), None]),
        (NAMELESS, "text-order", in_order),
    ):
        assert [class_folders.class_of_number(i, classes, rule) for i in range(12)] == expected
    with pytest.raises(BadInput, match="`labels` names does not fit label files, which have numbers; give numbers or"):
        class_folders.class_of_number(0, ELEVEN, "names")
    assert class_folders.number_remark(tmp_path, [0, 1], ELEVEN) == ""
    assert class_folders.number_remark(tmp_path, [0, 10, 2], ELEVEN) == (
        f"{tmp_path}: classes are told by text-order, so class number 10 of its label files, counted from 0, is class "
        "2 (c2); by `labels` numbers it would be class 10 (c10). SpikingJelly's data sets have the order of texts"
    )


def test_as_many_folders_as_nameless_classes_are_taken_in_their_order(tmp_path):
    files = made(tmp_path, "b/a.bin", "a/b.bin")
    found = class_folders.folder_labels(tmp_path, files, ["0", "1"])
    assert found.classes == [0, 1]
    assert found.remark.endswith(
        "its folders are taken as the network's classes, in their order as texts: 0 = a, 1 = b"
    )


@pytest.mark.parametrize("names", [["monday"], ["bag", "boot"], ["a", "b", "c"]])
def test_folders_that_are_no_classes_label_nothing(tmp_path, names):
    """Not even if there are as many as named classes: their order would be a guess."""
    files = made(tmp_path, *(f"{name}/a.bin" for name in names))
    found = class_folders.folder_labels(tmp_path, files, ["Shirt", "Trouser"])
    assert found.classes == [-1] * len(files)
    assert found.remark.endswith(
        "its folders do not have the names of the network's classes (Shirt, Trouser); `labels` chooses another rule"
    )


def test_files_that_are_in_no_folder_have_no_class(tmp_path):
    (file,) = made(tmp_path, "0/a.bin")
    assert class_folders.folder_labels(file, [file], ["x"]) == class_folders.FolderLabels([-1], "")
    assert class_folders.folder_labels(tmp_path / "0", [file], ["x"]) == class_folders.FolderLabels([-1], "")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "dgo"], r"the folder 'dgo' is not a class of the network \(dog, cat\)"),
        (["cat", "Cat"], "two of its folders, Cat and cat, are the same class"),
    ],
)
def test_folders_that_cannot_be_told_are_refused(tmp_path, names, message):
    files = made(tmp_path, *(f"{name}/a.bin" for name in names))
    with pytest.raises(BadInput, match=message):
        class_folders.folder_labels(tmp_path, files, ["dog", "cat"])
