"""Draw latent spikes from the trained prior, and compare the images that PyTorch and ONNX Runtime make of them.

First ``sample.py draw latents.npz``; then, with a bundle exported from the checkpoint, ``sample.py compare latents.npz
fsvae.bundle picture.png``.
"""

from __future__ import annotations

import argparse
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from model import Fsvae

from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_exporters.networks.base import ShapeReader
from tcja_exporters.networks.fsvae import NETWORK
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import MODEL

CHECKPOINT = Path(__file__).with_name("checkpoint.pth")
COLUMNS = 8
ENLARGED = 2
"""Screen pixels a side for a pixel of an image."""
GAP = 8
"""Between the upper rows and the lower, in screen pixels."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="as trained (default: the shipped one)")
    commands = parser.add_subparsers(required=True)
    draw = commands.add_parser("draw", help="write latent spikes as a data file")
    draw.add_argument("latents", type=Path, help=".npz to write")
    draw.add_argument("--count", type=int, default=64, help="images' worth (default: %(default)s)")
    draw.add_argument("--seed", type=int, default=0)
    draw.set_defaults(command=write_latents)
    compare = commands.add_parser("compare", help="generate with PyTorch and with a bundle's model.onnx")
    compare.add_argument("latents", type=Path, help=".npz with 'latents'")
    compare.add_argument("bundle", type=Path, help="that was exported from the checkpoint")
    compare.add_argument("picture", type=Path, help=".png to write: PyTorch's images, below them ONNX Runtime's")
    compare.add_argument("--rows", type=int, default=4, help=f"of {COLUMNS} images each (default: %(default)s)")
    compare.set_defaults(command=write_picture)
    return parser.parse_args()


def trained(path: Path) -> Fsvae:
    """The whole autoencoder from what train.py saved, in eval mode."""
    state = load_checkpoint(path).state
    sizes = NETWORK.sizes(ShapeReader({key: tuple(value.shape) for key, value in state.items()}))
    net = Fsvae(sizes, units=len(state["before_latent_layer.weight"]))
    net.load_state_dict(state)
    return net.eval()


def write_latents(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    with torch.no_grad():
        latents = trained(args.checkpoint).draw(args.count)
    np.savez_compressed(args.latents, latents=latents.numpy().astype(np.uint8))
    print(f"{args.latents}: latents {tuple(latents.shape)}, {float(latents.mean()):.1%} of them spikes")


def write_picture(args: argparse.Namespace) -> None:
    with np.load(args.latents) as data:
        latents = data["latents"].astype(np.float32)
    with torch.no_grad():
        ours = identify(load_checkpoint(args.checkpoint)).model(torch.from_numpy(latents)).numpy()
    theirs = OnnxRuntimeSession.open(args.bundle / MODEL).run({"latents": latents})["image"]
    print(f"largest difference over {len(latents)} images: {np.abs(ours - theirs).max():.2g}")
    shown = args.rows * COLUMNS
    gap = np.full((GAP, COLUMNS * ENLARGED * ours.shape[-1]), 255, np.uint8)
    args.picture.write_bytes(png(np.concatenate([tiled(ours[:shown]), gap, tiled(theirs[:shown])])))


def tiled(images: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Images [N, 1, H, W] in [-1, 1], COLUMNS side by side, as grey values."""
    grey = np.rint((images[:, 0] + 1) * 127.5).astype(np.uint8)
    rows, side = len(grey) // COLUMNS, grey.shape[-1]
    tiles = grey[: rows * COLUMNS].reshape(rows, COLUMNS, side, side).swapaxes(1, 2)
    sheet = tiles.reshape(rows * side, COLUMNS * side)
    return sheet.repeat(ENLARGED, 0).repeat(ENLARGED, 1)


def png(grey: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file of 8-bit grey values [height, width] (https://www.w3.org/TR/png/)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = grey.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits, grey, not interlaced
    unfiltered = np.pad(grey, ((0, 0), (1, 0)))  # each row begins with its filter, 0 for none
    pixels = zlib.compress(unfiltered.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def main() -> None:
    args = arguments()
    args.command(args)


if __name__ == "__main__":
    main()
