"""Loading the network of a stream, with its progress on the terminal."""

from __future__ import annotations

from pathlib import Path

from tcja_deploy.console import Progress
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.events import Source
from tcja_runtime.signing.trust import Trust
from tcja_runtime.streaming.options import StreamOptions
from tcja_runtime.streaming.stream import Stream


def opened(path: Path, trust: Trust, source: Source, options: StreamOptions, progress: Progress) -> Stream:
    """Load a bundle's network for a source.

    Args:
        path: the bundle.
        trust: whom and what the user trusts: keys, and engines of unknown origin.
        source: the source of events, which the caller must close.
        options: the options of the stream.
        progress: where to show progress and notes.

    Raises:
        BadInput: the bundle is damaged or not signed as required, or the options do not fit it and the source.
        Unavailable: this machine lacks a package or device that the backend needs.
    """
    options.check_source(source)
    with progress.step("check the hashes"):
        bundle = Bundle.open(path, trust, to_run=True)
    with progress.step("load the network"):
        stream = Stream.open(bundle, source, options, progress.note)
    bundle.release()
    return stream
