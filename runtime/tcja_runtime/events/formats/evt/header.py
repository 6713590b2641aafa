"""The header of a Prophesee .raw: the version of its words, the order of their bytes, and the size of the sensor.

Older files have a line for each value, such as `% evt 2.0` and `% geometry 640x480`. Newer files have one line, such as
`% format EVT21;height=720;width=1280;endianness=legacy`.

Source: Prophesee's description of the RAW file format.
"""

from __future__ import annotations

from tcja_runtime.errors import Damaged
from tcja_runtime.events.header import Header, sensor_edge

LARGEST_EDGE = 2**11
"""The most rows or columns of a sensor."""


def word_version(header: Header) -> str | None:
    """Returns the version of EVT that a header names: "2", "2.1" or "3"; None if the header names none."""
    plain = header.value(b"% evt ")
    if plain is not None:
        return plain.decode(errors="replace").removesuffix(".0")
    form = header.value(b"% format EVT")
    return None if form is None else ".".join(form.partition(b";")[0].decode(errors="replace"))


def check_version(header: Header, version: str) -> None:
    """Check that the words of a file have a version of EVT, if the header names one.

    Raises:
        Damaged: they have another version.
    """
    found = word_version(header)
    if found not in (version, None):
        wanted = "EVT2, EVT 2.1 and EVT3"
        raise Damaged(0, f"the words are EVT {found}, not EVT {version}; only {wanted} can be read")


def byte_order(header: Header) -> str:
    """Returns the order of bytes that a header names, such as "legacy"; "little" if the header names none."""
    line = header.value(b"% endianness ")
    found = line if line is not None else _fields(header).get(b"endianness", b"little")
    return found.decode(errors="replace").lower()


def header_sensor(header: Header) -> tuple[int, int] | None:
    """Returns the rows and columns of the camera from a header; None if the header does not have them.

    Raises:
        Damaged: the rows or columns are not numbers.
    """
    size = header.value(b"% geometry ")
    if size is not None:
        width, _, height = size.partition(b"x")
        return sensor_edge(height, LARGEST_EDGE), sensor_edge(width, LARGEST_EDGE)
    fields = _fields(header)
    if b"height" in fields or b"width" in fields:
        return sensor_edge(fields.get(b"height"), LARGEST_EDGE), sensor_edge(fields.get(b"width"), LARGEST_EDGE)
    return None


def _fields(header: Header) -> dict[bytes, bytes]:
    """The fields of the line `% format`, such as height=720."""
    line = header.value(b"% format ") or b""
    return {key: value for key, _, value in (field.partition(b"=") for field in line.split(b";"))}
