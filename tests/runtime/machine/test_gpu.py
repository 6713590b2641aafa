import pytest

from tcja_runtime.machine import gpu
from tcja_runtime.machine.gpu import Gpu

from .boards import ORIN


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setenv("PATH", "")


def test_a_jetson_is_known_by_its_device_tree(tmp_path, monkeypatch, no_driver):
    for name, content in zip(("_MODEL", "_COMPATIBLE"), ORIN, strict=True):
        (tmp_path / name).write_text(content)
        monkeypatch.setattr(gpu, name, tmp_path / name)
    assert gpu.gpu() == Gpu("NVIDIA Jetson Orin Nano Developer Kit", "87")
    assert gpu.gpu().slug == "nvidia-jetson-orin-nano-developer-kit-sm87"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("NVIDIA H100 80GB HBM3, 9.0", Gpu("NVIDIA H100 80GB HBM3", "90")),
        ("NVIDIA GeForce RTX 5090, 12.0\nNVIDIA T4, 7.5", Gpu("NVIDIA GeForce RTX 5090", "120")),
        ("", None),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", None),
    ],
)
def test_a_workstation_is_known_by_its_driver(tmp_path, monkeypatch, answer, expected):
    command = tmp_path / "nvidia-smi"
    command.write_text(f'#!/bin/sh\necho "{answer}"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpu, "_MODEL", tmp_path / "none")
    assert gpu.gpu() == expected


def test_no_gpu(tmp_path, monkeypatch, no_driver):
    monkeypatch.setattr(gpu, "_MODEL", tmp_path / "none")
    assert gpu.gpu() is None


def test_swap(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text(
        "MemAvailable:    1024 kB\nSwapTotal:       3902464 kB\nSwapFree:        2048 kB\n"
    )
    monkeypatch.setattr(gpu, "_MEMORY", tmp_path / "meminfo")
    assert gpu.swap() == (2 * 2**20, 3902464 * 2**10)
    monkeypatch.setattr(gpu, "_MEMORY", tmp_path / "none")
    assert gpu.swap() is None
