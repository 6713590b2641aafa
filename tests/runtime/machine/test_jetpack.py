import itertools

import pytest

from tcja_runtime.machine import gpu, jetpack
from tcja_runtime.machine.jetpack import JETPACKS, ORIN, THOR, XAVIER, System

from .boards import ORIN as ORIN_NANO

SAID = (
    "# R{}, GCID: 41062509, BOARD: generic, EABI: aarch64, DATE: Mon Jun 16 16:07:13 UTC 2025\n# KERNEL_VARIANT: oot\n"
)


@pytest.fixture
def board(tmp_path, monkeypatch):
    """A board that says the release, of a chip."""

    def running(release: str, chip: str = ORIN) -> System:
        (tmp_path / "nv_tegra_release").write_text(SAID.format(release))
        (tmp_path / "compatible").write_text(f"nvidia,p3701-0005\0nvidia,{chip}\0")
        monkeypatch.setattr(jetpack, "RELEASE", tmp_path / "nv_tegra_release")
        monkeypatch.setattr(gpu, "_COMPATIBLE", tmp_path / "compatible")
        found = jetpack.system()
        assert found is not None
        return found

    return running


@pytest.mark.parametrize(
    ("said", "name", "cuda", "tensorrt", "python", "supported"),
    [
        ("35 (release), REVISION: 4.1", "5.1", "11.4", "8.5.2", "3.8", False),
        ("36 (release), REVISION: 3.0", "6.0", "12.2", "8.6.2", "3.10", False),
        ("36 (release), REVISION: 4.0", "6.1", "12.6", "10.3", "3.10", True),
        ("36 (release), REVISION: 4.2", "6.1 rev1", "12.6", "10.3", "3.10", True),
        ("36 (release), REVISION: 4.3", "6.2", "12.6", "10.3", "3.10", True),
        ("36 (release), REVISION: 4.7", "6.2.1", "12.6", "10.3", "3.10", True),
        ("36 (release), REVISION: 5.0", "6.2.2", "12.6", "10.3", "3.10", True),
        ("38 (release), REVISION: 2.1", "7.0", "13.0", "10.13.3", "3.12", True),
        ("38 (release), REVISION: 4.0", "7.1", "13.0", "10.13.3", "3.12", True),
        ("39 (release), REVISION: 2.2", "7.2.2", "13.2", "10.16.2", "3.12", True),
    ],
)
def test_what_belongs_to_a_release(board, said, name, cuda, tensorrt, python, supported):
    found = board(said).jetpack
    assert found is not None
    assert (found.name, found.cuda, found.tensorrt, found.python) == (name, cuda, tensorrt, python)
    assert found.supported is supported
    assert found.cuda_binding == f"cuda-bindings=={cuda[:2]}.*"


@pytest.mark.parametrize("said", ["36 (release), REVISION: 9.9", "39 (release), REVISION: 1.0", "40, whatever"])
def test_what_is_not_known_is_unknown(board, said):
    found = board(said)
    assert found.jetpack is None
    assert found.title.startswith("JetPack unknown (Jetson Linux ")
    assert not found.int8_fails()


def test_a_title(board):
    assert board("36 (release), REVISION: 4.3").title == "JetPack 6.2 (Jetson Linux 36.4.3)"
    assert board("something else").title == "JetPack unknown (Jetson Linux unknown)"


def test_where_int8_is_known_to_fail(board):
    assert board("39 (release), REVISION: 2.0", ORIN).int8_fails()
    assert not board("39 (release), REVISION: 2.0", THOR).int8_fails()
    assert not board("36 (release), REVISION: 4.3", ORIN).int8_fails()


def test_int8_is_judged_by_the_tensorrt_that_is_installed(board):
    found = board("39 (release), REVISION: 2.2", ORIN)
    assert found.int8_fails("10.16.2.10")
    assert not found.int8_fails("11.4.1")


@pytest.mark.parametrize(
    ("said", "chip", "name", "taken"),
    [
        ("39 (release), REVISION: 2.2", ORIN, "NVIDIA Jetson AGX Orin Developer Kit", True),
        ("39 (release), REVISION: 2.2", THOR, "NVIDIA Jetson AGX Thor Developer Kit", True),
        ("39 (release), REVISION: 2.2", ORIN, "NVIDIA Jetson Orin Nano Developer Kit", False),
        ("39 (release), REVISION: 2.1", ORIN, "NVIDIA Jetson AGX Orin Developer Kit", False),
        ("36 (release), REVISION: 4.3", ORIN, "NVIDIA Jetson AGX Orin Developer Kit", False),
        ("38 (release), REVISION: 4.0", THOR, "NVIDIA Jetson AGX Thor Developer Kit", False),
    ],
)
def test_where_tensorrt_11_is_supported(board, tmp_path, monkeypatch, said, chip, name, taken):
    """Of NVIDIA's words: JetPack 7.2.2 or later, AGX Orin and Thor, 11.4.1."""
    (tmp_path / "model").write_text(f"{name}\0")
    monkeypatch.setattr(gpu, "_MODEL", tmp_path / "model")
    found = board(said, chip)
    assert found.takes_tensorrt_11 is taken
    assert found.supports("11.4.1.30") is taken
    assert found.supports("11.5.0") is taken
    assert not found.supports("11.4.0")
    assert found.supports("10.3.0")


def test_a_later_jetpack_may_have_any_tensorrt(board):
    assert board("40 (release), REVISION: 1.0", THOR).takes_tensorrt_11  # 7.2.2 or later
    assert board("40 (release), REVISION: 1.0", THOR).supports("11.0.0")
    assert not board("something else", THOR).takes_tensorrt_11


def test_the_table_is_in_order():
    """No release is of two rows, and every chip is one whose compute capability is known."""
    for one, other in itertools.pairwise(JETPACKS):
        assert one.first <= one.last < other.first <= other.last
    assert {chip for row in JETPACKS for chip in row.chips} == {XAVIER, ORIN, THOR} == set(gpu.TEGRA_SM)


def test_another_machine_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(jetpack, "RELEASE", tmp_path / "none")
    assert jetpack.system() is None


def test_the_system_s_tensorrt_is_found_though_this_python_does_not_see_it(tmp_path, monkeypatch):
    monkeypatch.setattr(jetpack, "_SYSTEM_PACKAGES", tmp_path)
    assert not jetpack.has_tensorrt()
    (tmp_path / "python3.10" / "dist-packages" / "tensorrt").mkdir(parents=True)
    assert jetpack.has_tensorrt()


def test_the_chip_is_in_the_device_tree(tmp_path, monkeypatch):
    (tmp_path / "compatible").write_text(ORIN_NANO[1])
    monkeypatch.setattr(gpu, "_COMPATIBLE", tmp_path / "compatible")
    assert gpu.chip() == ORIN
    monkeypatch.setattr(gpu, "_COMPATIBLE", tmp_path / "none")
    assert gpu.chip() is None
