"""Many cameras on one stepwise network, each with its own state: a server of cameras needs it.

    cameras = Cameras.open(bundle, 16, rule=PacketRule(window=Window.parse("500ms"), form="evt3"))
    answers = cameras.take([Message(camera=1, start=True, packet=events), Message(camera=2, frame=counts)])

A camera sends messages: frames of counts, or packets of events, which are cut into frames here. The frames of all
messages that are taken together run in common batches. The answers are those of a camera that is alone, to the bit.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tcja_runtime.backends.checked import InputRange
from tcja_runtime.backends.proven import WATCHED, InputWatch, Proven
from tcja_runtime.backends.scores import scores
from tcja_runtime.backends.select import title
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.counting import counted
from tcja_runtime.data.event_counts import Collector, Frame
from tcja_runtime.errors import BadInput, TcjaError
from tcja_runtime.network import inputs
from tcja_runtime.network.camera_messages import Answer, CameraWindow, Key, Message
from tcja_runtime.streaming.packets import PacketFrames, PacketRule
from tcja_runtime.streaming.runner import Note, unsaid

MOST_FRAMES, MOST_BYTES = 2**14, 2**24
"""The most frames that one message may complete, and the most bytes of a packet: the other cameras of the batch wait
until all of them have run."""


class Cameras:
    """A stepwise network with room for some cameras. Make it with `open`. One thread may use it at a time.

    If a new camera starts and there is no room, the camera that was silent for the longest time is forgotten. So the
    caller must not let more cameras in than there is room for; a server that lets cameras time out does not.

    Args:
        bundle: the network's bundle.
        streams: the stepwise network, with `overlap` streams for each camera.
        name: the title of the backend, for messages.
        rule: how packets become frames, if a camera does not say it; None if each must.
        overlap: the number of windows of a camera that can be open at the same time.
        note: the function that is called with a note if the first windows are unlike those of the proof.

    Attributes:
        size: the number of cameras that there is room for.
        windows: the number of predictions so far.
    """

    def __init__(
        self, bundle: Bundle, streams: Streams, name: str, rule: PacketRule | None, overlap: int, note: Note
    ) -> None:
        self._bundle, self._streams, self._title, self._rule = bundle, streams, name, rule
        self._contract, self._overlap = bundle.manifest.input, overlap
        proven = Proven(bundle)
        self._range = InputRange(proven)
        self._watch = InputWatch(proven, most=WATCHED, note=note, patience=WATCHED)
        self.size = len(streams) // overlap
        self.windows = self._dropped = 0
        self._free = list(range(self.size))
        self._open: collections.OrderedDict[Key, _Camera] = collections.OrderedDict()  # the longest silent is first

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        count: int,
        *,
        rule: PacketRule | None = None,
        backend: str = "onnxruntime",
        note: Note = unsaid,
    ) -> Cameras:
        """Load the stepwise models of a bundle for `count` cameras (`Streams.open`, `Streams.as_alone`).

        Raises:
            BadInput: as for `Streams.open`; or the network does not classify, or the rule does not fit it.
            Unavailable: as for `Streams.open`.
        """
        bundle.check_classifies()
        if rule is not None:
            PacketFrames(bundle.manifest.input, rule, "the stream")  # raises if it does not fit
        overlap = rule.window.overlap if rule else 1
        streams = Streams.open(bundle, count * overlap, backend=backend).as_alone()
        return cls(bundle, streams, title(backend), rule, overlap, note)

    def __len__(self) -> int:
        """The number of cameras whose streams are open."""
        return len(self._open)

    @property
    def together(self) -> int:
        """The most frames that run in one batch without a change of a bit."""
        return self._streams.together or len(self._streams)

    @property
    def dropped(self) -> int:
        """The number of events of all cameras so far that are in no window."""
        return self._dropped + sum(camera.dropped for camera in self._open.values())

    @property
    def unlike(self) -> str:
        """A sentence if the first windows look unlike those of the proof; else empty."""
        return self._watch.unlike

    def take(self, messages: Sequence[Message]) -> list[Answer | TcjaError]:
        """Take messages, several of a camera in their order. Returns the answer to each, or the error for its sender.

        After an error about a frame, the state of its camera is as before, and the camera can send another. After an
        error about a packet, and after one that is not about the message itself, the stream of the camera has ended.
        """
        answers: list[Answer | TcjaError] = []
        rest = list(messages)
        while rest:  # as many as are of different cameras
            keys = [message.camera for message in rest]
            until = next((i for i, key in enumerate(keys) if key in keys[:i]), len(rest))
            answers += self._taken(rest[:until])
            rest = rest[until:]
        return answers

    def _taken(self, messages: Sequence[Message]) -> list[Answer | TcjaError]:
        """`take` for messages of different cameras."""
        for message in messages:
            if message.camera in self._open:
                self._open.move_to_end(message.camera)
        try:
            turns = [self._begun(message) for message in messages]
            live = [turn for turn in turns if isinstance(turn, _Turn)]
            while frames := [(turn, frame) for turn in live if (frame := turn.frame()) is not None]:
                self._push(frames)
        except BaseException:  # some frames have run, and some have not
            for message in messages:
                self.forget(message.camera)
            raise
        for turn in live:
            if turn.message.end or turn.error:
                self.forget(turn.message.camera)
        return [turn.answer() if isinstance(turn, _Turn) else turn for turn in turns]

    def _begun(self, message: Message) -> _Turn | TcjaError:
        """Start the stream of a message, if it does, and look at what the message has. Returns an error about it."""
        try:
            if message.start:
                self._start(message)
            camera = self._camera(message)
            return _Turn(message, camera, self._frames(camera, message))
        except TcjaError as error:
            if message.start or message.end:
                self.forget(message.camera)
            return error

    def _start(self, message: Message) -> None:
        self.forget(message.camera)
        if not self._free:
            self.forget(next(iter(self._open)))
        rule, place = message.rule or self._rule, self._free.pop()
        collector = None if self._watch.over else Collector(self._contract)
        self._open[message.camera] = _Camera(place, rule, collector)
        self._streams.reset(range(place * self._overlap, (place + 1) * self._overlap))

    def _camera(self, message: Message) -> _Camera:
        camera = self._open.get(message.camera)
        if camera is None:
            raise BadInput(
                f"no stream of camera {message.camera!r} is open: it has ended, was silent for too long, or was "
                "refused; start it again"
            )
        if message.rule is not None and not message.start:
            raise BadInput("`window` and `form` are given at the start of a stream; leave them out, or start again")
        return camera

    def forget(self, key: Key) -> None:
        """End the stream of a camera, if it has one. Its windows that are open are dropped."""
        camera = self._open.pop(key, None)
        if camera is not None:
            self._dropped += camera.dropped
            self._free.append(camera.place)

    def _frames(self, camera: _Camera, message: Message) -> Iterator[Frame]:
        """Returns the frames that a message completes. Those of packets are made while they are read.

        Raises:
            BadInput: the message has a frame and a packet, or neither; or not what the camera sent before; or the
                frame cannot be used.
        """
        if message.frame is not None and message.packet is not None:
            raise BadInput("a message has a frame and a packet of events; send one of them")
        if message.frame is not None:
            if camera.packets:
                raise BadInput("this stream began with packets of events; go on with them, or start again")
            return iter([self._counted(camera, message.frame)])
        if message.packet is not None:
            if len(message.packet) > MOST_BYTES:
                raise BadInput(
                    f"the packet has {len(message.packet):,} bytes, and may have {MOST_BYTES:,}; send shorter packets"
                )
            if camera.taken:
                raise BadInput("this stream began with frames; go on with them, or start again")
            camera.packets = camera.packets or self._packets(camera, message.camera)
            return _cut(camera.packets, message)
        if not (message.start or message.end):
            raise BadInput("a message has neither a frame nor a packet of events; send one of them")
        return camera.packets.finish() if camera.packets and message.end else iter(())

    def _counted(self, camera: _Camera, values: object) -> Frame:
        """The frame that a camera sends."""
        counts = inputs.frame(values, self._contract)
        self._range.check(counts, f"'{self._contract.step_name}' has")
        steps = self._contract.shape[0]
        window, step = divmod(camera.taken, steps)
        camera.taken += 1
        return Frame(
            window=window,
            step=step,
            counts=counts[0],
            begin=window * steps,
            end=camera.taken,
            events=0,
            last=step + 1 == steps,
            whole=True,
        )

    def _packets(self, camera: _Camera, key: Key) -> PacketFrames:
        """What cuts the packets of a camera."""
        if camera.rule is None:
            raise BadInput("`window` is not known: give it at the start of the stream, such as 500ms or 50000events")
        if (overlap := camera.rule.window.overlap) > self._overlap:
            raise BadInput(
                f"`hop` puts an event into {counted(overlap, 'window')}, and there is room for "
                f"{counted(self._overlap, 'open window')} of a camera; take a longer hop"
            )
        return PacketFrames(self._contract, camera.rule, f"camera {key}")

    def _push(self, frames: Sequence[tuple[_Turn, Frame]]) -> None:
        """Run a frame of each of some cameras, and note the windows that are complete."""
        # Windows that have the same stream are never open together: one ends before the next begins.
        places = [turn.camera.place * self._overlap + frame.window % self._overlap for turn, frame in frames]
        try:
            done = self._streams.push(np.stack([frame.counts for _, frame in frames]), places)
        except TcjaError as error:
            for turn, _ in frames:
                turn.error = error
            return
        outputs = dict(zip(done.streams.tolist(), done.outputs, strict=True))
        for (turn, frame), place in zip(frames, places, strict=True):
            self._compare(turn.camera, frame)
            window = turn.camera.joined(frame)
            if place not in outputs:
                continue
            try:
                found = scores(outputs[place][None], self._bundle, self._title)[0]
            except TcjaError as error:
                turn.error = error
                continue
            self.windows += 1
            turn.windows.append(
                CameraWindow(
                    window=window.window,
                    begin=window.begin,
                    end=window.end,
                    events=window.events if turn.camera.packets else None,
                    whole=window.whole,
                    scores=found,
                    class_names=self._bundle.manifest.classes,
                    output=self._bundle.manifest.output,
                )
            )

    def _compare(self, camera: _Camera, frame: Frame) -> None:
        """Compare the first windows with those of the proof."""
        if self._watch.over:
            camera.collector = None
        elif camera.collector is not None:
            window = camera.collector.add(frame)
            if window is not None:
                self._watch.add(window[None])


@dataclasses.dataclass(eq=False)
class _Camera:
    """A camera whose stream is open.

    Attributes:
        place: the number of its place, from 0.
        rule: how its packets become frames.
        collector: what joins its frames into windows, while windows are compared.
        packets: what cuts its packets; None before the first, and if it sends frames.
        taken: the number of frames that it sent.
        step: the number of frames of its newest window that have run, 0 .. T-1.
    """

    place: int
    rule: PacketRule | None
    collector: Collector | None
    packets: PacketFrames | None = None
    taken: int = 0
    step: int = 0
    _begun: dict[int, Frame] = dataclasses.field(default_factory=dict)

    @property
    def dropped(self) -> int:
        return self.packets.dropped if self.packets else 0

    def joined(self, frame: Frame) -> Frame:
        """Note that a frame has run. Returns what is known of its window (`Frame.after`)."""
        window = frame.after(self._begun.pop(frame.window, None))
        if not frame.last:
            self._begun[frame.window] = window
        self.step = self._begun[max(self._begun)].step + 1 if self._begun else 0
        return window


@dataclasses.dataclass(eq=False)
class _Turn:
    """A message while it is worked on.

    Attributes:
        message: the message.
        camera: its camera.
        frames: its frames.
        windows: the predictions so far.
        error: the error that ends the stream of the camera.
    """

    message: Message
    camera: _Camera
    frames: Iterator[Frame]
    windows: list[CameraWindow] = dataclasses.field(default_factory=list)
    error: TcjaError | None = None
    _count: int = 0

    def frame(self) -> Frame | None:
        """Returns the next frame; None if there is none, or after an error."""
        if self.error:
            return None
        try:
            frame = next(self.frames, None)
            self._count += frame is not None
            if self._count > MOST_FRAMES:
                raise BadInput(f"the packet completes more than {MOST_FRAMES:,} frames; send shorter packets")
        except TcjaError as error:
            self.error = error
            return None
        return frame

    def answer(self) -> Answer | TcjaError:
        """What the sender gets."""
        return self.error or Answer(windows=self.windows, step=self.camera.step, dropped=self.camera.dropped)


def _cut(packets: PacketFrames, message: Message) -> Iterator[Frame]:
    """Yields the frames that a packet completes; at the end of the stream, those of windows that are cut short, too."""
    yield from packets.push(message.packet or b"")
    if message.end:
        yield from packets.finish()
