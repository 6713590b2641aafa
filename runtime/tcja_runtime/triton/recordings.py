"""Raw events in a request: the content of a recording, which becomes one window by the rule of the bundle."""

from __future__ import annotations

from pathlib import Path

from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.data.integration import integrate
from tcja_runtime.errors import BadInput
from tcja_runtime.events import FORMATS, format_of
from tcja_runtime.events.byte_recording import ByteRecording
from tcja_runtime.events.formats.registry import HEAD
from tcja_runtime.triton.server import EVENTS, FORMAT

FORMATS_OF_BYTES = tuple(name for name, row in FORMATS.items() if row.decoder is not None)
"""The formats of raw events that a request may have: those that are read from bytes, by numpy alone."""


def window(content: bytes, form: str | None, contract: InputContract) -> Floats:
    """Returns the window of a recording, float32 [1, T, P, H, W].

    Args:
        content: the content of the recording's file.
        form: its format, one of `FORMATS_OF_BYTES`; None finds it from the first bytes.
        contract: the input contract of the network.

    Raises:
        BadInput: the format is not known, the bytes are damaged, their events do not fit the network, or they make
            more windows than one.
    """
    if not content:
        raise BadInput(f"'{EVENTS}' is empty; give the bytes of a recording")
    named = format_of(content[:HEAD]) if form is None else form
    decoder = FORMATS[named].decoder if named in FORMATS else None
    if named is None or decoder is None:
        what = f"the `{FORMAT}` {form} of '{EVENTS}'" if form is not None else f"the format of '{EVENTS}'"
        known = f"give one of {', '.join(FORMATS_OF_BYTES)} as the parameter `{FORMAT}` of the request"
        raise BadInput(f"{what} is {'not known from their first bytes' if named is None else 'not taken'}; {known}")
    recording = ByteRecording(Path(EVENTS), named, None, decoder, content=content)
    return integrate(recording, contract, most=1).windows
