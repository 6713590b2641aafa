import threading
import time
from pathlib import Path

import pytest

from tcja_runtime.machine import power
from tcja_runtime.machine.power import Sampler, average, rails_of, sensors, total, whole

from .test_tegrastats import AGX_ORIN_7, NANO_4, ORIN_NANO_6, THOR_7


def rails(line: str) -> dict[str, float]:
    return rails_of(line)


@pytest.mark.parametrize(
    ("line", "name", "watts"),
    [
        (THOR_7, "VIN", 28.906),
        (NANO_4, "POM_5V_IN", 3.14),
        (ORIN_NANO_6, "VDD_IN", 16.321),
        (AGX_ORIN_7, None, 5.139 + 3.268 + 5.5),  # VIN_SYS_5V0 is not VIN
        ("VDD_IN 4000/4000 VIN 9000/9000 POM_5V_IN 5000/5000", "VIN", 9.0),
        ("VDD_IN 4000/4000 POM_5V_IN 5000/5000", "POM_5V_IN", 5.0),
    ],
)
def test_the_total_is_the_whole_rail_or_the_sum(line, name, watts):
    assert whole(rails(line)) == name
    assert total(rails(line)) == pytest.approx(watts)


def chip(root: Path, number: int, **files: object) -> Path:
    folder = root / f"hwmon{number}"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")
    return folder


@pytest.fixture
def orin(tmp_path) -> Path:
    """An AGX Orin's sensors, as its kernel shows them."""
    chip(tmp_path, 0, name="tmp451", temp1_input=41000, in1_label="no rail", in1_input=1, curr1_input=1)
    first = {"in1_label": "VDD_GPU_SOC", "in2_label": "VDD_CPU_CV", "in3_label": "VIN_SYS_5V0"}
    chip(
        tmp_path,
        1,
        name="ina3221",
        **first,
        in1_input=19864,
        in2_input=19864,
        in3_input=4968,
        in4_input=3,
        in7_label="sum of shunt",
        curr1_input=180,
        curr2_input=40,
        curr3_input=953,
        curr4_input=1173,
        in7_input=9,
    )
    chip(tmp_path, 2, name="ina3221", in1_label="NC", in1_input=0, curr1_input=0, in2_label="VDDQ", in2_input=4968)
    (tmp_path / "hwmon2" / "curr2_input").write_text("80\n")
    return tmp_path


def test_an_ina3221_has_three_rails(orin):
    found = {name: sensor.watts() for name, sensor in sensors(orin).items()}
    assert found == pytest.approx(
        {"VDD_GPU_SOC": 3.57552, "VDD_CPU_CV": 0.79456, "VIN_SYS_5V0": 4.734504, "VDDQ": 0.39744}
    )


def test_a_rail_that_cannot_be_read_is_left_out(orin):
    (orin / "hwmon1" / "curr2_input").write_text("")
    (orin / "hwmon1" / "in3_input").unlink()
    assert set(sensors(orin)) == {"VDD_GPU_SOC", "VDDQ"}


def test_an_ina238_is_the_input_of_a_thor(tmp_path):
    chip(tmp_path, 0, name="ina238", in0_input=3, in1_input=20000, curr1_input=1400, power1_input=28906000)
    assert {name: sensor.watts() for name, sensor in sensors(tmp_path).items()} == {"VIN": pytest.approx(28.906)}
    (tmp_path / "hwmon0" / "power1_input").unlink()
    assert sensors(tmp_path)["VIN"].watts() == pytest.approx(28.0)
    (tmp_path / "hwmon0" / "label").write_text("VDD_X\n")  # the device tree may name it
    assert set(sensors(tmp_path)) == {"VDD_X"}


def test_where_nothing_is_measured_there_is_no_source(tmp_path, monkeypatch):
    monkeypatch.setattr(power, "_HWMON", tmp_path)
    monkeypatch.setenv("PATH", "")
    assert power.source() is None


def test_sensors_are_sampled_while_something_is_done(orin, monkeypatch):
    monkeypatch.setattr(power, "_HWMON", orin)
    monkeypatch.setattr(power, "_INTERVAL", 0.001)
    found = power.source()
    assert found is not None
    assert found[0] == "hwmon"
    with Sampler(found[1]) as sampler:
        deadline = time.monotonic() + 10
        while len(sampler._taken) < 20 and time.monotonic() < deadline:
            time.sleep(0.001)
        (orin / "hwmon1" / "curr1_input").write_text("")  # a sensor that stops answering ends nothing
        time.sleep(0.02)
    assert sampler.power is not None
    assert sampler.power.samples >= 20
    assert sampler.power.whole is None
    assert sampler.power.watts == pytest.approx(3.57552 + 0.79456 + 4.734504 + 0.39744)
    assert not sampler._thread.is_alive()


def test_tegrastats_is_asked_where_no_sensor_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(power, "_HWMON", tmp_path / "none")
    command = tmp_path / "tegrastats"
    # It goes on when nobody reads it, and must be ended.
    loop = f'while :; do echo "{ORIN_NANO_6}"; sleep 0.01; done'
    command.write_text(f'#!/bin/sh\ntrap \'\' PIPE\n[ "$*" = "--interval 100" ] || exit 2\n{loop} 2>&-\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = power.source()
    assert found is not None
    assert found[0] == "tegrastats"
    with Sampler(found[1]) as sampler:
        deadline = time.monotonic() + 10
        while len(sampler._taken) < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert sampler.power is not None
    assert (sampler.power.watts, sampler.power.whole) == (pytest.approx(16.321), "VDD_IN")
    assert not sampler._thread.is_alive()


def test_power_is_the_mean_over_time():
    """Ten samples: the first nine a second apart at 2 W, the last three seconds later at 6 W."""
    taken = [(float(at), {"VDD_IN": 2.0, "VDD_SOC": 1.0}) for at in range(9)] + [(11.0, {"VDD_IN": 6.0})]
    found = average(taken)
    assert found is not None
    assert found.watts == pytest.approx((8 * 2 + 3 * 4) / 11)
    assert set(found.rails) == {"VDD_IN"}  # the other is not in every sample
    assert found.samples == 10


def test_few_samples_are_no_claim():
    taken = [(float(at), {"VDD_IN": 2.0}) for at in range(9)]
    assert average(taken) is None
    with Sampler(lambda _: iter([{"VDD_IN": 1.0}])) as sampler:
        pass
    assert sampler.power is None


def test_a_source_that_hangs_holds_nothing_up(monkeypatch):
    monkeypatch.setattr(power, "_PATIENCE", 0.01)
    released = threading.Event()

    def hang(ended):
        released.wait(10)
        return
        yield

    with Sampler(hang) as sampler:
        pass
    assert sampler.power is None
    released.set()
