"""The parsers of checkpoints."""

from __future__ import annotations

import argparse
import io

import torch
from torch import nn

from tcja_exporters.checkpoint.load import check_values, load_checkpoint

from . import damage
from .parser import Parser, Room


def _state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Linear(3, 2)).state_dict()


def _zips(_: Room) -> list[bytes]:
    values = {"net": _state(), "epoch": 3, "args": argparse.Namespace(tau=2.0, T=4), "best": [0.5, None, "x"]}
    odd = {"state_dict": {"w": torch.arange(4).half()[::2], "b": torch.zeros(2, dtype=torch.bfloat16)}}
    return [_saved(each) for each in (_state(), values, odd)]


def _pickles(_: Room) -> list[bytes]:
    """The form of PyTorch before 1.6."""
    own = {"a": 1, "b": [0.5, None, (True, "x")]}
    return [_saved(_state(), zipped=False), _saved({"net": _state(), **own}, zipped=False)]


def _saved(value: object, *, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def _safetensors(_: Room) -> list[bytes]:
    import safetensors.torch

    half = {"a": torch.zeros(3, dtype=torch.bfloat16), "b": torch.ones(2, 2, dtype=torch.int8)}
    return [safetensors.torch.save(_state(), {"tau": "2.0"}), safetensors.torch.save(half)]


def _read(room: Room, content: bytes) -> None:
    checkpoint = load_checkpoint(room.file("a.pth", content))
    for one in checkpoint.sets:
        check_values(checkpoint.path, one.state)
        checkpoint.source(one), checkpoint.told(one), checkpoint.taken(one)


PARSERS = (
    Parser("checkpoint", _zips, _read, damage.of_zip(damage.of_pickle)),
    Parser("pickle", _pickles, _read, damage.of_pickle),
    Parser("safetensors", _safetensors, _read, damage.of_safetensors, packages=("safetensors",)),
)
