"""The benchmark of engines: what it builds, what it compares with, and what it says of builds that do not end."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.engines import engines
from benchmarks.engines.engines import BEFORE, NOW, PLAIN, Built

OLD = Built(
    network="dvs128",
    time_steps=20,
    precision="fp32",
    form=BEFORE,
    kernels=54,
    data=1_000,
    seconds=2.0,
    memory_seconds=0.0015,
    compute_seconds=0.00075,
    joules=0.0225,
)
NEW = dataclasses.replace(OLD, form=NOW, kernels=36, data=590)


def test_ratios_are_of_the_same_network_and_precision():
    other = dataclasses.replace(OLD, precision="fp16", data=100)
    peer = dataclasses.replace(OLD, form=PLAIN, data=2_000)
    found = [other, OLD, NEW, peer]
    assert engines.shared(NEW, found, BEFORE) == 0.59
    assert engines.shared(NEW, found, PLAIN) == 0.295
    assert engines.shared(NEW, [other, NEW], BEFORE) is None
    cells = list(engines.rows(found))
    assert cells[2] == (
        "dvs128",
        "20",
        "fp32",
        NOW,
        "36",
        "0.0",
        "0.0",
        "0.59",
        "0.29",
        "0.0",
        "2.0",
        "1.50",
        "0.75",
        "22.5",
    )
    assert len({len(each) for each in cells}) == 1


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, []),
        ({"data": 591}, ["data, of unrolled: 0.591, at most 0.59"]),
        ({"kernels": 37}, ["kernels: 37, at most 36"]),
        ({"seconds": 30.5}, ["seconds of the build: 30.5, at most 30"]),
        ({"network": "fsvae", "data": 900}, []),
        ({"network": "fsvae", "data": 1_001}, ["data, of unrolled: 1, at most 1"]),
        (
            {"failed": "did not end in 60 s", "kernels": 0, "network": "fsvae"},
            ["seconds of the build: unknown, at most 30", "data, of unrolled: unknown, at most 1"],
        ),
    ],
)
def test_what_is_promised_is_checked(changes, broken):
    old = dataclasses.replace(OLD, network=changes.get("network", "dvs128"))
    said = [line for line in engines.promises([old, dataclasses.replace(NEW, **changes)]) if "NOT KEPT" in line]
    assert said == [f"{old.network} fp32, {line}: NOT KEPT" for line in broken]


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.rtx
def test_a_published_network_is_built_in_both_forms_and_the_plain_way():
    old, new, plain = engines.engines("fashion_mnist", ["fp32"], [BEFORE, NOW], 60)
    assert [each.failed for each in (old, new, plain)] == ["", "", ""]
    assert (old.form, new.form, plain.form, new.time_steps) == (BEFORE, NOW, PLAIN, 8)
    assert new.kernels <= old.kernels
    assert new.data < min(old.data, plain.data)
    assert new.weights == pytest.approx(plain.weights, rel=1e-3)
    assert new.memory_seconds == pytest.approx((new.data + new.weights) / 68.26e9, rel=1e-2)
    assert new.joules == pytest.approx(15 * max(new.memory_seconds, new.compute_seconds))


@pytest.mark.tensorrt
@pytest.mark.rtx
def test_a_model_that_cannot_be_built_is_said(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no model")
    assert engines.built(tmp_path / "a.onnx", OLD, None, 60).failed.startswith("tensorrt-rtx cannot parse the model")
