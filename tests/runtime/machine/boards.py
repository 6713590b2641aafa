"""Boards, as their kernels describe them."""

# The device tree of a Jetson Orin Nano, as its kernel gives it: strings that end in a null byte.
ORIN = ("NVIDIA Jetson Orin Nano Developer Kit\0", "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0")
