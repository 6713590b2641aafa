"""Checkpoints, recordings and pictures of an attacker."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.robustness.hostile_bundles import HUGE, put_zeros

Make = Callable[[Path], object]


def saved(content: Callable[[], Any]) -> Make:
    """Returns what saves an object as `torch.save` does."""

    def write(path: Path) -> None:
        import torch

        torch.save(content(), path)

    return write


def _stride() -> Any:
    import torch

    return {"net": {"conv.0.0.weight": torch.as_strided(torch.tensor([0.5]), (200_000, 200_000), (0, 0))}}


def _tensor(*shape: int) -> Any:
    import torch

    return torch.zeros(shape)


def plain(path: Path) -> None:
    """A checkpoint of no known network that does no harm."""
    saved(lambda: {"fc.weight": _tensor(2, 2)})(path)


def packed(path: Path) -> None:
    """A checkpoint whose weights of 2 GB are compressed."""
    made = io.BytesIO()
    import torch

    torch.save({"fc.weight": torch.zeros(2**14, 2**15)}, made)
    with zipfile.ZipFile(made) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as smaller:
        for name in whole.namelist():
            smaller.writestr(name, whole.read(name))


def pickled(head: bytes) -> Make:
    """Returns what writes a file of torch.save with other bytes in place of its pickle."""

    def write(path: Path) -> None:
        made = io.BytesIO()
        import torch

        torch.save({"fc.weight": torch.zeros(2, 2)}, made)
        with zipfile.ZipFile(made) as whole, zipfile.ZipFile(path, "w") as other:
            for name in whole.namelist():
                other.writestr(name, head if name.endswith("data.pkl") else whole.read(name))

    return write


def overlapping(path: Path) -> None:
    """An archive whose 20,000 members are the same 1 MB."""
    made = io.BytesIO()
    import torch

    torch.save({"fc.weight": torch.zeros(2**9, 2**9)}, made)
    content = made.getvalue()
    end = content.rindex(b"PK\x05\x06")
    begin = content.index(b"PK\x01\x02")
    with zipfile.ZipFile(io.BytesIO(content)) as whole:
        info = next(each for each in whole.infolist() if each.filename.endswith("data/0"))
    entries = b"".join(
        struct.pack(
            "<4s6H3L5H2L",
            b"PK\x01\x02",
            20,
            20,
            0,
            0,
            0,
            0,
            info.CRC,
            info.file_size,
            info.file_size,
            12,
            0,
            0,
            0,
            0,
            0,
            info.header_offset,
        )
        + b"archive/%04d" % (number % 10_000)
        for number in range(20_000)
    )
    directory = content[begin:end] + entries
    total = 20_000 + len(zipfile.ZipFile(io.BytesIO(content)).namelist())
    if b"PK\x06\x06" in directory:
        directory = content[begin : content.rindex(b"PK\x06\x06")] + entries
    path.write_bytes(
        content[:begin]
        + directory
        + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, total, total, len(directory), begin, 0)
    )


def flipped(mark: bytes, offset: int, mask: int) -> Make:
    """Returns what writes a checkpoint with a flipped bit."""

    def write(path: Path) -> None:
        saved(lambda: {"net": {"fc.weight": _tensor(3, 3)}})(path)
        content = bytearray(path.read_bytes())
        content[content.index(mark) + offset] ^= mask
        path.write_bytes(content)

    return write


def hole(path: Path) -> None:
    path.touch()
    os.truncate(path, HUGE)


def old_hole(path: Path) -> None:
    """A file as old versions of torch.save wrote it, with 200 GB behind it."""
    import torch

    torch.save({"fc.weight": torch.zeros(2, 2)}, path, _use_new_zipfile_serialization=False)
    os.truncate(path, HUGE)


def safetensors(head: Any, body: bytes = b"") -> Make:
    """Returns what writes a file of safetensors."""
    return lambda path: path.write_bytes(
        _safetensors(head if isinstance(head, bytes) else json.dumps(head).encode(), body)
    )


def _safetensors(head: bytes, body: bytes) -> bytes:
    return struct.pack("<Q", len(head)) + head + body


_F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

CHECKPOINTS: dict[str, tuple[str, Make]] = {
    "a tensor of 160 GB in 10 KB (stride 0)": (".pth", saved(_stride)),
    "a prefix 3,000 times over": (".pth", saved(lambda: {"module." * 3000 + "fc.weight": _tensor(2, 2)})),
    "a key of 10 MB": (".pth", saved(lambda: {"k" * 10**7 + ".weight": _tensor(2, 2)})),
    "a key of 5 million parts": (".pth", saved(lambda: {"a." * 5_000_000 + "weight": _tensor(2, 2)})),
    "100,000 keys": (".pth", saved(lambda: {f"layer{i}.weight": t for t in [_tensor(2, 2)] for i in range(100_000)})),
    "100,000 keys of 100 parts": (
        ".pth",
        saved(lambda: {"module." * 100 + f"conv.{i}.0.weight": t for t in [_tensor(2, 2)] for i in range(100_000)}),
    ),
    "weights of 2 GB in 2 MB (zip bomb)": (".pth", packed),
    "20,000 members that are the same 1 MB": (".pth", overlapping),
    "a text of 4 GB in a pickle": (".pth", pickled(b"\x80\x02X\xff\xff\xff\xff")),
    "a number of 4 MB in a pickle": (
        ".pth",
        pickled(b"\x80\x02\x8b" + struct.pack("<i", 4 * 10**6) + b"\x7f" * 4 * 10**6 + b"."),
    ),
    "a memo at 2^31": (".pth", pickled(b"\x80\x02Nr\xff\xff\xff\x7f.")),
    "tuples in 100,000 levels": (".pth", pickled(b"\x80\x02N" + b"\x85" * 100_000 + b".")),
    "tuples of tuples as a key": (".pth", pickled(b"\x80\x02}N" + b"q\x00h\x00\x86" * 60 + b"Ns.")),
    "an empty file": (".pth", lambda path: path.touch()),
    "a pipe": (".pth", os.mkfifo),
    "a link to /dev/zero": (".pth", lambda path: path.symlink_to("/dev/zero")),
    "200 GB, sparse": (".pth", hole),
    "200 GB, sparse, behind an old checkpoint": (".pth", old_hole),
    "a flipped bit in its directory, signature": (".pth", flipped(b"PK\x01\x02", 0, 1)),
    "a flipped bit in its directory, flags": (".pth", flipped(b"PK\x01\x02", 9, 8)),
    "a flipped bit in its directory, name": (".pth", flipped(b"PK\x01\x02", 46, 128)),
    "a flipped bit in its directory, method": (".pth", flipped(b"PK\x01\x02", 10, 64)),
    "safetensors: a header of 90 MB": (
        ".safetensors",
        safetensors({f"k{i}" * 10: _F32 for i in range(1_000_000)}, bytes(8)),
    ),
    "safetensors: 200 GB said": (
        ".safetensors",
        safetensors({"w": {"dtype": "F32", "shape": [2**35], "data_offsets": [0, 2**37]}}),
    ),
    "safetensors: a key twice": (
        ".safetensors",
        safetensors(
            b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
            bytes(8),
        ),
    ),
    "safetensors: 200 GB, sparse": (
        ".safetensors",
        lambda path: (
            safetensors({"w": {"dtype": "F32", "shape": [HUGE // 4], "data_offsets": [0, HUGE]}})(path),
            os.truncate(path, HUGE + path.stat().st_size),
        ),
    ),
}
"""By the name of a case: the suffix, and what makes the checkpoint."""


def png(width: int, height: int, kind: int = 0) -> Make:
    """Returns what writes a PNG of zeros."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    def write(path: Path) -> None:
        row = bytes(1 + width * (3 if kind == 2 else 1))
        packer = zlib.compressobj(9)
        body = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
        head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b""))

    return write


