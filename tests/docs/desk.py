"""A folder with all files that the documents name: networks, bundles, recordings, and the folders of the project."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from tcja_deploy.cli import app
from tcja_exporters.networks.base import Attention
from tcja_exporters.networks.shared.event_sizes import EventSizes

from .. import networks, streams
from .blocks import ROOT, Block

SIZES = EventSizes(
    Attention("tcja", "product", 3, ((2, 2), (2, 2))), (2,) * 5, height=128, width=128, hidden=8, classes=3
)
SMALL = networks.Small("dvs128", SIZES)
EXPORT = "export model.pth --data test.npz --streaming --target onnx"
"""The command that makes model.bundle, as docs/how-to/stepwise.md has it."""

OWN = """
import torch
from torch import nn
from spikingjelly.activation_based import layer, neuron

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            layer.AvgPool2d(16, step_mode="m"), layer.Flatten(step_mode="m"),
            layer.Linear(128, 16, step_mode="m"), neuron.LIFNode(step_mode="m"),
            layer.Linear(16, 3, step_mode="m"), neuron.LIFNode(step_mode="m"),
        )

    def forward(self, frames):
        return self.body(frames).mean(0)

def build():
    return Net()
"""


def furnish(folder: Path) -> None:
    """Write the files that the documents name, but for the bundle."""
    SMALL.checkpoint(folder / "model.pth")
    counts = SMALL.inputs(4, seed=7)
    with torch.no_grad():
        labels = SMALL.module()(counts).argmax(1).numpy()
    np.savez_compressed(folder / "test.npz", frames=counts.numpy(), labels=labels)
    np.savez_compressed(folder / "windows.npz", frames=counts[:2].numpy())
    for label in (0, 1):
        (folder / "test" / str(label)).mkdir(parents=True)
        for number in range(2):
            events = streams.drawn(2000, 2 * label + number, sensor=(128, 128))
            (folder / "test" / str(label) / f"{number}.bin").write_bytes(streams.atis(events))
    (folder / "recordings").symlink_to(folder / "test")
    (folder / "recording.bin").symlink_to(folder / "test" / "0" / "0.bin")
    events = streams.drawn(4000, 9, sensor=(128, 128), seconds=1.2)
    for name in ("recording.aedat", "user24.aedat"):
        (folder / name).write_bytes(streams.aedat2(events))
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "__init__.py").touch()
    (folder / "mypackage" / "networks.py").write_text(OWN)
    generator = torch.Generator().manual_seed(0)
    shapes = {"body.2.weight": (16, 128), "body.2.bias": (16,), "body.4.weight": (3, 16), "body.4.bias": (3,)}
    torch.save({key: 4 * torch.randn(s, generator=generator) for key, s in shapes.items()}, folder / "weights.pth")
    for entry in ROOT.iterdir():
        if entry.name not in ("build", "mypackage") and not entry.name.startswith("."):
            (folder / entry.name).symlink_to(entry)
    (folder / "build").mkdir()
    (folder / "bin").mkdir()
    for name, module in (("tcja-deploy", "-m tcja_deploy"), ("python", "")):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
        program.chmod(0o755)


Made = dict[tuple[bytes, ...], Path]
"""The bundles that were made, by the checkpoint's content and the words of the command."""


def export(words: list[str], made: Made) -> int:
    """Run the command `export` in this folder; returns its exit code.

    Args:
        words: the command.
        made: the bundles of exports without `--out`. The same command on the same checkpoint is not run again.
    """
    if "--out" in words:
        return app.run(words)
    checkpoint = Path(words[1])
    out, key = checkpoint.with_suffix(".bundle"), (checkpoint.read_bytes(), *map(str.encode, words))
    shutil.rmtree(out, ignore_errors=True)  # a reader who exports has no such bundle yet
    if key in made:
        shutil.copytree(made[key], out)
        return 0
    code = app.run(words)
    made[key] = shutil.copytree(out, Path("..") / f"export{len(made)}.bundle").resolve()
    return code


def commands(code: str) -> list[list[str]] | None:
    """The words of each command of a block that has only `tcja-deploy`; None for a block that needs a shell."""
    lines = [line for line in code.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    if all(re.match(r"tcja-deploy [^|<>&;$*]+$", line.partition("  #")[0].strip()) for line in lines):
        return [shlex.split(line, comments=True)[1:] for line in lines]
    return None


def run_shell(code: str) -> None:
    """Run the lines of a block, and stop at the first that fails."""
    path = os.pathsep.join([str(Path.cwd() / "bin"), os.environ["PATH"]])
    python_path = os.pathsep.join(map(str, (ROOT, ROOT / "exporters", ROOT / "runtime")))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        env={**os.environ, "PATH": path, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def run(block: Block, names: dict[str, object], made: Made) -> None:
    """Run a block in this folder.

    Args:
        block: its code.
        names: what the Python blocks before it on its page have defined.
        made: the bundles that the same commands have made.
    """
    if block.file is not None:
        Path(block.file).parent.mkdir(parents=True, exist_ok=True)
        Path(block.file).write_text(block.code)
    elif block.language == "python":
        exec(compile(block.code, block.name, "exec"), names)
    elif (listed := commands(block.code)) is None:
        run_shell(block.code)
    else:
        for words in listed:
            assert (export(words, made) if words[0] == "export" else app.run(words)) == 0, words
