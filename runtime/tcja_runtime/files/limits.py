"""How much of anything is read. A file that is larger than files of its kind can be is refused before it is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

from tcja_runtime.errors import BadInput

_KIB, _MIB, _GIB = 2**10, 2**20, 2**30


@dataclasses.dataclass(frozen=True)
class Limit:
    """The largest size of a kind of file.

    Attributes:
        kind: the kind, a phrase such as "a manifest".
        bytes: the largest size in bytes.
    """

    kind: str
    bytes: int

    def check(self, size: int, name: Path | str) -> None:
        """Check the size of a file.

        Args:
            size: the size of the file, in bytes.
            name: the file, for the message.

        Raises:
            BadInput: the file is too large.
        """
        if size > self.bytes:
            raise BadInput(f"{name} has {size:,} bytes, and {self.kind} has at most {self.bytes:,}")


MANIFEST = Limit("a manifest", 32 * _MIB)
"""The manifest of a bundle. It holds the constants of neurons as text (`tcja_runtime.constant_arrays.MOST_VALUES`)."""
SIDECAR = Limit("the description of an engine", 4 * _MIB)
FIGURES = Limit("a comparison in JSON", 32 * _MIB)
"""The file parity.json."""
RESULT = Limit("results in JSON", 32 * _MIB)
"""What commands print with `--json`, of one board."""
SIGNATURE = Limit("a signature or a key", _MIB)
MODEL = Limit("a model without its weights", 32 * _MIB)
"""The ONNX files of a bundle. Those of the published networks have 0.7 MB at most."""
ONNX = Limit("an ONNX model", 2 * _GIB)
"""An ONNX file that is in no bundle, with its weights; protobuf allows this size."""
WEIGHTS = Limit("a file of weights", 8 * _GIB)
ENGINE = Limit("an engine", 8 * _GIB)
GOLDEN = Limit("a file of golden vectors", _GIB)
PAGE = Limit("a page or a text", 64 * _MIB)
"""The report, the model card, and the logs of a bundle."""
SETTINGS = Limit("a file of settings", _MIB)
"""A configuration file, a list of names."""
BUILT_HERE = Limit("the list of engines built here", 16 * _MIB)
ARRAYS = Limit("a file of arrays", 2**50)
"""An .npz or .npy of a user. It is read a few rows at a time, so it may be larger than the memory."""
CHECKPOINT = Limit("a checkpoint", 16 * _GIB)
OLD_CHECKPOINT = Limit("a checkpoint that is no zip archive", 2 * _GIB)
"""Files of `torch.save` before PyTorch 1.6, and those with the option for this format."""
PICKLE = Limit("the pickle of a checkpoint", 16 * _MIB)
"""The member data.pkl: the keys, shapes and other values beside the weights. PyTorch reads it with Python."""
MOST_OPERATIONS = 2**20
"""The most operations of a pickle. A tensor of a state_dict takes about 30 of them."""
LONGEST_TEXT = 2**22
"""The most characters of a text in a pickle, such as a key."""
MOST_REPEATED = 2**20
"""The most values of tuples that a pickle takes from its memo."""
MOST_REPEATED_VALUES, MOST_PACKED = 2**24, 4
"""The most values of a tensor that repeats those that the file stores, and the most values that a byte can store."""
MOST_TENSORS = 2**15
"""The most tensors in all sets of weights of a checkpoint."""
GRAPH = Limit("a NIR file", 2 * _GIB)
MOST_GRAPH_NAMES, MOST_GRAPH_TEXT, DEEPEST_GRAPH = 100_000, 2**21, 16
"""The most groups and datasets of a NIR file, bytes of its names and types and 16 for each, and levels of groups."""
PICTURE = Limit("a picture", 256 * _MIB)
PIXELS = 2**25
"""The most pixels of a picture. It is a float32 array for each of its channels, 400 MB with three."""
TABLE = Limit("a label file", _MIB)
"""The CSV of a recording of DVS128 Gesture."""

DIRECTORY = Limit("the directory of a zip archive", 8 * _MIB)
"""The directory at the end of a zip archive: about 100 bytes for each file in it."""
UNPACKED = 64 * _MIB
"""The most bytes by which the files in an archive that compresses nothing are larger or smaller than the archive."""

MOST_ARRAYS = 20_000
"""The most arrays in an .npz."""
FREE, EXPANDED = 2**28, 64
"""What is read at once from a file that packs it may have FREE bytes in any case, and else EXPANDED times its size."""

MOST_FILES = 10_000
"""The most files and folders in a bundle."""
MOST_VALUES = 2**21
"""The most values in a JSON text. A manifest has one for each number of a constant that differs by neuron."""
DEEPEST = 32
"""The most levels of lists and objects in a JSON text. The files of this tool have 8 at most."""

ATTRIBUTE = 2**12
"""The most bytes of a text that is an attribute in an HDF5 file."""
CHUNK = 2**26
"""A chunk of an HDF5 file that cannot unpack to more bytes is not unpacked to see it."""
MOST_CHUNKS = 2**18
"""The most chunks of an HDF5 file that are read at once."""


def room(size: int) -> int:
    """Returns the most bytes to which a file of this size may unpack, if all of them are in memory at once."""
    return max(FREE, EXPANDED * size)


_IN_BUNDLE = {
    "manifest.json": MANIFEST,
    "parity.json": FIGURES,
    "engine.json": SIDECAR,
    ".sig": SIGNATURE,
    ".onnx": MODEL,
    ".bin": WEIGHTS,
    ".engine": ENGINE,
    ".npz": GOLDEN,
}


def in_bundle(name: str) -> Limit:
    """Returns the limit of a file of a bundle.

    Args:
        name: the path of the file in the bundle, with "/".
    """
    path = PurePosixPath(name)
    return _IN_BUNDLE.get(path.name) or _IN_BUNDLE.get(path.suffix) or PAGE
