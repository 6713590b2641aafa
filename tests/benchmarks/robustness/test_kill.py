"""Commands that are killed leave whole bundles, and nothing when the next run has ended: a few kills of the script."""

from __future__ import annotations

import pytest

from benchmarks.robustness import kill

from ... import networks


@pytest.mark.slow
def test_killed_commands_leave_whole_bundles_and_nothing_else(tmp_path, data):
    pth = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "a.pth")
    desk, seconds = kill.set_up(tmp_path, pth, data["fashion_mnist"])
    counts = kill.Counts()
    for task in (each for each in kill.tasks() if not each.name.startswith("verify")):
        kill.killed(desk, task, "all", 0.6 * (seconds if task.name == "export" else kill.whole(desk, task)), counts)
    kill.whole(desk, task)
    counts.remained = desk.kept()
    assert counts.met, counts


@pytest.fixture
def desk(tmp_path) -> kill.Desk:
    for name in ("tmp", "cache/tcja-deploy"):
        (tmp_path / "desk" / name).mkdir(parents=True)
    return kill.Desk(tmp_path / "desk")


def test_what_is_left_is_seen(desk):
    """A count of nothing proves nothing unless something would be counted."""
    for name in (".tcja-deploy-0123456789abcdef.partial", "o.bundle", "b.bundle.0123456789abcdef.replaced", "x"):
        (desk.folder / name).mkdir()
    (desk.folder / "tmp" / "tmp1").write_text("")
    (desk.folder / "cache" / "tcja-deploy" / f"{'0' * 64}.11").write_text("")
    unfinished = [".tcja-deploy-0123456789abcdef.partial", "b.bundle.0123456789abcdef.replaced", "tmp/tmp1", "x"]
    assert desk.unfinished() == unfinished
    assert desk.kept() == sorted([*unfinished, f"cache/tcja-deploy/{'0' * 64}.11"])


def test_half_a_bundle_is_seen(desk):
    export = kill.tasks()[0]
    assert export.wrong(desk) == ""
    (desk.folder / "o.bundle").mkdir()
    assert "is not a bundle" in export.wrong(desk)
    counts = kill.Counts()
    assert counts.met
    counts.wrong.append("half")
    assert not counts.met


def test_all_processes_are_killed_in_one_moment(desk, monkeypatch):
    """Also one that has left the group, as that which clears up has."""
    script = desk.folder / "sleeps"
    script.write_text("#!/bin/sh\nsetsid sleep 60 &\nsleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    process = desk.start([])
    kill.waited_for(lambda: len(desk.processes()) == 3)
    assert len(desk.processes()) == 3
    kill.kill(desk, process, "all")
    kill.waited_for(lambda: not desk.processes())
    assert desk.processes() == []
