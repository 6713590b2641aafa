import pytest

from tcja_exporters.costs.boards import BOARDS, SOURCES, Device
from tcja_runtime.errors import BadInput

# The totals that NVIDIA prints, in 10^12 operations or 10^9 bytes a second, and how finely. They are kept apart from
# the table of boards, which has counts and clocks alone.
PUBLISHED = [
    ("orin-nano", "15W", "int8", 20, 1),  # DS-11105-001: 20 (Dense) INT8 TOPs
    ("orin-nano-4gb", "10W", "int8", 10, 0.5),  # 10 (D)
    ("orin-nano-super", "MAXN_SUPER", "int8", 33, 1),  # 33 (Dense)
    ("orin-nano-4gb-super", "MAXN_SUPER", "int8", 17, 1),  # 17 (D)
    ("orin-nx", "MAXN", "int8", 50 - 20, 1),  # DS-10712-001: 50 (Dense), of which 20 of the DLAs
    ("orin-nx-8gb", "MAXN", "int8", 35 - 10, 1),  # 35 (D), of which 10 of the DLA
    ("orin-nx-super", "MAXN_SUPER", "int8", 78 - 40, 1),
    ("orin-nx-8gb-super", "MAXN_SUPER", "int8", 58 - 20, 1),
    ("agx-orin", "MAXN", "int8", 85, 1),  # comparison table: 170 sparse / 85 dense, 43 dense FP16, 5.3 FP32
    ("agx-orin", "MAXN", "fp16", 43, 1),
    ("agx-orin", "MAXN", "fp32", 5.3, 0.1),
    ("agx-orin-32gb", "MAXN", "int8", 54, 1),
    ("agx-xavier", "MAXN", "int8", 22, 1),  # 22 TOPS of the GPU, 11 TFLOPS, 1.4
    ("agx-xavier", "MAXN", "fp16", 11, 0.5),
    ("agx-xavier", "MAXN", "fp32", 1.4, 0.05),
    ("thor", "MAXN", "fp16", 2070 / 8, 2),  # 2070 sparse FP4: half of it dense, half of that FP8, half of that FP16
    ("thor", "MAXN", "fp32", 8.064, 0.001),
    ("thor-t4000", "70W", "fp16", 1200 / 8, 2),
]
BANDWIDTHS = {
    "orin-nano": 68,
    "orin-nano-4gb": 34,
    "orin-nano-super": 102,
    "orin-nano-4gb-super": 51,
    "orin-nx": 102,
    "orin-nx-8gb": 102,
    "orin-nx-super": 102,
    "orin-nx-8gb-super": 102,
    "agx-orin": 204.8,
    "agx-orin-32gb": 204.8,
    "agx-xavier": 136.5,
    "xavier-nx": 59.7,
    "thor": 273,
    "thor-t4000": 273,
}


@pytest.mark.parametrize(("name", "mode", "precision", "trillions", "digit"), PUBLISHED)
def test_counts_and_clocks_give_the_published_peaks(name, mode, precision, trillions, digit):
    assert Device.named(f"{name}:{mode}").peak(precision) / 1e12 == pytest.approx(trillions, abs=digit)


@pytest.mark.parametrize("name", BOARDS)
def test_bus_and_clock_give_the_published_bandwidth(name):
    assert Device.named(name).bandwidth / 1e9 == pytest.approx(BANDWIDTHS[name], abs=1)


def test_a_mode_of_less_power_is_not_faster():
    for found in BOARDS.values():
        modes = sorted(found.modes, key=lambda mode: (mode.watts, mode.memory_mhz))
        bandwidths = [Device(found, mode).bandwidth for mode in modes]
        assert bandwidths == sorted(bandwidths)
        most = max(mode.sms for mode in modes)
        assert found.modes[0].sms == most


def test_every_board_names_its_sources():
    assert all(found.sources and SOURCES.keys() >= set(found.sources) for found in BOARDS.values())
    assert {source for found in BOARDS.values() for source in found.sources} == SOURCES.keys()


def test_names():
    assert Device.named("orin-nano").mode.name == "15W"
    assert Device.named("ORIN-NANO:7w").mode.watts == 7
    assert Device.named("agx-orin-64gb") == Device.named("agx-orin")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("orin", "`device` orin is not known; there are orin-nano, orin-nano-4gb, "),
        ("", "`device`  is not known; there are orin-nano, "),
        ("orin-nx:MAXN_SUPER", "`device` orin-nx:MAXN_SUPER: orin-nx has the power modes MAXN, 25W, 15W, 10W"),
    ],
)
def test_an_unknown_board_names_those_that_are_known(device, message):
    with pytest.raises(BadInput) as error:
        Device.named(device)
    assert str(error.value).startswith(message)
