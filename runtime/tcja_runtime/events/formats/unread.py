"""Files that may hold events and cannot be read, with the way to convert them."""

from __future__ import annotations

from pathlib import Path

from tcja_runtime.files.kinds import Kind, kind_of

_ARRAYS = "save its columns with numpy.savez as the arrays t, x, y and p"
_WAYS = {
    (".txt", ".csv", ".tsv"): ("text", f"load it with numpy.loadtxt, and {_ARRAYS}"),
    (".bag",): ("a bag of ROS 1", "convert it to a bag of ROS 2: rosbags-convert --src FILE.bag --dst FOLDER"),
    (".mp4", ".avi", ".mkv", ".mov"): ("a video", "it has no events; v2e makes events from videos, as HDF5"),
    (".zip", ".tar", ".gz", ".7z", ".rar"): ("a packed file", "unpack it, and give the files in it"),
    (".mat",): ("a file of MATLAB", f"load it with scipy.io.loadmat, and {_ARRAYS}"),
    (".pt", ".pth", ".pkl"): ("a file of Python objects", f"load it in Python, and {_ARRAYS}"),
}
"""For suffixes in lower case: the kind of file, and the way to convert it."""


def reason(path: Path, head: bytes) -> str | None:
    """Returns why a file cannot be read, and what to do; None if it is not of a kind that is known here.

    Args:
        path: the file.
        head: the first bytes of the file.
    """
    suffix = ".bag" if kind_of(head) is Kind.ROS1 else path.suffix.lower()
    for suffixes, (kind, way) in _WAYS.items():
        if suffix in suffixes:
            return f"{path} is {kind}, which cannot be read; {way}"
    return None
