from tcja_runtime.machine.power import rails_of

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
