"""Make windows with labels: python windows.py BUNDLE FOLDER OUT.npz. A recording's name begins with its class."""

import sys
from pathlib import Path

import numpy as np

import tcja_runtime as tcja

files = sorted(Path(sys.argv[2]).iterdir())
with tcja.load(sys.argv[1]) as net:
    names = [name.lower() for name in net.info.classes]
    labels = [names.index(file.stem.split("_")[0]) for file in files]
    np.savez_compressed(sys.argv[3], frames=net.frames(files), labels=labels)
