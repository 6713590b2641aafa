"""The timings of earlier builds, which make a build with full TensorRT faster."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tcja_runtime.files.staging import write_whole


@contextlib.contextmanager
def timings(config: Any, file: Path) -> Iterator[None]:
    """A context for a build. The builder gets the timings of earlier builds, and its new timings are stored at the end.

    Other processes may write to the file during the build, so their timings are merged with the new ones.

    Args:
        config: the builder's configuration.
        file: the file with the timings of one device and one version of TensorRT.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_suffix(".lock").open("w")
    except OSError:  # a build without earlier timings is slower, but works
        yield
        return
    with lock:
        config.set_timing_cache(_timing_cache(config, file), False)
        yield
        fcntl.flock(lock, fcntl.LOCK_EX)
        merged = config.get_timing_cache()
        merged.combine(_timing_cache(config, file), False)
        with contextlib.suppress(OSError):  # without the file, later builds are slower
            write_whole(file, memoryview(merged.serialize()))


def _timing_cache(config: Any, file: Path) -> Any:
    """Returns the timings from a file. They are empty if there is none, or if TensorRT does not accept it."""
    content = file.read_bytes() if file.is_file() else b""
    return config.create_timing_cache(content) or config.create_timing_cache(b"")
