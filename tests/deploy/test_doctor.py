"""What `doctor` says of machines that are made up of files: Jetsons of each JetPack, and others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tcja_deploy import doctor
from tcja_deploy.cli import app
from tcja_deploy.doctor import Finding
from tcja_runtime.bundle.origin import built_here
from tcja_runtime.machine import conditions, gpu, jetpack
from tcja_runtime.machine.gpu import Gpu

from .. import signing

MEMINFO = "MemAvailable:    5347738 kB\nSwapTotal:       {swap} kB\nSwapFree:        {swap} kB\n"


@dataclasses.dataclass
class Board:
    """A Jetson in a folder."""

    folder: Path
    versions: dict[str, str]

    def found(self) -> dict[str, Finding]:
        return {finding.what: finding for finding in doctor.examine()}

    def release(self, said: str) -> None:
        (self.folder / "release").write_text(f"# {said}, GCID: 41062509, BOARD: generic, EABI: aarch64\n")

    def chip(self, name: str) -> None:
        (self.folder / "compatible").write_text(f"nvidia,p3768-0000\0nvidia,{name}\0")


@pytest.fixture
def board(tmp_path, monkeypatch) -> Board:
    """An Orin Nano with JetPack 6.2, whose TensorRT this Python sees, and the CUDA binding that fits."""
    made = Board(tmp_path, {"tensorrt": "10.3.0", "cuda-bindings": "12.9.4", "onnxruntime": "1.23.0"})
    made.release("R36 (release), REVISION: 4.3")
    made.chip("tegra234")
    (tmp_path / "model").write_text("NVIDIA Jetson Orin Nano Developer Kit\0")
    (tmp_path / "meminfo").write_text(MEMINFO.format(swap=3902464))
    (tmp_path / "lib" / "python3.10" / "dist-packages" / "tensorrt").mkdir(parents=True)
    monkeypatch.setattr(jetpack, "RELEASE", tmp_path / "release")
    monkeypatch.setattr(jetpack, "_SYSTEM_PACKAGES", tmp_path / "lib")
    for name, file in (("_MODEL", "model"), ("_COMPATIBLE", "compatible"), ("_MEMORY", "meminfo")):
        monkeypatch.setattr(gpu, name, tmp_path / file)
    monkeypatch.setattr(gpu, "_DEVFREQ", tmp_path / "none")
    monkeypatch.setattr(doctor, "version", made.versions.get)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda module: made.versions.get(module.replace("_", "-")))
    monkeypatch.setattr(doctor, "power_mode", lambda: "15W")
    monkeypatch.setattr(doctor, "gpu_clocks", lambda: (306, 612))
    monkeypatch.setattr(doctor.platform, "python_version_tuple", lambda: ("3", "10", "12"))
    return made


def test_a_board_that_lacks_nothing(board):
    found = board.found()
    said = {what: finding.detail for what, finding in found.items() if finding.able}
    assert said["use JetPack's TensorRT"] == (
        "JetPack 6.2 (Jetson Linux 36.4.3) has CUDA 12.6, TensorRT 10.3, Python 3.10; "
        "no release of tcja-deploy has been run on a Jetson yet"
    )
    assert said["see JetPack's TensorRT from this Python"] == "tensorrt 10.3.0, Python 3.10"
    assert said["run engines on the GPU"] == "tensorrt through cuda-bindings 12.9.4"
    assert said["swap while building"] == "5.1 GiB of memory and 3.7 GiB of swap are free"
    assert said["read the power mode"] == "15W, the GPU's clock is 306 MHz of 612"
    assert said["use a GPU"] == "NVIDIA Jetson Orin Nano Developer Kit, compute capability 8.7"
    assert "build every int8 network" not in found


def test_doctor_as_json(board, capsys):
    assert app.run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"what", "able", "detail", "fix"} == set(found[0])
    assert "use JetPack's TensorRT" in [finding["what"] for finding in found]


@pytest.mark.parametrize(
    ("release", "chip", "detail", "fix"),
    [
        (
            "R36 (release), REVISION: 3.0",
            "tegra234",
            "JetPack 6.0 (Jetson Linux 36.3.0) has CUDA 12.2, TensorRT 8.6.2, Python 3.10; engines need TensorRT 10.3",
            "install JetPack 6.1 or later",
        ),
        (
            "R35 (release), REVISION: 4.1",
            "tegra194",
            "JetPack 5.1 (Jetson Linux 35.4.1) has CUDA 11.4, TensorRT 8.5.2, Python 3.8",
            "run models in ONNX Runtime; NVIDIA has no newer JetPack",
        ),
        (
            "R39 (release), REVISION: 1.0",
            "tegra264",
            "JetPack unknown (Jetson Linux 39.1.0): its versions of CUDA and TensorRT are not in the table",
            "compare it with the table in docs/how-to/jetson.md",
        ),
    ],
)
def test_a_jetpack_that_does_not_do(board, release, chip, detail, fix):
    board.release(release)
    board.chip(chip)
    found = board.found()["use JetPack's TensorRT"]
    assert not found.able
    assert found.detail.startswith(detail)
    assert found.fix == fix


def test_an_environment_that_does_not_see_the_system(board):
    del board.versions["tensorrt"]
    found = board.found()
    seen = found["see JetPack's TensorRT from this Python"]
    assert (seen.able, seen.detail) == (False, "this environment does not see the system's packages")
    assert "python3 -m venv --system-site-packages .venv" in seen.fix
    assert found["run engines on the GPU"].detail == "no TensorRT is installed for this Python"
    builds = found["build engines for this machine's GPU"]
    assert (builds.able, builds.fix) == (False, seen.fix)  # not 'pip install tensorrt', which brings another one


def test_another_python_than_jetpack_s(board, monkeypatch):
    del board.versions["tensorrt"]
    monkeypatch.setattr(doctor.platform, "python_version_tuple", lambda: ("3", "12", "1"))
    seen = board.found()["see JetPack's TensorRT from this Python"]
    assert seen.detail == "this is Python 3.12, JetPack's TensorRT is for 3.10"
    assert seen.fix == "python3.10 -m venv --system-site-packages .venv"


def test_a_system_without_tensorrt(board, monkeypatch):
    del board.versions["tensorrt"]
    monkeypatch.setattr(jetpack, "_SYSTEM_PACKAGES", board.folder / "none")
    seen = board.found()["see JetPack's TensorRT from this Python"]
    assert (seen.detail, seen.fix) == ("it is not installed", "sudo apt-get install python3-libnvinfer")


def test_the_cuda_binding_must_be_of_the_board_s_cuda(board):
    board.versions["cuda-bindings"] = "13.0.1"
    found = board.found()["run engines on the GPU"]
    assert not found.able
    assert found.detail == ("cuda-bindings 13.0.1 is for another CUDA; JetPack 6.2 (Jetson Linux 36.4.3) has CUDA 12.6")
    assert found.fix == 'pip install "cuda-bindings==12.*"'
    del board.versions["cuda-bindings"]
    found = board.found()["run engines on the GPU"]
    assert (found.detail, found.fix) == (
        "NVIDIA's CUDA binding is not installed",
        'pip install "cuda-bindings==12.*"',
    )


def test_without_swap_it_is_said(board):
    (board.folder / "meminfo").write_text(MEMINFO.format(swap=0))
    found = board.found()["swap while building"]
    assert not found.able
    assert found.detail == "5.1 GiB of memory and 0.0 GiB of swap are free; a build that needs more memory is killed"
    assert found.fix == "add swap as docs/how-to/jetson.md shows"


def test_a_power_mode_that_is_not_told(board, monkeypatch):
    monkeypatch.setattr(doctor, "power_mode", lambda: None)
    monkeypatch.setattr(doctor, "gpu_clocks", lambda: None)
    found = board.found()["read the power mode"]
    assert (found.able, found.fix) == (False, "sudo nvpmodel -q")
    assert found.detail == "'nvpmodel -q' does not print it; the GPU's clock is not known"


def test_the_known_failure_of_int8(board):
    board.release("R39 (release), REVISION: 2.0")
    board.versions["tensorrt"] = "10.16.2.10"
    found = board.found()["build every int8 network"]
    assert not found.able
    assert "NVIDIA/TensorRT#4832" in found.detail
    assert "--precision fp16" in found.fix


@pytest.mark.parametrize(
    ("release", "model", "number", "able"),
    [
        ("R39 (release), REVISION: 2.2", "NVIDIA Jetson AGX Orin Developer Kit", "11.4.1", True),
        ("R39 (release), REVISION: 2.2", "NVIDIA Jetson AGX Orin Developer Kit", "11.4.0", False),
        ("R39 (release), REVISION: 2.2", "NVIDIA Jetson Orin Nano Developer Kit", "11.4.1", False),
        ("R36 (release), REVISION: 4.3", "NVIDIA Jetson AGX Orin Developer Kit", "11.4.1", False),
    ],
)
def test_tensorrt_11(board, monkeypatch, release, model, number, able):
    board.release(release)
    (board.folder / "model").write_text(f"{model}\0")
    monkeypatch.setattr(doctor.platform, "python_version_tuple", lambda: ("3", "12", "3"))
    board.versions["tensorrt"] = number
    found = board.found()
    seen = found["see JetPack's TensorRT from this Python"]
    assert seen.able is able
    assert "build every int8 network" not in found  # that is known of 10.16.2
    if able:
        assert seen.detail == "tensorrt 11.4.1, Python 3.12"
        assert "; NVIDIA supports TensorRT 11.4.1 here, too; " in found["use JetPack's TensorRT"].detail
    else:
        assert seen.detail == (
            f"tensorrt {number} is not JetPack's; NVIDIA supports TensorRT 11 from 11.4.1 on, "
            "with JetPack 7.2.2 or later, on AGX Orin and Thor"
        )
        assert seen.fix.startswith("remove it, and use JetPack's: python3 -m venv --system-site-packages")


def test_another_machine_hears_nothing_of_jetsons(tmp_path, monkeypatch):
    monkeypatch.setattr(jetpack, "RELEASE", tmp_path / "none")
    monkeypatch.setattr(doctor, "gpu", lambda: Gpu("NVIDIA H100", "90"))
    versions = {"tensorrt": "11.4.0"}
    monkeypatch.setattr(doctor, "version", versions.get)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda module: versions.get(module))
    found = {finding.what: finding for finding in doctor.examine()}
    assert not [what for what in found if "JetPack" in what]
    assert found["run engines on the GPU"].fix == (
        'pip install "cuda-bindings==12.*" for CUDA 12, "cuda-bindings==13.*" for CUDA 13'
    )
    assert conditions.power_mode() is None


@pytest.mark.parametrize(
    ("package", "number", "what", "detail"),
    [
        ("onnxruntime", "1.20.1", "verify bundles", "onnxruntime 1.20.1 is too old, 1.21 is needed"),
        ("tensorrt", "10.2.0", "build engines for this machine's GPU", "tensorrt 10.2.0 is too old, 10.3 is needed"),
        ("tensorrt", "10.2.0", "run engines on the GPU", "tensorrt 10.2.0 is too old, 10.3 is needed"),
        ("cuda-bindings", "12.6.0", "run engines on the GPU", "cuda-bindings 12.6.0 is too old, 12.8 is needed"),
        ("aedat", "1.0", "read AEDAT 4", "aedat 1.0 is too old, 2.2 is needed"),
        ("h5py", "2.9", "read HDF5", "h5py 2.9 is too old, 3.8 is needed"),
        ("nir", "1.0.5", "export NIR graphs", "nir 1.0.5 is too old, 1.0.6 is needed"),
        ("torch", "1.13.1+cu117", "export checkpoints", "torch 1.13.1+cu117 is too old, 2.8 is needed"),
    ],
)
def test_a_package_that_commands_refuse_is_no_ability(board, monkeypatch, package, number, what, detail):
    """The commands take the oldest versions from the same table (`tcja_runtime.machine.versions`)."""
    installed = dict.fromkeys(("torch", "onnx", "onnxscript", "onnx-graphsurgeon", "safetensors"), "99")
    board.versions.update({**installed, package: number})
    monkeypatch.setattr(doctor.onnxruntime, "version", board.versions.get)
    found = next(finding for name, finding in board.found().items() if name.startswith(what))
    assert (found.able, found.detail) == (False, detail)


def test_a_board_hears_nothing_of_desktop_gpus(board):
    found = board.found()["build engines for desktop RTX GPUs, without a GPU"]
    assert (found.able, found.fix) == (False, "")
    assert found.detail == "for desktop RTX GPUs; a board builds its own engines with tensorrt"


def test_whom_this_machine_trusts_is_said(board, tmp_path, monkeypatch):
    finding = board.found()["know whose bundles to trust"]
    assert (finding.able, finding.detail) == (False, "no public key is named here; no signature is required")
    _, public = signing.ssh_key(tmp_path, "mine")
    monkeypatch.setenv("TCJA_PUBLIC_KEYS", str(public))
    monkeypatch.setenv("TCJA_REQUIRE_SIGNATURE", "1")
    finding = board.found()["know whose bundles to trust"]
    assert finding.able
    assert finding.detail.startswith("key mine.pub (SHA256:")
    assert finding.detail.endswith("; TCJA_REQUIRE_SIGNATURE requires a signature")
    monkeypatch.setenv("TCJA_PUBLIC_KEYS", str(tmp_path / "none"))
    assert not board.found()["know whose bundles to trust"].able


def test_the_engines_that_were_built_here_are_counted(board, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    built_here.add(built_here.Built("1" * 64, "2" * 64), "orin")
    file = tmp_path / "tcja-deploy" / "engines"
    assert board.found()["know the engines that were built here"].detail == f"1 engine in {file}"
    file.chmod(0o666)
    finding = board.found()["know the engines that were built here"]
    assert (finding.able, finding.fix) == (False, f"rm {file}")
