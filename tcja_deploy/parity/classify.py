"""How a network classifies data of any size, running free; what was answered is kept until all is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tcja_deploy.console import Progress
from tcja_runtime.bundle import bundle
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.samples import Windows
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.anytime import Predicted
from tcja_runtime.files import journal


def answers(
    run: Callable[[Floats], Predicted],
    windows: Windows,
    size: int,
    *,
    known: Predicted,
    who: str,
    title: str,
    progress: Progress,
    until: ExitStack,
) -> Predicted:
    """The classes of all windows.

    Args:
        run: those that the network gives windows [n, ...].
        windows: the data.
        size: how many to run at once.
        known: the answers to the first windows that are known already.
        who: says all that the answers depend on besides the data, so that those that an earlier process left are taken.
        title: for people, while it runs.
        progress: where progress is shown.
        until: ends when the answers need not be kept any more.
    """
    if len(known) >= len(windows):
        return known.first(len(windows))
    found = [known.rows]
    # Checksums are those that a file says of itself, which damage does not change: what was read before it was found
    # must not outlive the file's mending.
    work = f"{who}, {windows.digest} {windows.stamp}, from {len(known)}" if windows.digest else None
    kept = until.enter_context(journal.opened(work, found[0].shape[1]))
    found.append(kept.kept[: len(windows) - len(known)])
    done = sum(map(len, found))
    try:
        with progress.counted(title, len(windows), done) as advance:
            for inputs in windows.batches(size, done):
                rows = run(inputs).rows
                found.append(rows)
                kept.add(rows)
                done += len(rows)
                advance(len(rows))
    except BadInput:
        kept.discard()
        raise
    except BaseException:
        if kept.keeps and done:
            progress.note(f"{done:,} of {len(windows):,} windows are done; the same command goes on from there")
        raise
    return Predicted.from_rows(np.concatenate(found), known)


def identity(folder: Path, model: str) -> str:
    """What tells a model of a bundle, with its weights, from all others."""
    return " ".join(bundle.sha256(folder / name) for name in (model, bundle.WEIGHTS))
