import os

import numpy as np
import pytest

from tcja_runtime.files import journal

ROWS = np.arange(12, dtype=np.int32).reshape(4, 3)


class Killed(Exception):
    pass


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tcja-deploy"


def cut_off(work="work", rows=ROWS) -> None:
    with pytest.raises(Killed), journal.open_journal(work, 3) as kept:
        assert kept.active
        kept.add(rows[:1])
        kept.add(rows[1:])
        raise Killed


def test_what_was_cut_off_goes_on():
    cut_off()
    with pytest.raises(Killed), journal.open_journal("work", 3) as kept:
        np.testing.assert_array_equal(kept.rows, ROWS)
        kept.add(ROWS[:2])
        raise Killed
    with journal.open_journal("work", 3) as kept:
        np.testing.assert_array_equal(kept.rows, np.concatenate([ROWS, ROWS[:2]]))


def test_what_has_ended_leaves_nothing(folder):
    cut_off()
    with journal.open_journal("work", 3):
        pass
    assert not list(folder.iterdir())


def test_other_work_is_another():
    cut_off()
    with journal.open_journal("other work", 3) as other, journal.open_journal("work", 2) as narrower:
        assert other.rows.shape == (0, 3)
        assert narrower.rows.shape == (0, 2)


@pytest.mark.parametrize(
    ("damage", "rows"),
    [
        (lambda content: content[:-1], 3),
        (lambda content: content[:-17], 2),
        (lambda content: content[:16] + bytes(48), 1),  # a machine switched off leaves zeros
        (lambda content: content[:16] + content[32:], 1),
        (lambda content: content[:0], 0),
        (lambda content: b"something else entirely" + content, 0),
    ],
)
def test_only_whole_rows_in_sequence_count(folder, damage, rows):
    cut_off()
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(Killed), journal.open_journal("work", 3) as kept:
        np.testing.assert_array_equal(kept.rows, ROWS[:rows])
        kept.add(ROWS[rows:])
        raise Killed
    with journal.open_journal("work", 3) as kept:
        np.testing.assert_array_equal(kept.rows, ROWS)


def test_two_processes_do_not_mix():
    with journal.open_journal("work", 3) as first:
        first.add(ROWS)
        with journal.open_journal("work", 3) as second:
            assert first.active
            assert not second.active
            second.add(ROWS)
            assert len(second.rows) == 0


def test_where_nothing_can_be_written_nothing_is_kept(folder):
    folder.write_text("a file in the folder's place")
    with journal.open_journal("work", 3) as kept:
        assert not kept.active
        kept.add(ROWS)
    with journal.open_journal(None, 3) as kept:
        assert not kept.active


def test_without_a_cache_folder_of_ones_own_it_is_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    assert journal.cache_folder() == tmp_path / ".cache" / "tcja-deploy"


def test_without_a_home_nothing_is_kept(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "relative")
    with journal.open_journal("work", 3) as kept:
        assert not kept.active
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        journal.cache_folder().mkdir(parents=True)
