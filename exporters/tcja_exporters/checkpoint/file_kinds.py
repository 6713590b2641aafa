"""Names the kind of a file that is given as a checkpoint and is none, by its first bytes, and says what to do."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

from tcja_runtime.files import zips
from tcja_runtime.files.kinds import Kind, kind_of

_SAVE = "save the weights from Python with torch.save(net.state_dict(), 'weights.pth') and pass that file"
HEAD = 512
"""The number of first bytes from which the kind of a file is told."""
_NO_CHECKPOINT = {
    Kind.HDF5: f"is an HDF5 file, as Keras and others write; {_SAVE}",
    Kind.LFS: "is a Git LFS pointer, not the file itself; run 'git lfs pull' where it was cloned",
    Kind.NPY: f"is an array of numpy (.npy); {_SAVE}",
    Kind.GGUF: f"is a GGUF file; {_SAVE}",
    Kind.GZIP: "is compressed with gzip; decompress it with gunzip, or extract it with tar, first",
    Kind.BZIP2: "is compressed with bzip2; decompress it first",
    Kind.XZ: "is compressed with xz; decompress it first",
    Kind.ZSTD: "is compressed with zstd; decompress it first",
    Kind.SEVEN_ZIP: "is a 7z archive; extract it, and pass the checkpoint in it",
    Kind.RAR: "is a RAR archive; extract it, and pass the checkpoint in it",
    Kind.PNG: "is a PNG image, not a checkpoint",
    Kind.JPEG: "is a JPEG image, not a checkpoint",
    Kind.GIF: "is a GIF image, not a checkpoint",
    Kind.TIFF: "is a TIFF image, not a checkpoint",
    Kind.ROS1: "is a bag of ROS 1, not a checkpoint",
    Kind.PDF: "is a PDF document, not a checkpoint",
    Kind.HTML: "is a web page, not the file that its link names; download the file itself",
    Kind.ENGINE: "is a TensorRT engine, which holds no weights to export; pass the checkpoint that training saved",
}
_HEADER_LIMIT = 100_000_000  # bytes; the limit of the package safetensors


def head(stream: IO[bytes]) -> bytes:
    """Return the first bytes of an open file."""
    stream.seek(0)
    return stream.read(HEAD)


def is_safetensors(start: bytes) -> bool:
    """Whether a file with these first bytes is of safetensors: the size of the header, and the header in JSON."""
    return len(start) > 9 and start[8:9] == b"{" and 2 <= struct.unpack("<Q", start[:8])[0] <= _HEADER_LIMIT


def other_kind(path: Path, stream: IO[bytes]) -> str | None:
    """Return what a file is and what to do, as the rest of a sentence; None if it may be a checkpoint.

    Args:
        path: the file.
        stream: the same file, open.

    Raises:
        BadInput: it is a zip archive whose directory is damaged.
    """
    start = head(stream)
    if not start:
        return "is empty; copy it again"
    kind = kind_of(start)
    if kind in _NO_CHECKPOINT:
        return _NO_CHECKPOINT[kind]
    if zips.is_zip(stream):
        with zips.opened(stream, path) as archive:
            return _archive(archive.namelist())
    if start.startswith(b"PK"):
        return "is truncated or damaged; copy it again"
    if _is_onnx(path, start):
        describe = (
            "tcja-deploy inspect describes it" if path.suffix == ".onnx" else "to describe a model, name it .onnx"
        )
        return f"is an ONNX model; export starts from the PyTorch checkpoint; {describe}"
    return _text(start)


def folder(path: Path) -> str:
    """Return what a folder that is given as a checkpoint is and what to do, as the rest of a sentence."""
    names = sorted(entry.name for entry in path.iterdir())
    if "manifest.json" in names:
        return "is a bundle, which is already exported; pass the checkpoint that training saved (.pth or .pt)"
    if ".metadata" in names or any(name.endswith(".distcp") for name in names):
        return (
            "is a distributed checkpoint; join it with python -m torch.distributed.checkpoint.format_utils "
            f"dcp_to_torch {path} weights.pth, and pass weights.pth"
        )
    if "zero_to_fp32.py" in names:
        return f"is a checkpoint of DeepSpeed; join it with python {path}/zero_to_fp32.py, and pass the file it writes"
    if "data.pkl" in names:
        return "is a checkpoint whose archive was extracted; pass the file from before"
    inside = [name for name in names if name.endswith((".pth", ".pt", ".ckpt", ".safetensors", ".bin"))]
    if inside:
        return f"is a folder; pass one of the files in it: {', '.join(inside[:3])}"
    return "is not a file; pass the checkpoint that training saved (.pth or .pt)"


def _archive(names: list[str]) -> str | None:
    """Return what a zip archive with these members is; None if `torch.save` may have written it."""
    ends = {Path(name).name for name in names}
    if "constants.pkl" in ends:
        return (
            "is a TorchScript archive (torch.jit.save), which holds code; save its weights from Python with "
            "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth'), and pass that file"
        )
    if "data.pkl" in ends:
        return None
    if "archive_format" in ends or any(name.endswith(".pt2") for name in names):
        return f"is a program of torch.export, which holds no checkpoint; {_SAVE}"
    if {"config.json", "model.weights.h5"} <= ends:
        return f"is a model of Keras; {_SAVE}"
    if names and all(name.endswith(".npy") for name in names):
        return f"is a file of numpy arrays (.npz); {_SAVE}"
    inside = [name for name in names if name.endswith((".pth", ".pt", ".ckpt", ".safetensors"))]
    if inside:
        return f"is an archive that holds {inside[0]}; extract it, and pass that file"
    return "is a zip archive that torch.save did not write; pass the file that training saved with torch.save"


def _is_onnx(path: Path, start: bytes) -> bool:
    """Whether a file is an ONNX model: its name says so, or it begins with the field `ir_version` and then another."""
    fields = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)  # the other fields of a ModelProto, in protobuf's encoding
    return path.suffix == ".onnx" or (
        len(start) > 3 and start[0] == 0x08 and 3 <= start[1] <= 20 and start[2] in fields
    )


def _text(start: bytes) -> str | None:
    """Return that a file is a text, with its first words; None if it is not one."""
    try:
        text = start[:-4].decode() if len(start) == HEAD else start.decode()
    except UnicodeDecodeError:
        return None
    if not text.strip() or not all(char.isprintable() or char.isspace() for char in text):
        return None
    words = " ".join(text.split())[:40]
    return f"is a text that begins '{words}', not a checkpoint; pass the file that training saved with torch.save"
