"""The kernel's PTX: NVIDIA's compiler makes it for every GPU that we name, and NVIDIA's assembler takes it."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tcja_runtime.errors import Unavailable
from tcja_runtime.tensorrt.plugin import nvrtc
from tcja_runtime.tensorrt.plugin.kernel import ISA, Kernel, width

from . import toolkits
from .kernels import SPECS

GPUS = [
    pytest.param("72", "12.6", "7.4", id="Xavier, JetPack 5 has CUDA 11.4"),
    pytest.param("87", "12.6", "8.5", id="Orin, JetPack 6.1 has CUDA 12.6"),
    pytest.param("87", "13.0", "9.0", id="Orin, JetPack 7.2 has CUDA 13"),
    pytest.param("90", "12.6", "7.8", id="H100, known from CUDA 11.8 on"),
    pytest.param("110", "13.0", "9.0", id="Thor, JetPack 7.0 has CUDA 13.0"),
]
"""Compute capability, the toolkit that compiles for it, and the latest PTX that the oldest driver for it knows."""
KERNELS = [
    Kernel(SPECS[name], half, width((128, 16, 16), half, pool), pool, traced=name == "late")
    for name, half, pool in itertools.product(
        ("lif, tau 3", "leaky, tau 7, v_reset", "gain, bias, v_reset", "late"), (False, True), (1, 2, 3)
    )
]


@pytest.mark.slow
@pytest.mark.releases
@pytest.mark.parametrize(("sm", "toolkit", "known"), GPUS)
def test_the_kernel_compiles_and_is_assembled(tmp_path, sm, toolkit, known):
    for i, kernel in enumerate(KERNELS):
        ptx = kernel.ptx(sm, toolkits.nvrtc(toolkit))
        (version,) = re.findall(r"^\.version (\S+)$", ptx, re.MULTILINE)
        assert version == ISA[sm]
        assert [int(part) for part in version.split(".")] <= [int(part) for part in known.split(".")]
        assert f".target sm_{sm}\n" in ptx
        assert f".visible .entry {kernel.name}(" in ptx
        assert not re.findall(r"\bfma\b|\.ftz|\.approx|div\.full", ptx)  # each would round otherwise
        if kernel.pool == 1 and not kernel.traced:
            accesses = re.findall(r"\b(?:ld|st)\.global\S*", ptx)
            assert accesses
            assert all(".v4." in access for access in accesses)  # 16 bytes, of halves, too
        (tmp_path / f"{i}.ptx").write_text(ptx)
    assembled = [toolkits.ptxas(toolkit), f"-arch=sm_{sm}", "-v", "-o", str(tmp_path / "kernel.cubin")]
    for i in range(len(KERNELS)):
        done = subprocess.run([*assembled, str(tmp_path / f"{i}.ptx")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "0 bytes spill stores, 0 bytes spill loads" in done.stderr


@pytest.mark.releases
def test_the_assembler_refuses_what_a_version_of_ptx_does_not_know(tmp_path):
    """Or the test above would not tell whether a kernel may say so early a version."""
    ptx = KERNELS[0].ptx("90", toolkits.nvrtc("12.6"))
    (tmp_path / "a.ptx").write_text(ptx.replace("ret;", "barrier.cluster.arrive; barrier.cluster.wait; ret;"))
    (tmp_path / "b.ptx").write_text((tmp_path / "a.ptx").read_text().replace(".version 7.8", ".version 7.7"))
    for name, code in (("a.ptx", 0), ("b.ptx", 255)):
        command = [toolkits.ptxas("12.6"), "-arch=sm_90", "-o", str(tmp_path / "o"), str(tmp_path / name)]
        assert subprocess.run(command, capture_output=True).returncode == code


@pytest.mark.releases
def test_a_gpu_that_the_compiler_does_not_know_is_named():
    with pytest.raises(Unavailable, match=r"kernel does not compile for sm_110: .*gpu-architecture"):
        KERNELS[0].ptx("110", toolkits.nvrtc("12.6"))


@pytest.mark.releases
def test_what_does_not_compile_is_told():
    with pytest.raises(ValueError, match=r"bad.cu\(1\): error: identifier \"nothing\" is undefined"):
        nvrtc.compiled("int x = nothing;", "bad.cu", [], toolkits.nvrtc("12.6"))


def test_without_nvrtc_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(nvrtc, "_candidates", lambda: iter(["/nowhere/libnvrtc.so.12"]))
    assert nvrtc.installed() is None
    with pytest.raises(Unavailable, match="needs NVRTC of CUDA 12 or 13: pip install nvidia-cuda-nvrtc"):
        nvrtc.compiled("", "a.cu", [])


def test_constants_keep_every_bit():
    spec = SPECS["gain, bias, v_reset"]
    defined = dict(re.findall(r"#define (\w+) (-?0x\S+)f\n", Kernel(spec).source))
    for name in ("decay", "gain", "bias", "threshold", "v_reset"):
        assert float.fromhex(defined[name.upper()]) == np.float32(getattr(spec, name))


@pytest.mark.releases
def test_of_several_compilers_the_newest_is_taken(tmp_path, monkeypatch):
    (tmp_path / "nvidia").mkdir()
    for toolkit in ("12.6", "13.0"):
        installed = Path(toolkits.nvrtc(toolkit)).parents[1]
        (tmp_path / "nvidia" / installed.name).symlink_to(installed)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    assert Path(nvrtc.installed() or "").name == "libnvrtc.so.13"
    assert ".target sm_110" in KERNELS[0].ptx("110")
