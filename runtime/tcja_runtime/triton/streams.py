"""The model of streams: a sequence of requests is a camera, whose state the model keeps from request to request.

A request has the next frame of its camera (`frame`), or the bytes of its next events (`events`), which the server cuts
into windows. Its answer has the windows that are complete with it: often none. Triton's sequence batcher gives at most
one request of each camera at a time, and those of many cameras together; they run in one batch.

Triton says to the model with which request a camera starts and ends, and which camera it is, in the flags and the
correlation ID of the request. It does not say that a camera was silent for too long: its slot is then given to another,
whose start takes the place of the camera that was silent the longest (`tcja_runtime.network.cameras`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.backends.proven import Watched
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.choices import AUTO, PROVIDERS
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import TcjaError
from tcja_runtime.network.camera_messages import Answer, Message
from tcja_runtime.network.cameras import Cameras
from tcja_runtime.streaming.packets import PacketRule
from tcja_runtime.triton import server
from tcja_runtime.triton.metrics import Metrics

WINDOW, HOP = "window", "hop"
"""The parameters, of a model in config.pbtxt and of the first request of a camera, that say how its events are cut."""

CLASS, NUMBER, BEGIN, LAST, COUNT, WHOLE = "class", "number", "begin", "end", "count", "whole"
"""The outputs, beside the scores, with a value for each window that is complete (`CameraWindow`)."""
NUMBERS = (NUMBER, BEGIN, LAST, COUNT)
"""Those of them that are whole numbers. `COUNT` is -1 if the camera sends frames."""
STEP, DROPPED = "step", "dropped"
"""The outputs with a value for each answer (`Answer`)."""


class CameraStreams:
    """A model of Triton's Python backend, the `TritonPythonModel` of a model.py."""

    _cameras: Cameras
    _metrics: Metrics
    _manifest: Manifest
    _given: dict[str, str]

    def initialize(self, args: server.Arguments) -> None:
        """Load the stepwise models of the bundle, with room for as many cameras as the server lets in.

        Raises:
            TritonModelException: they cannot be used; the text is that of the error.
        """
        try:
            config, given = json.loads(args["model_config"]), server.parameters(args)
            bundle, backend = server.opened(args), given.get(server.BACKEND, AUTO)
            self._given, self._manifest = given, bundle.manifest
            self._cameras = Cameras.open(
                bundle,
                config["sequence_batching"]["oldest"]["max_candidate_sequences"],
                rule=rule_of(given),
                backend=backend if backend in PROVIDERS else "onnxruntime",
                note=lambda note: server.log(args, note),
            )
        except TcjaError as error:
            raise server.not_loaded(error) from None
        self._metrics = Metrics.open(args, bundle.sha256)
        room, together = self._cameras.size, self._cameras.together
        server.log(args, f"room for {room} cameras; frames of {together} of them run in one batch")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests: a response for each, in their order."""
        responses: list[Any] = [None] * len(requests)
        messages, places = [], []
        for place, request in enumerate(requests):
            try:
                messages.append(self._message(request))
                places.append(place)
            except Exception as error:
                responses[place] = server.refused(error)
                if any(_bounds(request)):
                    self._cameras.forget(request.correlation_id())
        try:
            found: Sequence[Answer | Exception] = self._cameras.take(messages)
        except Exception as error:
            found = [error] * len(messages)
        for place, one in zip(places, found, strict=True):
            responses[place] = server.answered(self._outputs(one)) if isinstance(one, Answer) else server.refused(one)
        answers = [one for one in found if isinstance(one, Answer)]
        self._metrics.answered(sum(len(one.windows) for one in answers))
        self._metrics.refused(len(requests) - len(answers))
        if self._metrics.due():
            self._metrics.streams(len(self._cameras), self._cameras.dropped)
            self._metrics.watched(Watched(inputs=self._cameras.unlike, firing="", drifted=None, layers={}))
        return responses

    def finalize(self) -> None:
        """Say that the model ends."""
        self._metrics.close()

    def _message(self, request: Any) -> Message:
        """What a request says.

        Raises:
            BadInput: its parameters cannot be used.
        """
        start, end = _bounds(request)
        frame = server.given(request, self._manifest.input.step_name)
        events = server.given(request, server.EVENTS)
        parameters = json.loads(request.parameters() or "{}")
        asked = {name: str(parameters[name]) for name in (WINDOW, HOP, server.FORMAT) if name in parameters}
        known = {name: value for name, value in self._given.items() if WINDOW not in asked or name == server.FORMAT}
        return Message(
            camera=request.correlation_id(),
            start=start,
            end=end,
            frame=None if frame is None else frame[0],
            packet=None if events is None else events.ravel()[0],
            rule=rule_of({**known, **asked}) if asked else None,
        )

    def _outputs(self, answer: Answer) -> dict[str, npt.NDArray[Any]]:
        """The outputs of an answer: [1, K, ...] for K windows, then [1, 1]."""
        windows, classes = answer.windows, len(self._manifest.classes)
        scores = np.array([each.scores for each in windows], np.float32).reshape(1, -1, classes)

        def row(values: list[Any], kind: Any) -> npt.NDArray[Any]:
            return np.array(values, kind).reshape(1, -1)

        return {
            self._manifest.output: scores,
            CLASS: row([each.name.encode() for each in windows], np.object_),
            NUMBER: row([each.window for each in windows], np.int64),
            BEGIN: row([each.begin for each in windows], np.int64),
            LAST: row([each.end for each in windows], np.int64),
            COUNT: row([-1 if each.events is None else each.events for each in windows], np.int64),
            WHOLE: row([each.whole for each in windows], np.bool_),
            STEP: row([answer.step], np.int64),
            DROPPED: row([answer.dropped], np.int64),
        }


def _bounds(request: Any) -> tuple[bool, bool]:
    """Whether a camera starts with a request, and whether it ends."""
    module, flags = server.utils(), request.flags()
    start, end = module.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START, module.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END
    return bool(flags & start), bool(flags & end)


def rule_of(given: Mapping[str, str]) -> PacketRule | None:
    """How packets become frames, from the parameters that say it; None if they do not.

    Raises:
        BadInput: the windows cannot be.
    """
    if WINDOW not in given:
        return None
    return PacketRule(window=Window.parse(given[WINDOW], given.get(HOP)), form=given.get(server.FORMAT))
