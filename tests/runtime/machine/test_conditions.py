import os
import time

import pytest

from tcja_runtime.machine import conditions, jetpack
from tcja_runtime.machine import gpu as machine
from tcja_runtime.machine.gpu import Gpu

from .boards import ORIN


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Makes a command of the board."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def made(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return made


@pytest.fixture
def board(tmp_path, monkeypatch, command):
    """A Jetson Orin Nano, as its kernel and its commands show it to anyone but root."""
    for name, content in zip(("_MODEL", "_COMPATIBLE"), ORIN, strict=True):
        (tmp_path / name).write_text(content)
        monkeypatch.setattr(machine, name, tmp_path / name)
    monkeypatch.setattr(conditions, "_BOARD", tmp_path / "_MODEL")
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n")
    monkeypatch.setattr(jetpack, "RELEASE", tmp_path / "release")
    gpu = tmp_path / "devfreq" / "17000000.gpu"
    gpu.mkdir(parents=True)
    (gpu / "cur_freq").write_text("306000000\n")
    (gpu / "max_freq").write_text("612000000\n")
    monkeypatch.setattr(machine, "_DEVFREQ", tmp_path / "devfreq")
    for core in range(6):
        clock = tmp_path / "cpus" / f"cpu{core}" / "cpufreq"
        clock.mkdir(parents=True)
        (clock / "scaling_governor").write_text("schedutil\n")
        (clock / "scaling_cur_freq").write_text(f"{729600 + core * 1000}\n")
        (clock / "scaling_max_freq").write_text("1497600\n")
    monkeypatch.setattr(conditions, "_CPUS", tmp_path / "cpus")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5})
    command("nvpmodel", '[ "$1" = -q ] || exit 1; echo "NV Power Mode: 15W"; echo 0')
    command("jetson_clocks", 'echo "Error: Run this script($0) as a root user"; exit 1')


def test_a_board(board):
    found = conditions.conditions()
    assert found.processor == found.gpu == "NVIDIA Jetson Orin Nano Developer Kit"
    assert (found.cpus, found.governors, found.cpu_mhz) == (6, ["schedutil"], (734, 1497))
    assert found.gpu_mhz == (306, 612)
    assert found.power_mode == "15W"
    assert found.jetson_clocks is None  # it was asked, and told root alone
    assert found.jetpack == "JetPack 6.2 (Jetson Linux 36.4.3)"
    assert found.load == pytest.approx(os.getloadavg()[0], abs=5)


def test_clocks_that_are_told(board, command):
    command("jetson_clocks", '[ "$1" = --show ] && echo "SOC family:tegra234" && echo "GPU MinFreq=306000000"')
    assert conditions.conditions().jetson_clocks == ["SOC family:tegra234", "GPU MinFreq=306000000"]


@pytest.mark.parametrize("script", ["exit 1", "echo 'NV Fan Mode:quiet'", "sleep 9"])
def test_a_power_mode_that_is_not_told_is_unknown(board, command, monkeypatch, script):
    monkeypatch.setattr(conditions, "_SECONDS", 0.2)
    command("nvpmodel", script)
    began = time.monotonic()
    assert conditions.power_mode() is None
    assert time.monotonic() - began < 5


def test_a_workstation(tmp_path, monkeypatch, command):
    command("nvidia-smi", 'case "$1" in *name*) echo "NVIDIA H100, 9.0";; *clocks*) echo "1755, 1980";; esac')
    monkeypatch.setattr(machine, "_MODEL", tmp_path / "none")
    monkeypatch.setattr(conditions, "_BOARD", tmp_path / "none")
    monkeypatch.setattr(conditions, "_CPUS", tmp_path / "none")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD EPYC 9454\nprocessor\t: 1\n")
    monkeypatch.setattr(conditions, "_CPUINFO", tmp_path / "cpuinfo")
    found = conditions.conditions()
    assert (found.processor, found.gpu, found.gpu_mhz) == ("AMD EPYC 9454", "NVIDIA H100", (1755, 1980))
    assert (found.power_mode, found.jetson_clocks, found.jetpack) == (None, None, None)
    assert (found.governors, found.cpu_mhz) == ([], None)
    assert machine.gpu() == Gpu("NVIDIA H100", "90")


def test_a_board_whose_kernel_tells_no_clock_may_have_a_driver_that_does(board, command, tmp_path, monkeypatch):
    command("nvidia-smi", 'echo "1575, 1575"')
    assert machine.gpu_clocks() == (306, 612)
    monkeypatch.setattr(machine, "_DEVFREQ", tmp_path / "none")
    assert machine.gpu_clocks() == (1575, 1575)


def test_a_gpu_that_tells_no_clock(command, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_MODEL", tmp_path / "none")
    command("nvidia-smi", 'echo "[N/A], [N/A]"')
    assert machine.gpu_clocks() is None
