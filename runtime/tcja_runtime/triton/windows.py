"""The model of whole windows: each request has one or several, and gets the scores of each.

A request has the network's input (`frames`, `images`, `features` or `latents`), or `events`: the bytes of a recording
for each window, which the server integrates by the bundle's own rule. Requests that the server hands over together run
in one batch. One that cannot be answered gets an error; the others are answered.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.backends.proven import WATCHED, InputWatch, Watched
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput, TcjaError
from tcja_runtime.network import inputs
from tcja_runtime.network.network import Network
from tcja_runtime.triton import recordings, server
from tcja_runtime.triton.metrics import Metrics


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A request that can be run: its place among the requests, and its windows [N, ...]."""

    place: int
    windows: Floats


class WholeWindows:
    """A model of Triton's Python backend, the `TritonPythonModel` of a model.py."""

    _network: Network
    _metrics: Metrics
    _watch: InputWatch

    def initialize(self, args: server.Arguments) -> None:
        """Load the bundle.

        Raises:
            TritonModelException: it cannot be used; the text is that of the error.
        """
        try:
            self._network = server.loaded(args)
        except TcjaError as error:
            raise server.not_loaded(error) from None
        self._metrics = Metrics.open(args, self._network.info.sha256)
        self._watch = InputWatch(self._network.info.taken.proven, span=WATCHED)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests: a response for each, in their order."""
        responses: list[Any] = [None] * len(requests)
        asked = []
        for place, request in enumerate(requests):
            try:
                asked.append(_Asked(place, self._windows(request)))
            except Exception as error:
                responses[place] = server.refused(error)
        answered = []
        for one, outcome in zip(asked, self._answers(asked), strict=True):
            if isinstance(outcome, Exception):
                responses[one.place] = server.refused(outcome)
            else:
                responses[one.place] = server.answered({self._network.info.output: outcome})
                answered.append(one.windows)
        self._metrics.answered(sum(map(len, answered)))
        self._metrics.refused(len(requests) - len(answered))
        if answered and self._metrics.due():
            self._metrics.watched(self._watched(answered[0]))
        return responses

    def finalize(self) -> None:
        """Free the memory of the network."""
        self._metrics.close()
        self._network.close()

    def _watched(self, windows: Floats) -> Watched:
        """What is known of the windows. Of these [N, ...], the first is compared with those of the proof."""
        self._watch.add(windows[:1])
        return dataclasses.replace(self._network.watched, inputs=self._watch.unlike)

    def _windows(self, request: Any) -> Floats:
        """The windows of a request, float32 [N, ...].

        Raises:
            BadInput: they cannot be used.
        """
        contract = self._network.info.input
        values, events = server.given(request, contract.name), server.given(request, server.EVENTS)
        if (values is None) == (events is None):
            both = "both" if values is not None else "neither"
            raise BadInput(f"the request has {both} of '{contract.name}' and '{server.EVENTS}'; give one of them")
        if events is None:
            taken = inputs.windows(values, contract)
            self._network.info.taken.check(taken, f"'{contract.name}' has")
            return taken
        form = json.loads(request.parameters() or "{}").get(server.FORMAT)
        return np.concatenate([recordings.window(each, form, contract) for each in events.ravel().tolist()])

    def _answers(self, asked: Sequence[_Asked]) -> Sequence[npt.NDArray[Any] | Exception]:
        """The output for each request, or the error that it gets: all in one batch, or each alone if that fails."""
        if not asked:
            return []
        try:
            found = self._run(np.concatenate([each.windows for each in asked]) if len(asked) > 1 else asked[0].windows)
        except Exception as error:
            return [error] if len(asked) == 1 else [self._answers([each])[0] for each in asked]
        ends = np.cumsum([len(each.windows) for each in asked])[:-1]
        return np.split(found, ends)

    def _run(self, windows: Floats) -> npt.NDArray[Any]:
        """The scores of windows, float32 [N, classes]; of a network without classes, its output."""
        return self._network(windows).scores if self._network.info.classes else self._network.outputs(windows)
