import threading
import time
from pathlib import Path

import pytest

from tcja_runtime.machine import power
from tcja_runtime.machine.power import Sampler, average, rails_of, sensors, total, whole

# The forms that tegrastats has on real boards, by board and JetPack.
XAVIER_NX_5 = (
    "07-09-2024 13:31:31 RAM 3168/6851MB (lfb 2x4MB) SWAP 161/3426MB (cached 0MB) "
    "CPU [23%@1397,17%@1192,16%@1190,off,off,10%@1190] EMC_FREQ 2%@204 GR3D_FREQ 0%@[114] VIC_FREQ 115 APE 150 "
    "AUX@45C CPU@46.5C thermal@45.6C AO@45C GPU@45.5C PMIC@50C "
    "VDD_IN 2763mW/2846mW VDD_CPU_GPU_CV 650mW/670mW VDD_SOC 650mW/711mW"
)


AGX_ORIN_5 = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) CPU [0%@729,1%@729] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 CV0@-256C CPU@44.562C Tboard@32C GPU@-256C tj@44.343C "
    "VDD_GPU_SOC 2340mW/2340mW VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW VDDQ_VDD2_1V8AO 301mW/301mW"
)


ORIN_NANO_6 = (
    "10-08-2026 04:35:02 RAM 6712/7620MB (lfb 12x4MB) SWAP 369/3810MB (cached 8MB) CPU [38%@1497,2%@729] "
    "EMC_FREQ 61%@2133 GR3D_FREQ 99%@[612] NVDEC off NVJPG off VIC off OFA off APE 200 "
    "cpu@57.125C soc2@55.093C gpu@58.625C tj@58.312C VDD_IN 16321mW/11204mW VDD_CPU_GPU_CV 7104mW/4944mW "
    "VDD_SOC 3120mW/3659mW"
)


AGX_ORIN_7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,off] EMC_FREQ 3%@3199 GR3D_FREQ 12%@[1300,1300] "
    "gpu@47.625C/47.625C VDD_GPU_SOC 5139mW/5139mW/5139mW VDD_CPU_CV 3268mW/3268mW/3268mW "
    "VIN_SYS_5V0 5500mW/5500mW/5500mW"
)


THOR_7 = (
    "08-08-2026 20:58:23 RAM 3429/125749MB (lfb 120x4MB) CPU [0%,5%,off]@2601 EMC_FREQ @4266 "
    "GR3D_FREQ @[1574,1574,1574] NVENC0_FREQ @0 PVA0_FREQ off cpu@49.75C/49.75C tj@51.218C/51.218C "
    "VDD_GPU -392mW/6330mW/6330mW VDD_CPU_SOC_MSS 4165mW/4165mW/4200mW VIN_SYS_5V0 4126mW/4126mW/4126mW "
    "VIN 28906mW/14453mW/28906mW"
)


NANO_4 = (
    "RAM 2020/3964MB (lfb 5x4MB) IRAM 0/252kB(lfb 252kB) CPU [12%,off]@102 EMC_FREQ 5% GR3D_FREQ 10%@1300 "
    "PLL@42.5C PMIC@100C POM_5V_IN 3140/3208 POM_5V_GPU 153/158 POM_5V_CPU 536/590"
)


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
    assert whole(rails_of(line)) == name
    assert total(rails_of(line)) == pytest.approx(watts)


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


def test_rails():
    assert rails_of(ORIN_NANO_6) == {"VDD_IN": 16.321, "VDD_CPU_GPU_CV": 7.104, "VDD_SOC": 3.12}
    assert list(rails_of(AGX_ORIN_5)) == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]  # NC is none
    assert list(rails_of(AGX_ORIN_7)) == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
    assert rails_of(XAVIER_NX_5) == {"VDD_IN": 2.763, "VDD_CPU_GPU_CV": 0.65, "VDD_SOC": 0.65}
    assert rails_of(THOR_7)["VDD_GPU"] == -0.392  # an offset of the sensor, at rest
    assert rails_of(THOR_7)["VIN"] == 28.906
    assert rails_of(NANO_4) == {"POM_5V_IN": 3.14, "POM_5V_GPU": 0.153, "POM_5V_CPU": 0.536}


def test_nothing_is_made_of_other_lines():
    assert rails_of("tegrastats: command not found, see /usr/bin 1/2") == {}
