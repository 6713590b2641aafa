"""Reads the content of a NIR file, which is HDF5, without reading anything outside of the file.

    version           the version of the package nir that wrote it
    node              a group, of type "NIRGraph"
      edges           [E, 2] names of nodes
      nodes/NAME      a group for each node, with its type and its arrays; a node may be a graph itself

HDF5 can name other files (external links, external storage, virtual datasets), can have groups inside themselves, and
can declare arrays that are much larger than the file. `nir.read` follows all of these. So this module reads the groups
itself, and the package nir only interprets what was read.

Source: ``nir/serialization.py`` of nir 1.0.8; "HDF5 File Format Specification", version 3.0.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput, Unavailable, first_line, user_error
from tcja_runtime.events.formats.arrays.hdf5_checks import check_chunks, texts_size
from tcja_runtime.files import limits
from tcja_runtime.files.kinds import Kind, kind_in, kind_of, other_kind
from tcja_runtime.files.reading import read_file
from tcja_runtime.machine.versions import too_old, version

Array: TypeAlias = npt.NDArray[Any]
Fields: TypeAlias = "dict[str, Array | str | Fields]"
"""The content of a group: for each name an array, a text, or the content of a group."""

SUFFIX = ".nir"
PACKAGES = ("h5py", "nir")
"""The packages that read a file."""
_HEAD = 64  # bytes, by which HDF5 is known
_METADATA = "metadata"  # free notes of the writer, which are not read


def is_graph(path: Path) -> bool:
    """Whether a file is a NIR file: its name ends with .nir, or it is HDF5 and has a group `node`.

    The content is looked at only if the package h5py is installed.
    """
    if path.suffix.lower() == SUFFIX:
        return path.is_file()
    if kind_in(path) is not Kind.HDF5 or importlib.util.find_spec("h5py") is None:
        return False
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            return isinstance(file.get("node", getlink=True), h5py.HardLink) and "nodes" in file["node"]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError):
        return False


def content_of(path: Path) -> bytes:
    """Return the bytes of a NIR file.

    Raises:
        BadInput: the file cannot be read, is too large, or is not HDF5.
        Unavailable: the package nir or h5py is not installed, or is too old.
    """
    _require(path)
    try:
        content = read_file(path, limits.GRAPH)
    except OSError as error:
        raise user_error(error, path) or error from error
    if kind_of(content[:_HEAD]) is not Kind.HDF5:
        what = other_kind(path) or "not HDF5"
        raise BadInput(f"{path} is {what}, so it is no NIR graph; pass the file that nir.write wrote")
    return content


def read(path: Path, content: bytes) -> Fields:
    """Return the graph in a NIR file.

    Args:
        path: the file, for messages. It is not read.
        content: its bytes (`content_of`).

    Raises:
        BadInput: the file is damaged, is no NIR file, or holds what a NIR file does not need: links, arrays in other
            files, arrays of other types, NaN, or far more values than bytes.
    """
    import h5py

    try:
        with h5py.File(h5py.h5f.open_file_image(content)) as file:
            if "node" not in file or file.get("node", getclass=True) is not h5py.Group:
                raise BadInput(f"{path} is HDF5, but no NIR graph: it has no group 'node'; see nir.write")
            return _Reader(path, content, room=limits.room(len(content))).group(file, "node", 0)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:  # h5py raises all of these
        raise BadInput(f"{path} is truncated or damaged ({first_line(error)}); copy it again") from error


@dataclasses.dataclass
class _Reader:
    """Reads groups of a file.

    Attributes:
        path: the file, for messages.
        content: its bytes.
        room: the bytes that may still be read.
        names: the groups and datasets that were seen.
        texts: the bytes of texts that were read, with 16 for each.
        seen: the addresses of the groups that were read.
    """

    path: Path
    content: bytes
    room: int
    names: int = 0
    texts: int = 0
    seen: set[int] = dataclasses.field(default_factory=set)

    def group(self, parent: Any, key: str, depth: int) -> Fields:
        """Return the content of the group with this name in another group."""
        import h5py

        group = self._item(parent, key)
        address = h5py.h5o.get_info(group.id).addr
        if depth > limits.DEEPEST_GRAPH or address in self.seen:
            raise BadInput(f"{self.path}: the group {group.name} is inside itself, or too deep in others")
        self.seen.add(address)
        found: Fields = {}
        for name in group:
            self.names += 1
            if self.names > limits.MOST_GRAPH_NAMES:
                raise BadInput(
                    f"{self.path} has more than {limits.MOST_GRAPH_NAMES:,} groups and datasets; no network needs them"
                )
            if name == _METADATA:
                continue
            item = self._item(group, name)
            if isinstance(item, h5py.Group):
                found[name] = self.group(group, name, depth + 1)
            elif isinstance(item, h5py.Dataset):
                found[name] = self._values(item)
        return found

    def _item(self, group: Any, key: str) -> Any:
        import h5py

        link = group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            kind = type(link).__name__
            raise BadInput(
                f"{self.path}: {group.name}/{key} is a link to another place ({kind}), which is not followed; write "
                "the graph again with nir.write"
            )
        return group[key]

    def _values(self, dataset: Any) -> Array | str:
        import h5py

        name = dataset.name
        if dataset.is_virtual or dataset.external:
            raise BadInput(f"{self.path}: the values of {name} are in other files, which are not read")
        if dataset.shape is None:
            raise BadInput(f"{self.path}: {name} has no values")
        if text := h5py.check_string_dtype(dataset.dtype):
            return self._words(dataset, text.length)
        if dataset.dtype.kind not in "fiub":
            raise BadInput(f"{self.path}: {name} holds values of type {dataset.dtype}, not numbers")
        self.room -= self._bytes(dataset)
        if self.room < 0:
            shape = " x ".join(map(str, dataset.shape))
            raise BadInput(f"{self.path}: {name} has {shape} values, far more than the file can store")
        check_chunks(self.path, dataset)
        values: Array = np.asarray(dataset[()])
        odd = int((~np.isfinite(values)).sum()) if values.dtype.kind == "f" else 0
        if odd:
            raise BadInput(f"{self.path}: {name} holds {odd} values that are NaN or infinite")
        return values

    def _words(self, dataset: Any, length: int | None) -> Array | str:
        """Return the text of a dataset, or the texts as an array; `length` is None if they have any length."""
        if length is None:
            self.texts += texts_size(self.content, dataset, limits.MOST_GRAPH_TEXT, self.path)
        else:
            self.texts += self._bytes(dataset) + 16 * math.prod(dataset.shape)
        if self.texts > limits.MOST_GRAPH_TEXT:
            raise BadInput(f"{self.path}: {dataset.name} holds more text than the names of a network")
        check_chunks(self.path, dataset)
        read = np.asarray(dataset[()], object)
        words = [word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in read.flat]
        return np.array(words, object).reshape(dataset.shape) if dataset.shape else words[0]

    @staticmethod
    def _bytes(dataset: Any) -> int:
        """The bytes that a dataset, or the largest chunk of it, takes."""
        values: int = max(math.prod(dataset.shape), math.prod(dataset.chunks or (1,)))
        return values * int(dataset.dtype.itemsize)


def _require(path: Path) -> None:
    """Check that the packages that read a file are installed, and new enough.

    Raises:
        Unavailable: one is not.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    get = "pip install 'tcja-deploy[nir]'"
    if missing:
        raise Unavailable(f'{path} is a NIR graph; the package {" and ".join(missing)} is missing: run "{get}"')
    for name in PACKAGES:
        if old := too_old(name, version(name)):
            raise Unavailable(f"{path} is a NIR graph; {old}: run \"pip install -U 'tcja-deploy[nir]'\"")
