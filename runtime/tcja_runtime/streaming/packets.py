"""Cutting the events of a camera into frames, when a program pushes their bytes, as the clients of a server do.

`tcja_runtime.streaming.stream` pulls events from a source, in a thread, through a queue. Here there is neither: the
caller pushes a packet, and takes the frames that are complete with it. Both have the same decoder, clock and cutter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tcja_runtime.data.camera import check_camera
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.event_counts import Frame
from tcja_runtime.data.sliding_windows import Cutter, Window
from tcja_runtime.events import Events
from tcja_runtime.events.buffer import LIMIT
from tcja_runtime.events.byte_recording import BLOCK
from tcja_runtime.events.byte_source import ByteDecoder, new_decoder
from tcja_runtime.events.clock import ContinuousClock


@dataclasses.dataclass(frozen=True, kw_only=True)
class PacketRule:
    """How the packets of a camera become frames.

    Attributes:
        window: the windows that the events are cut into.
        form: the format of their bytes, a key of `tcja_runtime.events.FORMATS`; None finds it from the first bytes.
    """

    window: Window
    form: str | None = None


class PacketFrames:
    """The frames of one camera, whose events come as packets of bytes of any size.

    Args:
        contract: the input contract of the network.
        rule: how the packets become frames.
        title: the name of the camera in messages.

    Raises:
        BadInput: the windows do not fit the network (`Cutter`), or there is no such format.
    """

    def __init__(self, contract: InputContract, rule: PacketRule, title: str) -> None:
        self._contract, self._title = contract, title
        self._decoder = ByteDecoder(title, None if rule.form is None else new_decoder(rule.form))
        self._cutter = Cutter(contract, rule.window, most=LIMIT, title=title)
        self._clock = ContinuousClock()
        self._begun = False  # whether there was a byte

    @property
    def events(self) -> int:
        """The number of events so far."""
        return self._cutter.events

    @property
    def dropped(self) -> int:
        """The number of events that are in no window: older than every open window, or of a window that is full."""
        return self._cutter.dropped + self._cutter.late

    def push(self, packet: bytes) -> Iterator[Frame]:
        """Take the next bytes. Yields the frames that they complete; read all of them before the next call.

        The bytes are decoded a block at a time, as a format may make 100 bytes of events of one byte.

        Raises:
            BadInput: the bytes are not valid in the format, or the format is not known; the camera is larger than the
                network's, or an event is outside its picture. No more packets can be pushed then.
        """
        self._begun = self._begun or bool(packet)
        for at in range(0, len(packet), BLOCK):
            yield from self._cut(self._decoder.feed(packet[at : at + BLOCK]))

    def finish(self) -> Iterator[Frame]:
        """End the packets. Yields the frames of the windows that are cut short, with `whole` False.

        Raises:
            BadInput: as for `push`; or the last event or packet of the format is incomplete.
        """
        if self._begun:
            yield from self._cut(self._decoder.rest())
            self._decoder.finish()
        yield from self._cutter.finish()

    def _cut(self, events: Events) -> Iterator[Frame]:
        check_camera(self._contract, self._decoder.sensor, self._title)
        return self._cutter.push(self._clock.correct(events)) if len(events) else iter(())
