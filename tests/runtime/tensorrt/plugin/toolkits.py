"""CUDA's compilers, which `make test-all` puts beside the environment's packages, one folder a toolkit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TOOLKITS = {"12.6": "cuda-12", "13.0": "cuda-13"}
"""JetPack 6 has 12.6, JetPack 7.0 has 13.0, and the folders that they are in."""


def nvrtc(toolkit: str) -> str:
    return str(_file(toolkit, "lib/libnvrtc.so.1?"))


def ptxas(toolkit: str) -> str:
    return str(_file(toolkit, "bin/ptxas"))


def _file(toolkit: str, name: str) -> Path:
    found = sorted((Path(sys.prefix) / TOOLKITS[toolkit]).glob(f"nvidia/*/{name}"))
    if not found:
        pytest.skip(f"CUDA {toolkit} is not installed: make test-all installs them")
    return found[0]
