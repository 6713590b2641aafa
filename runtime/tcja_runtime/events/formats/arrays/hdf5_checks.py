"""What is checked in an HDF5 file before the HDF5 library reads texts of any length, or chunks that are packed.

The library takes the memory that a damaged file asks for before it looks at what the file has: 4 GB for the length of a
text, 1 GB for 1 MB of gzip whatever the size of the chunk. In some damaged heaps of texts it never ends (2.0).

A text of any length is stored as an element of 16 bytes: its length in 4, the address of a heap in 8, the index of an
object in 4. A heap is "GCOL", its version, 3 other bytes, and its size in 8. Then come objects: the index in 2 bytes, 6
other ones, the size of the data in 8, and the data, padded to 8 bytes. The object 0 is the free space up to the end of
the heap; its size includes its first 16 bytes.

Source: "HDF5 File Format Specification", version 3.0, sections III.E (Global Heap), IV.A.2.m (Attribute Message) and
IV.B (Data Object Data Storage).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from tcja_runtime.errors import BadInput
from tcja_runtime.files import limits

Content: TypeAlias = "bytes | mmap.mmap"
"""The bytes of a file."""

_ELEMENT = struct.Struct("<IQI")  # length, address of the heap, index of the object
_HEAP = b"GCOL"  # the library does not look at the 3 bytes behind the version
_DEFLATE, _MOST_OF_A_BYTE = 1, 1032  # gzip, and the most bytes that one byte of it unpacks to
_CHECKSUM = 3  # the codec fletcher32
_SLACK = 2**12  # bytes that codecs add to a chunk


@dataclasses.dataclass
class _Texts:
    """The texts of any length in a file.

    Attributes:
        path: the file, for messages.
        content: the bytes of the file.
        heaps: for each heap that was looked at, by its address, the sizes of its objects by their index.
        objects: the number of objects in these heaps.
    """

    path: Path
    content: Content
    heaps: dict[int, dict[int, int]] = dataclasses.field(default_factory=dict)
    objects: int = 0

    def size(self, heap: int, index: int) -> int | None:
        """Returns the bytes of a text in a heap; None if the heap, or the object in it, does not exist.

        Raises:
            BadInput: an object of the heap ends behind it, the free space does not end with it, or heaps lie in each
                other.
        """
        if heap not in self.heaps:
            self.heaps[heap] = self._objects(heap)
            self.objects += len(self.heaps[heap])
            if self.objects > len(self.content) // 16:  # more than it can hold side by side
                raise BadInput(
                    f"{self.path} is damaged: the heap of texts at byte {heap:,} lies in others; copy it again"
                )
        return self.heaps[heap].get(index)

    def _objects(self, start: int) -> dict[int, int]:
        content, found = self.content, dict[int, int]()
        if start > len(content) or content[start : start + len(_HEAP)] != _HEAP:
            return found
        at, end = start + 16, start + int.from_bytes(content[start + 8 : start + 16], "little")
        while at + 16 <= end <= len(content):
            index = int.from_bytes(content[at : at + 2], "little")
            size = int.from_bytes(content[at + 8 : at + 16], "little")
            if index == 0:
                at += size
                at = at if at == end else end + 1  # bytes behind the free space are read again and again
                break
            at = at + 16 + -(-size // 8) * 8 if index not in found else end + 1
            found[index] = size
        if end > len(content) or at > end:
            raise BadInput(f"{self.path} is damaged: the heap of texts at byte {start:,} does not fit; copy it again")
        return found


def texts_size(content: Content, dataset: Any, most: int, path: Path) -> int:
    """Returns the bytes that the texts of any length in a dataset take, 16 for each and those of its characters.

    Args:
        content: the content of the file.
        dataset: the dataset.
        most: the bytes at which the count may end.
        path: the file, for messages.

    Raises:
        BadInput: a text has another length than its object in a heap, or the texts are not stored one after the other.
    """
    size: int = _ELEMENT.size * math.prod(dataset.shape)
    if not 0 < size <= most:
        return size
    name, sizes = dataset.name, dataset.file.id.get_create_plist().get_sizes()
    begin = dataset.id.get_offset()
    if begin is None or dataset.chunks or sizes != (8, 8):
        raise BadInput(f"{path}: the texts of {name} are stored in a way that is not read; write them with h5py again")
    texts, elements = _Texts(path, content), content[begin : begin + size]
    if len(elements) < size:
        raise BadInput(f"{path} is damaged: the texts of {name} end behind it; copy it again")
    for length, heap, index in _ELEMENT.iter_unpack(elements):
        if heap and texts.size(heap, index) != length:
            raise BadInput(f"{path} is damaged: a text of {name} has not the {length:,} bytes that it asks for")
        size += length if heap else 0
        if size > most:
            break
    return size


def check_attribute(content: Content, name: str, path: Path) -> None:
    """Check a text of any length that is an attribute, wherever the file has, or had, an attribute of this name.

    The library does not say where an attribute is stored, so all of the file is searched.

    Args:
        content: the content of the file.
        name: the name of the attribute, in ASCII.
        path: the file, for messages.

    Raises:
        BadInput: a text is longer than `tcja_runtime.files.limits.ATTRIBUTE`, or its heap is damaged.
    """
    stored, texts = name.encode() + b"\0", _Texts(path, content)
    at = content.find(stored)
    while at >= 0:
        for element in _values(content, at, len(stored)):
            length, heap, index = _ELEMENT.unpack(element)
            size = texts.size(heap, index) or 0  # what was deleted has none
            if max(length, size) > limits.ATTRIBUTE:
                raise BadInput(f"{path} is damaged: its attribute {name} has a text of {max(length, size):,} bytes")
        at = content.find(stored, at + 1)


def _values(content: Content, at: int, length: int) -> Iterator[bytes]:
    """Yields the value of an attribute, whose name of some length is at a byte, for each version that it may have.

    Before the name are the version and 1 byte; the sizes of the name, of the type and of the shape, 2 bytes each; and
    in version 3, another byte. The value is behind the type and the shape. In version 1, each is padded to 8 bytes.
    """
    for version, head in ((1, 8), (2, 8), (3, 9)):
        if at < head or content[at - head] != version:
            continue
        sizes = struct.unpack("<3H", content[at - head + 2 : at - head + 8])
        begin = at + sum(-(-size // 8) * 8 if version == 1 else size for size in sizes)
        value = content[begin : begin + _ELEMENT.size]
        if sizes[0] == length and len(value) == _ELEMENT.size:
            yield value


def check_chunks(path: Path, dataset: Any, begin: int = 0, end: int | None = None) -> None:
    """Check that the chunks of a dataset that begin in some rows unpack to their size.

    Gzip is unpacked, as far as needed. With any codec, a chunk may not take more than twice its size in the file.

    Args:
        path: the file of the dataset.
        dataset: the dataset.
        begin: the first of the rows.
        end: the row behind the last one; None for all of them.

    Raises:
        BadInput: a chunk unpacks to more, what gzip gave is packed once more, or there are more chunks than
            `tcja_runtime.files.limits.MOST_CHUNKS`.
    """
    if not dataset.chunks:
        return
    (first, *others), (step, *steps) = dataset.shape, dataset.chunks
    edges = [range(-(-begin // step) * step, first if end is None else end, step)]
    edges += [range(0, count, by) for count, by in zip(others, steps, strict=True)]
    if math.prod(map(len, edges)) > limits.MOST_CHUNKS:
        raise BadInput(f"{path}: {dataset.name} has more than {limits.MOST_CHUNKS:,} chunks; store it with larger ones")
    plan = dataset.id.get_create_plist()
    codecs = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
    codecs = [codec for codec in codecs if codec != _CHECKSUM]  # it is behind what was packed
    if _DEFLATE in codecs[:-1]:
        raise BadInput(f"{path}: {dataset.name} is packed with gzip and with another codec; store it with one of them")
    if not codecs:
        return
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize + _SLACK
    for start in itertools.product(*edges):
        stored = dataset.id.get_chunk_info_by_coord(start).size
        packed = _DEFLATE in codecs and stored * _MOST_OF_A_BYTE > limits.CHUNK
        if stored > 2 * size or (packed and _unpacks(dataset.id.read_direct_chunk(start)[1], size) > size):
            raise BadInput(f"{path} is damaged: a chunk of {dataset.name} unpacks to more than its size; copy it again")


def _unpacks(packed: bytes, most: int) -> int:
    """Returns the bytes to which gzip unpacks, at most one more than `most`; 0 if it is damaged."""
    try:
        return len(zlib.decompressobj().decompress(packed, most + 1))
    except zlib.error:
        return 0  # the library finds it as well
