import pytest

from tcja_runtime.machine.power import Amount, Load, Rail, parse

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
MIB = 2**20


def test_memory():
    found = parse(XAVIER_NX_5)
    assert found.ram == Amount(3168 * MIB, 6851 * MIB)
    assert found.swap == Amount(161 * MIB, 3426 * MIB)
    assert found.iram is None
    assert parse(THOR_7).swap is None
    assert parse(NANO_4).iram == Amount(0, 252 * 1024)
    assert parse("RAM 1/2MB(lfb 1x4MB)").ram == Amount(MIB, 2 * MIB)  # the space is optional


def test_cores():
    cores = parse(XAVIER_NX_5).cores
    assert cores == (Load(23, (1397,)), Load(17, (1192,)), Load(16, (1190,)), None, None, Load(10, (1190,)))
    assert parse(THOR_7).cores == (Load(0, (2601,)), Load(5, (2601,)), None)
    assert parse("CPU [3%,4%]").cores == (Load(3, ()), Load(4, ()))


@pytest.mark.parametrize(
    ("line", "gpu", "memory"),
    [
        (XAVIER_NX_5, Load(0, (114,)), Load(2, (204,))),
        (AGX_ORIN_5, Load(0, (0, 0)), Load(0, (2133,))),
        (ORIN_NANO_6, Load(99, (612,)), Load(61, (2133,))),
        (AGX_ORIN_7, Load(12, (1300, 1300)), Load(3, (3199,))),
        (THOR_7, Load(None, (1574, 1574, 1574)), Load(None, (4266,))),
        (NANO_4, Load(10, (1300,)), Load(5, ())),
        ("GR3D_FREQ 7%", Load(7, ()), None),
    ],
)
def test_loads_and_clocks(line, gpu, memory):
    assert (parse(line).gpu, parse(line).memory) == (gpu, memory)


def test_temperatures():
    assert parse(XAVIER_NX_5).temperatures == {
        "AUX": 45.0,
        "CPU": 46.5,
        "thermal": 45.6,
        "AO": 45.0,
        "GPU": 45.5,
        "PMIC": 50.0,
    }
    assert parse(AGX_ORIN_5).temperatures == {"CPU": 44.562, "Tboard": 32.0, "tj": 44.343}  # others are off
    assert parse(THOR_7).temperatures == {"cpu": 49.75, "tj": 51.218}
    assert parse("ao@-3.5C").temperatures == {"ao": -3.5}


def test_rails():
    assert parse(ORIN_NANO_6).rails == {
        "VDD_IN": Rail(16.321, 11.204),
        "VDD_CPU_GPU_CV": Rail(7.104, 4.944),
        "VDD_SOC": Rail(3.12, 3.659),
    }
    assert list(parse(AGX_ORIN_7).rails) == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
    assert parse(THOR_7).rails["VDD_GPU"] == Rail(-0.392, 6.33)  # an offset of the sensor, at rest
    assert parse(THOR_7).rails["VIN"] == Rail(28.906, 14.453)
    assert parse(NANO_4).rails == {
        "POM_5V_IN": Rail(3.14, 3.208),
        "POM_5V_GPU": Rail(0.153, 0.158),
        "POM_5V_CPU": Rail(0.536, 0.59),
    }


def test_nothing_is_made_of_other_lines():
    found = parse("tegrastats: command not found, see /usr/bin 1/2")
    assert (found.ram, found.swap, found.gpu, found.memory, found.cores) == (None, None, None, None, ())
    assert found.rails == found.temperatures == {}
