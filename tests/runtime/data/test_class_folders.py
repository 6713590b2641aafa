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
    return class_folders.data_files(root)


def test_data_files_are_found_below_a_folder_in_the_order_of_their_names(tmp_path):
    found = made(tmp_path, "b/2.BIN", "b/10.bin", "a/x/y.aedat", "c.npz", "a/README.md", "a/x_labels.csv", "c.npz~")
    assert [str(file.relative_to(tmp_path)) for file in found] == ["a/x/y.aedat", "b/10.bin", "b/2.BIN", "c.npz"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    made(tmp_path / "elsewhere", "a.bin", "._a.bin", ".hidden/b.bin")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "3").symlink_to(tmp_path / "elsewhere")
    assert class_folders.data_files(tmp_path / "set") == [tmp_path / "set" / "3" / "a.bin"]
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


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (["cat", "dog"], ["dog", "cat"], [1, 0]),  # by name
        (["cat"], ["dog", "cat"], [1]),
        (["Ankle-boot", "t_shirt top"], ["T-shirt/top", "Trouser", "Ankle boot"], [2, 0]),  # however it is written
        (["0", "1", "10", "2"], [f"c{i}" for i in range(11)], [0, 1, 2, 3]),  # text sorts 0, 1, 10, 2
        (["10"], [f"c{i}" for i in range(11)], [2]),
        (["10", "9"], [f"{i}" for i in range(11)], [2, 10]),  # numbers are no names
        (["3"], [f"{i}" for i in range(10)], [3]),
    ],
)
def test_folders_say_classes(tmp_path, names, classes, expected):
    files = made(tmp_path, *(f"{name}/a.bin" for name in names))
    assert class_folders.folder_labels(tmp_path, files, classes) == class_folders.FolderLabels(expected, "")
    assert class_folders.folder_labels(tmp_path, files, None).classes == [-1] * len(files)


def test_label_files_number_classes_as_folders_do():
    """Which is what `tcja_runtime.data.recordings` asks for."""
    for classes in ([f"c{i}" for i in range(12)], [str(i) for i in range(12)]):
        assert [class_folders.class_of_number(str(i), classes) for i in range(13)] == [
            0,
            1,
            4,
            5,
            6,
            7,
            8,
            9,
            10,
            11,
            2,
            3,
            None,
        ]


def test_as_many_folders_as_nameless_classes_are_taken_in_their_order(tmp_path):
    files = made(tmp_path, "b/a.bin", "a/b.bin")
    found = class_folders.folder_labels(tmp_path, files, ["0", "1"])
    assert found.classes == [0, 1]
    assert found.remark.endswith("its folders are taken as the network's classes, in their order: 0 = a, 1 = b")


@pytest.mark.parametrize("names", [["monday"], ["bag", "boot"], ["a", "b", "c"]])
def test_folders_that_are_no_classes_label_nothing(tmp_path, names):
    """Not even if there are as many as named classes: their order would be a guess."""
    files = made(tmp_path, *(f"{name}/a.bin" for name in names))
    found = class_folders.folder_labels(tmp_path, files, ["Shirt", "Trouser"])
    assert found.classes == [-1] * len(files)
    assert found.remark.endswith("its folders do not have the names of the network's classes (Shirt, Trouser)")


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
