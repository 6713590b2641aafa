"""The heaps of texts in HDF5 files, which are checked before the HDF5 library reads a text of any length.

Source: "HDF5 File Format Specification", version 3.0, section III.E (Global Heap).
"""

from __future__ import annotations

import mmap
from pathlib import Path

from tcja_runtime.errors import BadInput

_HEAP = b"GCOL\1\0\0\0"


def check_heaps(content: bytes | mmap.mmap, path: Path) -> None:
    """Check the heaps of a file. In some damaged ones, the HDF5 library (2.0) never ends.

    A global heap is "GCOL", its version, 1, in 4 bytes, and its size in 8. Then come objects: the index in 2 bytes, 6
    other ones, the size of the data in 8, and the data, padded to 8 bytes. The object 0 is the free space up to the end
    of the heap; its size includes its first 16 bytes.

    Args:
        content: the content of the file. All of it is searched.
        path: the file, for messages.

    Raises:
        BadInput: an object ends behind its heap, the free space does not end with it, or heaps lie in each other.
    """
    start, objects = content.find(_HEAP), 0
    while start >= 0:
        at, end = start + 16, start + int.from_bytes(content[start + 8 : start + 16], "little")
        while at + 16 <= end <= len(content):
            objects += 1  # heaps that lie in each other have more objects than the file can hold side by side
            size = int.from_bytes(content[at + 8 : at + 16], "little")
            if content[at : at + 2] == b"\0\0":
                at += size
                at = at if at == end else end + 1  # bytes behind the free space are read again and again
                break
            at += 16 + -(-size // 8) * 8
            if objects > len(content) // 16:
                break
        if end > len(content) or at > end or objects > len(content) // 16:
            raise BadInput(f"{path} is damaged: the heap of texts at byte {start:,} does not fit; copy it again")
        start = content.find(_HEAP, start + len(_HEAP))
