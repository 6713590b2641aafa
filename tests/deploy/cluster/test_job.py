"""How windows are shared out: each once, in order, in the batches of one process."""

from __future__ import annotations

import dataclasses
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from tcja_deploy.cluster.job import FileFact, Job
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.dataset import Data, load

CONTRACT = InputContract.of((1, 2, 2), "images")


@pytest.fixture
def data(tmp_path) -> list[Data]:
    """Two data sets: one of 3, 1, 5 and 40 windows in files, and one of a file with 7."""
    for at, n in enumerate((3, 1, 5, 40)):
        (tmp_path / "a").mkdir(exist_ok=True)
        np.savez(tmp_path / "a" / f"{at}.npz", images=np.zeros((n, 1, 2, 2), np.float32))
    np.savez(tmp_path / "b.npz", images=np.zeros((7, 1, 2, 2), np.float32))
    return [load(tmp_path / name, CONTRACT, None) for name in ("a", "b.npz")]


def job(data: list[Data], size: int, start: int = 0, window_bytes: int = 16) -> Job:
    return Job(work=None, data=data, size=size, window_bytes=window_bytes, start=start)  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "start", "workers"), [*itertools.product([1, 2, 4, 64], [0, 5], [1, 3])])
def test_each_window_is_in_one_chunk_and_in_the_batch_of_one_process(data, size, start, workers):
    asked = job(data, size, start)
    units = asked.units(workers)
    seen: list[list[tuple[int, int]]] = [[], []]
    number = 0
    for unit in units:
        assert unit.first == number
        assert unit.before == (0, 49)[unit.data]
        number += len(unit.edges) - 1
        for begin, end in itertools.pairwise(unit.edges):
            seen[unit.data] += [(at, min(at + size, end)) for at in range(begin, end, size)]
    for which, each in enumerate(data):
        first = (start, 0)[which]
        assert seen[which] == [(at, min(at + size, len(each))) for at in range(first, len(each), size)]


def test_a_unit_reads_a_file_of_windows_once_and_other_files_at_once(data):
    units = job(data[:1], 2).units(1)  # chunks of 12 windows: a quarter of the batches
    assert [unit.edges for unit in units] == [(0, 12), (12, 24, 36, 48, 49)]
    assert [unit.parts for unit in units] == [range(4), range(3, 4)]
    each = job(data[:1], 1).units(12)  # chunks of 1 window
    assert [unit.edges for unit in each] == [(0, 1, 2, 3), (3, 4), (4, 5, 6, 7, 8, 9), tuple(range(9, 50))]
    assert [unit.parts for unit in each] == [range(at, at + 1) for at in range(4)]


def test_a_chunk_has_at_most_32_mib_or_one_batch(data):
    large = job(data[:1], 4, window_bytes=4 * 2**20)
    assert {end - begin for unit in large.units(1) for begin, end in itertools.pairwise(unit.edges)} == {8, 1}
    huge = job(data[:1], 4, window_bytes=2**30)
    assert {end - begin for unit in huge.units(1) for begin, end in itertools.pairwise(unit.edges)} == {4, 1}


def test_the_first_windows_of_a_data_set(data):
    units = job([data[0].first(6)], 4).units(2)
    assert [unit.edges for unit in units] == [(0, 4), (4, 6)]
    assert units[-1].parts == range(2, 3)


def test_a_file_that_was_changed_is_another(data, tmp_path):
    facts = job(data, 1).described().facts
    assert sorted(facts) == sorted(Path(each) for each in (*tmp_path.glob("a/*.npz"), tmp_path / "b.npz"))
    file = tmp_path / "b.npz"
    assert FileFact.of(file) == facts[file]
    os.utime(file, (0, 1234))
    assert FileFact.of(file) == dataclasses.replace(facts[file], written=1234)
    assert FileFact.of(tmp_path / "nothing") is None