def arrays(name: str, size: int, kind: str, shape: tuple[int, ...] | None = None, **more: Any) -> Make:
    """Returns what writes an .npz with an array of zeros, and other arrays."""

    def write(path: Path) -> None:
        if more:
            np.savez(path, **more)
        put_zeros(path, name, size, kind, shape)

    return write


def npy(shape: tuple[int, ...], kind: str, fortran: bool = False, size: int = 0) -> Make:
    """Returns what writes an .npy with a header, and a hole behind it."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": fortran, "shape": shape})
        os.truncate(path, path.stat().st_size + size)

    return write


def columns(path: Path) -> None:
    """Images [N, 1, 28, 28] whose values lie column by column."""
    n = 2**31 // 4 // 784
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": True, "shape": (n, 1, 28, 28)})
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made,
        made.open("images.npy", "w", force_zip64=True) as file,
    ):
        file.write(head.getvalue())
        for _ in range(784):
            file.write(bytes(4 * n))


def lying(path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (2**60, 1, 28, 28)})
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("images.npy", head.getvalue())


DATA: dict[str, tuple[str, Make]] = {
    "a pipe as .npz": (".npz", os.mkfifo),
    "a link to /dev/zero as .png": (".png", lambda path: path.symlink_to("/dev/zero")),
    "a pipe as .png": (".png", os.mkfifo),
    "labels of 2 GB (2 MB)": (".npz", arrays("labels", 2**31, "<i8", images=np.zeros((4, 1, 28, 28), np.float32))),
    "images in columns of 2 GB": (".npz", columns),
    "an .npz with a header of 2^60 images": (".npz", lying),
    "a picture of 88 million pixels (90 KB)": (".png", png(9400, 9400)),
    "a picture of 88 million pixels in colour": (".png", png(9400, 9400, 2)),
    "a picture of 4 billion pixels": (".png", png(65_000, 65_000)),
    "a picture of 200 GB, sparse": (".png", lambda path: (png(28, 28)(path), os.truncate(path, HUGE))),
    "an .npz of 200 GB, sparse": (".npz", hole),
}
"""By the name of a case: the suffix, and what makes the data."""
