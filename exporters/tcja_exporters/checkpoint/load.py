"""Loads the weights of a checkpoint file, without running code from it."""

from __future__ import annotations

import argparse
import builtins
import dataclasses
import hashlib
import io
import os
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from tcja_exporters.checkpoint import file_kinds, pickles
from tcja_exporters.checkpoint.constants import attributes
from tcja_exporters.checkpoint.weight_sets import Contents, TooManyTensors, WeightSet, contents
from tcja_runtime import records
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.counting import an, listed
from tcja_runtime.errors import BadInput, Unavailable, first_line, user_error
from tcja_runtime.files import limits, reading, zips
from tcja_runtime.files.text import parsed, shown

_SHOWN = 6  # the number of keys in a message
_LONG = 160  # the most characters of an error of torch in a message


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes:
        path: the path of the file.
        sha256: the hash of the file.
        bytes: the size of the file.
        sets: the sets of weights that may be meant, the likeliest first; one set if the caller chose it.
        others: the sets of weights that the caller did not choose.
        beside: the values that are not weights, by the path of keys (`tcja_exporters.checkpoint.weight_sets`).
    """

    path: Path
    sha256: str
    bytes: int
    sets: tuple[WeightSet, ...]
    others: tuple[WeightSet, ...] = ()
    beside: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def state(self) -> dict[str, Tensor]:
        """The tensors of the likeliest set of weights, by key."""
        return self.sets[0].state

    def source(self, used: WeightSet) -> dict[str, Any]:
        """Return the entry of the checkpoint in a manifest: name, sha256, bytes, and the key of the weights."""
        return {"name": shown(self.path.name), "sha256": self.sha256, "bytes": self.bytes, "weights": used.key}

    def told(self, used: WeightSet) -> dict[str, Any]:
        """Return all numbers and texts that may be constants: those beside the weights, and those of a saved module."""
        return {**self.beside, **({} if used.module is None else attributes(used.module))}

    def taken(self, used: WeightSet) -> list[str]:
        """Return lines that say which set of weights was used, if the file has several."""
        rest = [other.name for other in (*self.sets, *self.others) if other.key != used.key]
        if not rest:
            return []
        others = listed(rest, _SHOWN)
        return [f"{CHECK}the weights are {used.name}; {shown(self.path.name)} also has {others}: choose with `weights`"]


def load_checkpoint(path: Path, *, trust_checkpoint: bool = False, weights: str | None = None) -> Checkpoint:
    """Return the content of a checkpoint file: a file of `torch.save`, or of safetensors.

    Args:
        path: the file.
        trust_checkpoint: whether to unpickle objects of any class, such as a whole module. This runs code that the
            file names.
        weights: the path of keys to the weights, such as "model_ema" or "state_dict.teacher"; its last part may be the
            prefix of the keys. None takes the likeliest that fit.

    Raises:
        BadInput: the file is missing, damaged, or not a checkpoint; it would run code and is not trusted; or it holds
            no weights, or not the chosen ones.
        Unavailable: the package safetensors is not installed.
    """
    if not path.exists():
        raise BadInput(f"{path} does not exist")
    if path.is_dir():
        raise BadInput(f"{path} {file_kinds.folder(path)}")
    if not path.is_file():
        raise BadInput(f"{path} is not a file; pass the checkpoint that training saved (.pth or .pt)")
    read = _content(path, trust_checkpoint)
    try:
        found = contents(read.content)
    except TooManyTensors as error:
        raise BadInput(f"{path} is not searched for a network: {error}; save the weights of one network") from error
    if not found.sets:
        raise BadInput(_without_weights(path, read.content))
    _check_stored(found.sets, read.bytes, path)
    sets, others = (found.sets, []) if weights is None else _chosen(found, weights, path)
    return Checkpoint(
        path=path,
        sha256=read.sha256,
        bytes=read.bytes,
        sets=tuple(sets),
        others=tuple(others),
        beside={**read.beside, **found.beside},
    )


def _check_stored(sets: Sequence[WeightSet], size: int, path: Path) -> None:
    """Check that tensors have no more values than the file can store, but for some.

    A tensor may repeat a stored value (stride 0). A network of its shape would take any memory.

    Raises:
        BadInput: they have.
    """
    for found in sets:
        for key, value in found.state.items():
            stored = size if _kind(value) else value.untyped_storage().nbytes() // value.element_size()
            if value.numel() > max(stored, limits.MOST_REPEATED_VALUES):
                raise BadInput(f"{path}: {key} has {value.numel():,} values, but the file stores {stored:,} of them")
        values = sum(value.numel() for value in found.state.values())
        if values > max(limits.MOST_REPEATED_VALUES, limits.MOST_PACKED * size):
            raise BadInput(f"{path}: {found.name} has {values:,} values, too many for a file of {size:,} bytes")


def check_values(path: Path, state: Mapping[str, Tensor]) -> None:
    """Check the values of the tensors that a network takes from a checkpoint.

    Raises:
        BadInput: a tensor holds NaN, infinity, values too large for float32, negative variances, or values that are not
            real numbers.
    """
    for key, value in state.items():
        kind = _kind(value)
        if kind:
            raise BadInput(f"{path}: {key} is no tensor of real numbers ({kind})")
        odd = int((~torch.isfinite(value.float())).sum())
        if odd:
            raise BadInput(f"{path}: {key} holds {odd} values that are NaN, infinite or too large for float32")
        if key.endswith("running_var") and (value < 0).any():
            raise BadInput(f"{path}: {key} holds negative variances; the file is damaged or was changed by hand")


def holds_integers(value: Tensor) -> bool:
    """Whether a tensor holds integers, which are no weights: weights that were quantised need their scales."""
    return not (value.is_floating_point() or value.is_complex() or value.is_quantized)


def look_here() -> None:
    """Add the current folder to `sys.path`, so that its modules can be imported."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def _kind(value: Tensor) -> str:
    """Return why a tensor is not an array of real numbers, such as "complex64"; an empty string if it is one."""
    if value.is_meta:
        return "no values"
    if value.layout != torch.strided:
        return str(value.layout).removeprefix("torch.")
    return str(value.dtype).removeprefix("torch.") if value.is_quantized or value.is_complex() else ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Read:
    """A file that was read.

    Attributes:
        content: the object in it.
        beside: the texts that it stores beside the weights, the metadata of safetensors.
        sha256: the hash of the bytes that were read.
        bytes: their number.
    """

    content: Any
    beside: dict[str, str]
    sha256: str
    bytes: int

    @classmethod
    def of(cls, found: Any, content: builtins.bytes, beside: dict[str, str]) -> _Read:
        """Return what was found in the content of a file."""
        return cls(content=found, beside=beside, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _content(path: Path, trust_checkpoint: bool) -> _Read:
    """Return the object in a file. The bytes are read once, so those are hashed that the object is made of.

    Raises:
        BadInput: the file cannot be read, is damaged, is no checkpoint, or would run code.
        Unavailable: the package safetensors is not installed.
    """
    try:
        with reading.open_file(path, limits.CHECKPOINT) as stream:
            if file_kinds.is_safetensors(file_kinds.head(stream)):
                content = reading.content(stream, path, limits.CHECKPOINT)
                tensors, metadata = _safetensors(path, content)
                return _Read.of(tensors, content, metadata)
            other = file_kinds.other_kind(path, stream)
            if other:
                raise BadInput(f"{path} {other}")
            content = _checked(path, stream)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    return _Read.of(_unpickled(path, content, trust_checkpoint), content, {})


def _checked(path: Path, stream: BinaryIO) -> bytes:
    """Return the content of a file of `torch.save`, which does not unpack to more than that, and is not damaged.

    Raises:
        BadInput: it is damaged, or its parts are too large.
    """
    if not zips.is_zip(stream):
        content = reading.content(stream, path, limits.OLD_CHECKPOINT)
        pickles.check(content, path)
        return content
    with zips.opened(stream, path) as archive:
        _check_sizes(archive, os.fstat(stream.fileno()).st_size, path)
    content = reading.content(stream, path, limits.CHECKPOINT)
    with zips.opened(io.BytesIO(content), path) as archive:
        _check_sizes(archive, len(content), path)
        zips.check(archive, path)  # torch does not compare the checksums
        for info in _pickles(archive):
            pickles.check(archive.read(info), path)
    return content


def _check_sizes(archive: zipfile.ZipFile, size: int, path: Path) -> None:
    """Check the sizes that the directory of an archive says."""
    zips.check_sizes(archive, size, path)
    for info in _pickles(archive):
        limits.PICKLE.check(info.file_size, f"the pickle of {path}")


def _pickles(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members that hold a pickle: one, in a file of `torch.save`."""
    return [info for info in archive.infolist() if info.filename.rpartition("/")[2] == "data.pkl"]


def _safetensors(path: Path, content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata in the content of a file of safetensors.

    Raises:
        BadInput: the file is damaged.
        Unavailable: the package safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors import torch as of_torch
    except ModuleNotFoundError as error:
        raise Unavailable(f"{path} is of safetensors: run \"pip install 'tcja-deploy[export]'\" to read it") from error
    try:
        head = records.read(dict[str, Any], parsed(content[8 : 8 + int.from_bytes(content[:8], "little")]))
        metadata = records.read(dict[str, str], head.get("__metadata__") or {}, "__metadata__")
        return of_torch.load(content), metadata
    except (SafetensorError, *zips.DAMAGED) as error:
        raise BadInput(f"{path} is truncated or damaged ({first_line(error)[:_LONG]}); copy it again") from error


def _unpickled(path: Path, pickled: bytes, trust_checkpoint: bool) -> Any:
    """Return the object in the bytes of a file that `torch.save` wrote.

    Raises:
        BadInput: the file cannot be read, is no checkpoint, or would run code.
    """
    if trust_checkpoint:
        look_here()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about file formats; unusable files are refused below
            with torch.serialization.safe_globals([argparse.Namespace]):  # options of a script, which run no code
                return torch.load(io.BytesIO(pickled), map_location="cpu", weights_only=not trust_checkpoint)
    except pickle.UnpicklingError as error:
        raise BadInput(f"{path} {_refused(error)}") from error
    except (AttributeError, ImportError) as error:  # a class that the pickle names is missing
        raise BadInput(f"{path} {_missing(error)}") from error
    except Exception as error:  # the unpickler can fail in any way on a file that is no pickle
        refused = user_error(error, path)
        if refused is not None:
            raise refused from error
        start = pickled[: file_kinds.HEAD]
        if isinstance(error, EOFError) or zips.is_zip(io.BytesIO(pickled)) or start.startswith(b"\x80\x02\x8a\x0a"):
            raise BadInput(f"{path} is truncated or damaged ({first_line(error)[:_LONG]}); copy it again") from error
        raise BadInput(f"{path} {_no_checkpoint(start, error)}") from error


def _missing(error: AttributeError | ImportError) -> str:
    """Return which class of a file is not found, and what to do, as the rest of a sentence."""
    own = re.search(r"attribute '(\w+)' on <module '(?:\w+\.)?__main__'", str(error))
    if own:
        return (
            f"stores an object of the class {own[1]}, which was in the script that saved it, and no other program has "
            "that class; save the state_dict alone and pass `model`, or move the class into a module and save it again"
        )
    if isinstance(error, ModuleNotFoundError) and error.name:
        return (
            f"stores an object of a class in the module {error.name}, which is neither in {Path.cwd()} nor among the "
            "installed packages; run this in the folder that contains it, or add that folder to PYTHONPATH"
        )
    return (
        f"holds objects whose class is not found ({first_line(error)[:_LONG]}); save the state_dict alone and pass "
        "`model`, or install the version of the package that has it"
    )


def _refused(error: pickle.UnpicklingError) -> str:
    """Return why torch refuses to unpickle a file, and what to do, as the rest of a sentence.

    torch names the global that the file would call, or the operation that it does not know.
    """
    wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
    if wanted and wanted[1] == "torch.storage._load_from_bytes":
        return (
            "is a pickle that torch.save did not write; save it again from Python with "
            "torch.save(pickle.load(open(FILE, 'rb')), 'weights.pth'), if you trust its source"
        )
    if wanted:
        return (
            f"holds more than weights: loading it would call {wanted[1]}, which can run code; save the state_dict "
            "alone, or pass `trust_checkpoint` if you trust the source of the file"
        )
    if "Unsupported operand 149" in str(error):
        return (
            "is a pickle of protocol 4 or newer, which is not read without running code; save the state_dict again "
            "with torch.save and no pickle_protocol, or pass `trust_checkpoint` if you trust the source of the file"
        )
    return _no_checkpoint(b"", error)


def _no_checkpoint(start: bytes, error: Exception) -> str:
    """Return that a file is not a checkpoint, with torch's reason and what to do, as the rest of a sentence."""
    if start[:1] == b"\x80" and "magic number" in str(error):
        return (
            "is a pickle that torch.save did not write; save it again from Python with "
            "torch.save(pickle.load(open(FILE, 'rb')), 'weights.pth')"
        )
    said = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    reason = first_line(error, said)[:_LONG]
    return f"is not a checkpoint (torch says: {reason}); pass the file that training saved with torch.save"


def _without_weights(path: Path, content: Any) -> str:
    """Return the message for a file that has no set of weights."""
    if isinstance(content, Mapping) and content:
        some = ", ".join(
            f"{str(key)[:40]} ({an(type(value).__name__)})" for key, value in list(content.items())[:_SHOWN]
        )
        return f"{path} holds no weights: none of its entries has named tensors; it has: {some}"
    if isinstance(content, Mapping):
        return f"{path} holds no weights: it is empty"
    return f"{path} holds {an(type(content).__name__)}, not weights; a checkpoint is a state_dict, bare or under a key"


def _chosen(found: Contents, weights: str, path: Path) -> tuple[list[WeightSet], list[WeightSet]]:
    """Return the set of weights that the caller chose, alone in a list, and the others.

    Raises:
        BadInput: there is none with this key.
    """
    for one in found.sets:
        if one.key == weights:
            return [one], [other for other in found.sets if other is not one]
    for one in found.sets:
        outer = f"{one.key}." if one.key else ""
        prefix = f"{weights.removeprefix(outer)}."
        state = {key.removeprefix(prefix): value for key, value in one.state.items() if key.startswith(prefix)}
        if weights.startswith(outer) and state:
            return [WeightSet(key=weights, state=state)], found.sets
    known = ", ".join(one.key or "(the bare state_dict)" for one in found.sets[:_SHOWN])
    raise BadInput(f"`weights` {weights}: {path} has no weights under this key; it has: {known}")
