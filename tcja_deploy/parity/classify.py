"""Classifies data of any size with a free-running network. An interrupted command goes on from where it was stopped."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np

from tcja_deploy.console import Progress
from tcja_deploy.formatting import part
from tcja_runtime.counting import agree
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.windows import Windows
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.predictions import Classes, Predictions
from tcja_runtime.files import journal
from tcja_runtime.files.folder import Files
from tcja_runtime.model_file.model import WEIGHTS


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A free-running network that classifies windows.

    Attributes:
        name: the name of the network or of what runs it, for people.
        run: a function that returns the predictions for windows [n, ...].
        size: the number of windows to run at once.
    """

    name: str
    run: Callable[[Floats], Predictions]
    size: int

    def rows(self, windows: Windows, start: int) -> Iterator[Classes]:
        """Yield the predictions for the windows from number `start` on, as rows (`Predictions.rows`), batch by batch.

        Raises:
            BadInput: a file of the data is damaged.
        """
        for inputs in windows.batches(self.size, start):
            yield self.run(inputs).rows


def predict(
    network: Classifier, windows: Windows, known: Predictions, identity: str, progress: Progress, until: ExitStack
) -> Predictions:
    """The predictions of a network for all windows, with the source, the digest and the labels of the windows.

    Predictions that an interrupted command left are taken over, if it ran the same network on the same data. Even
    then all windows are read.

    Args:
        network: the network.
        windows: the data.
        known: the predictions for the first windows, if they are known already; at least those for no windows.
        identity: a text that identifies everything that the predictions depend on besides the data.
        progress: where progress is shown.
        until: the stack at whose end the predictions on disk are deleted, if no error passes it.

    Raises:
        BadInput: a file of the data is damaged.
    """
    if len(known) >= len(windows):
        return known.first(len(windows)).on(windows)
    found = [known.rows]
    work = f"{identity}, {windows.digest} {windows.stamp}, from {len(known)}" if windows.digest else None
    kept = until.enter_context(journal.open_journal(work, found[0].shape[1]))
    found.append(kept.rows[: len(windows) - len(known)])
    done = sum(map(len, found))
    try:
        with progress.counted(f"classify with {network.name}", len(windows), done) as advance:
            for rows in network.rows(windows, done):
                found.append(rows)
                kept.add(rows)
                done += len(rows)
                advance(len(rows))
        if len(kept.rows):
            # Figures of windows and remarks on recordings are known once they were read, here as in the first run.
            with progress.step("read the windows of the interrupted command"):
                for _ in windows.batches(network.size):
                    pass
    except BadInput:
        kept.discard()  # a file was changed after its digest was made, so rows may be of other windows
        raise
    except BaseException:
        if kept.active and done:
            progress.note(
                f"{part(done, len(windows), 'window')} {agree(done, 'is', 'are')} done; the same command goes on "
                f"from there"
            )
        raise
    return Predictions.from_rows(np.concatenate(found), known.likeliest.shape[1]).on(windows)


def model_identity(files: Files, model: str) -> str:
    """A text that identifies a model of a bundle, or of the folder of an export, and its weights: their hashes."""
    return " ".join(hashlib.sha256(files.read(name)).hexdigest() for name in (model, WEIGHTS))
