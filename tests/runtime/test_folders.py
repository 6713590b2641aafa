"""Folders of data: which files are taken, and which class their folders say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tcja_runtime import folders
from tcja_runtime.errors import BadInput


def made(root: Path, *files: str) -> list[Path]:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return folders.files(root)


def test_data_files_are_found_below_a_folder_in_the_order_of_their_names(tmp_path):
    found = made(tmp_path, "b/2.BIN", "b/10.bin", "a/x/y.aedat", "c.npz", "a/README.md", "a/x_labels.csv", "c.npz~")
    assert [str(file.relative_to(tmp_path)) for file in found] == ["a/x/y.aedat", "b/10.bin", "b/2.BIN", "c.npz"]


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (["cat", "dog"], ["dog", "cat"], [1, 0]),  # by name
        (["cat"], ["dog", "cat"], [1]),
        (["0", "1", "2", "10"], [f"c{i}" for i in range(11)], [0, 1, 2, 3]),  # text sorts 0, 1, 10, 2
        (["10"], [f"c{i}" for i in range(11)], [2]),
        (["b", "a"], ["x", "y"], [0, 1]),  # as many as classes: in their order
        (["monday"], ["x", "y"], [-1]),  # none is a class
    ],
)
def test_folders_say_classes(tmp_path, names, classes, expected):
    files = made(tmp_path, *(f"{name}/a.bin" for name in names))
    assert folders.labels(tmp_path, files, classes) == expected
    assert folders.labels(tmp_path, files, None) == [-1] * len(files)


def test_files_that_are_in_no_folder_have_no_class(tmp_path):
    (file,) = made(tmp_path, "0/a.bin")
    assert folders.labels(file, [file], ["x"]) == [-1]
    assert folders.labels(tmp_path / "0", [file], ["x"]) == [-1]


def test_a_folder_that_is_no_class_among_some_that_are_is_refused(tmp_path):
    files = made(tmp_path, "cat/a.bin", "dgo/a.bin")
    with pytest.raises(BadInput, match=r"the folder 'dgo' is none of the network's classes \(dog, cat\)"):
        folders.labels(tmp_path, files, ["dog", "cat"])
