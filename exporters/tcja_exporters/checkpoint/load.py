"""Loads the weights of a checkpoint file, without running code from it."""

from __future__ import annotations

import dataclasses
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tcja_runtime.bundle.bundle import sha256
from tcja_runtime.errors import BadInput

WRAPPERS = ("net", "model", "state_dict", "model_state_dict")
"""The keys under which training scripts store the weights, beside other entries such as the optimizer's state."""

PREFIXES = ("module.", "_orig_mod.", "net.", "model.")
"""The prefixes that DistributedDataParallel, torch.compile and training frameworks add to every key."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The weights of a trained network.

    Attributes:
        path: the path of the file.
        sha256: the hash of the file.
        bytes: the size of the file.
        wrapper: the key in the file under which the weights were, such as "net" or "model.state_dict"; None if the
            file was a bare state_dict.
        state: the tensors by key, in the order of the file.
    """

    path: Path
    sha256: str
    bytes: int
    wrapper: str | None
    state: dict[str, Tensor]

    @property
    def source(self) -> dict[str, Any]:
        """The entry of the checkpoint in a manifest: name, sha256, bytes."""
        return {"name": self.path.name, "sha256": self.sha256, "bytes": self.bytes}


def load_checkpoint(path: Path, *, trust_checkpoint: bool = False) -> Checkpoint:
    """Return the checkpoint in a file: a state_dict, bare or under one of WRAPPERS.

    Args:
        path: a file that `torch.save` wrote.
        trust_checkpoint: whether to unpickle objects of any class, such as a whole module. This runs code that the
            file names.

    Raises:
        BadInput: the file is missing, damaged, or not a checkpoint; it would run code and is not trusted; or it holds
            NaN, infinity, values too large for float32, negative variances, or values that are not real numbers.
    """
    if not path.exists():
        raise BadInput(f"{path} does not exist")
    if not path.is_file():
        raise BadInput(f"{path} is not a file; pass the checkpoint that training saved (.pth or .pt)")
    wrapper, state = _weights(_unpickled(path, trust_checkpoint), path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not check the checksums
        if damaged:
            raise BadInput(f"{path} is damaged: the checksum of {damaged} is wrong; copy it again")
    for key, value in state.items():
        kind = _kind(value)
        if kind:
            raise BadInput(f"{path}: {key} is no tensor of real numbers ({kind})")
        odd = int((~torch.isfinite(value.float())).sum())
        if odd:
            raise BadInput(f"{path}: {key} holds {odd} values that are NaN, infinite or too large for float32")
        if key.endswith("running_var") and (value < 0).any():
            raise BadInput(f"{path}: {key} holds negative variances; the file is damaged or was changed by hand")
    return Checkpoint(path=path, sha256=sha256(path), bytes=path.stat().st_size, wrapper=wrapper, state=state)


def stripped(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the state without the prefixes, of `PREFIXES`, with which all of its keys begin."""
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            return stripped({key.removeprefix(prefix): value for key, value in state.items()})
    return state


def look_here() -> None:
    """Add the current folder to `sys.path`, so that its modules can be imported."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def _kind(value: Tensor) -> str:
    """Return why a tensor is not an array of real numbers, such as "complex64"; an empty string if it is one."""
    if value.is_meta:
        return "no values"
    if value.is_nested:
        return "nested"
    if value.layout != torch.strided:
        return str(value.layout).removeprefix("torch.")
    return str(value.dtype).removeprefix("torch.") if value.is_quantized or value.is_complex() else ""


def _unpickled(path: Path, trust_checkpoint: bool) -> Any:
    """Return the object in a file that `torch.save` wrote.

    Raises:
        BadInput: the file cannot be read, is no checkpoint, or would run code.
    """
    if trust_checkpoint:
        look_here()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about file formats; unusable files are refused below
            return torch.load(path, map_location="cpu", weights_only=not trust_checkpoint)
    except pickle.UnpicklingError as error:
        # torch names the global that the file would call, in one of two wordings.
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise _not_a_checkpoint(path) from error
        raise BadInput(
            f"{path} holds more than weights: loading it would call {wanted[1]}, which can run code; save the "
            "state_dict alone, or pass `trust_checkpoint` if you trust the source of the file"
        ) from error
    except (AttributeError, ImportError) as error:  # a class that the pickle names is missing
        raise BadInput(
            f"{path} holds objects whose class is not found ({error}); save the state_dict alone and pass `model`, or "
            "run this where their module can be imported"
        ) from error
    except PermissionError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile) as error:
        if not _is_damaged(path):
            raise _not_a_checkpoint(path) from error
        raise BadInput(f"{path} is truncated or damaged; copy it again") from error
    except Exception as error:  # the unpickler can fail in any way on a file that is no pickle
        raise _not_a_checkpoint(path) from error


def _is_damaged(path: Path) -> bool:
    """Whether an unreadable file begins like a checkpoint: a zip with a pickle in it, or a pickle."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).name for name in archive.namelist()}
        return "data.pkl" in names and "constants.pkl" not in names  # a TorchScript archive has both
    with path.open("rb") as file:
        return file.read(4) in (b"", b"PK\x03\x04", b"\x80\x02\x8a\x0a")


def _not_a_checkpoint(path: Path) -> BadInput:
    return BadInput(f"{path} is not a checkpoint; pass the file that training saved with torch.save")


def _weights(content: Any, path: Path) -> tuple[str | None, dict[str, Tensor]]:
    """Return the key under which the weights of a file are (None for a bare state_dict), and the weights.

    Raises:
        BadInput: the content is not a state_dict, bare or under one of WRAPPERS, or it is empty.
    """
    wrapper, weights = _unwrapped(content)
    if isinstance(weights, Mapping) and not weights:
        raise BadInput(f"{path} holds no weights: it is empty")
    if not isinstance(weights, Mapping):
        raise BadInput(
            f"{path} holds a {type(weights).__name__}, not weights; a checkpoint is a state_dict, bare or under one "
            "of: " + ", ".join(WRAPPERS)
        )
    for key, value in weights.items():
        if not isinstance(value, Tensor):
            raise BadInput(
                f"{path} is not a state_dict: its entry {key!r} is a {type(value).__name__}, not a tensor; weights can "
                "be bare or under one of: " + ", ".join(WRAPPERS)
            )
    return wrapper, {str(key): value for key, value in weights.items()}


def _unwrapped(content: Any, depth: int = 3) -> tuple[str | None, Any]:
    """Return the key under which the weights of a checkpoint are, and the weights.

    A wrapper may contain another wrapper; the key is then "model.state_dict", for example. The key is None for a bare
    state_dict or a module. If no weights are found, the result is None and the content itself.

    Args:
        content: the object in the file.
        depth: the largest number of wrappers inside each other.
    """
    if isinstance(content, nn.Module):
        return None, content.state_dict()
    for key in WRAPPERS if isinstance(content, Mapping) and depth else ():
        inner, weights = _unwrapped(content.get(key), depth - 1)
        if isinstance(weights, Mapping) and any(isinstance(value, Tensor) for value in weights.values()):
            return key if inner is None else f"{key}.{inner}", weights
    return None, content
