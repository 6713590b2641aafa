"""The base install resolves on a Jetson from wheels alone; pip says so."""

from __future__ import annotations

from types import ModuleType

import pytest

from .. import scripts

pytest.importorskip("tomllib")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return scripts.loaded("aarch64_install")


def test_every_supported_jetpack_is_tried(script):
    assert script.systems() == [("3.10", "22.04", "cuda-bindings==12.*"), ("3.12", "24.04", "cuda-bindings==13.*")]


def test_the_base_install_is_small(script):
    names = {requirement.partition(">")[0] for requirement in script.dependencies()}
    assert names == {"numpy", "rich", "typer"}


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 1])
def test_wheels_are_enough_on_a_board(script, at):
    python, ubuntu, binding = script.systems()[at]
    wheels = script.resolved(python, ubuntu, [*script.dependencies("events"), binding])
    compiled = [wheel for wheel in wheels if not wheel.endswith("-none-any.whl")]
    assert all(wheel.endswith("_aarch64.whl") for wheel in compiled)
    tag = f"cp{python.replace('.', '')}"
    assert any(wheel.startswith("numpy-") and tag in wheel for wheel in compiled)
    assert any(wheel.startswith("aedat-") and tag in wheel for wheel in compiled)
    assert any(wheel.startswith("cuda_bindings-") and tag in wheel for wheel in compiled)
    assert not [wheel for wheel in wheels if wheel.startswith(("torch-", "onnx-", "tensorrt"))]


@pytest.mark.slow
def test_what_has_no_wheel_is_not_resolved(script):
    with pytest.raises(SystemExit, match="No matching distribution found for tensorrt-cu12-bindings==10.3.0"):
        script.resolved("3.10", "22.04", ["tensorrt-cu12-bindings==10.3.0"])
