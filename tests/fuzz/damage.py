"""Damage to content: bytes, and the values of a format around which its lengths and checksums stay right.

All choices come from a `random.Random`: that of hypothesis, which makes a failing choice as small as it can, or of a
campaign.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickletools
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

Bytes = Callable[[random.Random, bytes], bytes]
"""Changes some bytes."""
Damage = Callable[[random.Random, bytes, Bytes], bytes]
"""Damages a content, and its innermost bytes by the function."""

ODD = (
    *(None, True, 0, -1, 1, 1.5, 2**31, 2**63, 10**30, 1e308, float("nan"), float("-inf")),
    *(
        "",
        ".",
        "..",
        "a/b",
        "/",
        "x" * 300,
        "\0",
        "\ud800",
        "\x1b[2J",
        "\n",
        "\N{SNOWMAN}",
        "scan",
        "images",
        "TcjaLif",
    ),
    *([], {}, [[]], [None], [0, 0], [-1], {"": None}, {"form": "scan"}, ["a", "a"]),
)
_SIZES = (0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63, 2**64 - 1)


def changed_bytes(rng: random.Random, content: bytes) -> bytes:
    """Returns bytes of which some are changed, cut out, there twice, or replaced by others of them."""
    if not content:
        return rng.randbytes(rng.randrange(9))
    out = bytearray(content)
    at = rng.randrange(len(out)) if rng.random() < 0.6 else rng.randrange(min(len(out), 400))
    size = rng.choice((1, 1, 2, 4, 8, 20, 200))
    how = rng.randrange(10)
    if how == 0:
        out[at] ^= 1 << rng.randrange(8)
    elif how == 1:
        for _ in range(rng.randrange(1, 6)):
            out[min(at + rng.randrange(40), len(out) - 1)] ^= 1 << rng.randrange(8)
    elif how == 2:
        out[at : at + size] = rng.choice((b"\xff", b"\0", b"\n", b"#", b"%", b"9", b"\x80")) * rng.randrange(1, 20)
    elif how == 3:
        out[at:at] = rng.randbytes(size)
    elif how == 4:
        out[at : at + size] = rng.randbytes(size)
    elif how == 5:
        del out[at : at + size]
    elif how == 6:
        other = rng.randrange(len(out))
        out[at : at + 64] = out[other : other + rng.randrange(1, 64)]
    elif how == 7:
        out[at:at] = out[at : at + size]
    elif how == 8:
        form = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
        piece = struct.pack(form, rng.choice(_SIZES) % 2 ** (8 * struct.calcsize(form)))
        out[at : at + len(piece)] = piece
    else:
        del out[at:]
    return bytes(out)


def of_bytes(rng: random.Random, content: bytes, inner: Bytes) -> bytes:
    """Damages bytes, once or a few times."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = inner(rng, content)
    return content


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields every container in a value of JSON, with each of its keys or indices."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def nested(levels: int) -> Any:
    """Returns objects in objects."""
    made: Any = {}
    for _ in range(levels):
        made = {"key": made}
    return made


def changed_value(rng: random.Random, value: Any) -> Any:
    """Returns a value of JSON in which one value is another one, is missing, or is there twice."""
    value = copy.deepcopy(value)
    found = list(places(value))
    if not found:
        return copy.deepcopy(rng.choice(ODD))
    container, key = rng.choice(found)
    change = rng.randrange(9)
    if change == 0:
        del container[key]
    elif change == 1 and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif change == 2 and isinstance(container, dict):
        container[rng.choice(("", "new", ".", "a/../b", "x\0", "\x1b[2J", "k" * 2000))] = container.pop(key)
    elif change == 3:
        container[key] = nested(rng.choice((5, 100)))
    elif change == 4:
        container[key] = copy.deepcopy(rng.choice([inner[at] for inner, at in places(value)]))
    elif change == 5 and isinstance(container[key], str) and container[key]:
        container[key] = changed_bytes(rng, container[key].encode(errors="replace")).decode(errors="replace")
    elif change == 6 and isinstance(container[key], int | float):
        container[key] = rng.choice((-1, 2, 0.5, 1e300)) * container[key]
    else:
        container[key] = copy.deepcopy(rng.choice(ODD))
    return value


def of_json(rng: random.Random, content: bytes, inner: Bytes) -> bytes:
    """Damages a JSON text: its values, its names of which one is there twice, or its bytes."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return of_bytes(rng, content, inner)
    how = rng.randrange(8)
    if how == 0:
        return of_bytes(rng, content, inner)
    text = json.dumps(changed_value(rng, value))
    if how == 1:
        keys = [found.start() for found in re.finditer(r'"\w+":', text)]
        at = rng.choice(keys) if keys else 0
        return f'{text[:at]}"{rng.choice(("files", "schema", "seal", "input"))}": 1, {text[at:]}'.encode()
    return text.encode()


def of_zip(damage: Damage) -> Damage:
    """Returns the damage of zip archives, whose members are damaged by `damage`; their checksums are right.

    A part of them is damaged as bytes: names, sizes and checksums in the directory as well.
    """

    def damaged(rng: random.Random, content: bytes, inner: Bytes) -> bytes:
        members = unzipped(content)
        if not members or rng.randrange(3) == 0:
            return of_bytes(rng, content, inner)
        at = rng.randrange(len(members))
        name, held = members[at]
        how = rng.randrange(12)
        if how == 0:
            del members[at]
        elif how == 1:
            members.append((name, damage(rng, held, inner)))
        elif how == 2:
            other = inner(rng, name.encode()).decode(errors="replace").replace("\0", "")
            members[at] = (other, held)
        elif how == 3:
            members[at] = (name, rng.choice(members)[1])
        else:
            members[at] = (name, damage(rng, held, inner))
        return zipped(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))

    return damaged


def unzipped(content: bytes) -> list[tuple[str, bytes]]:
    """Returns the members of a zip archive, name and content; none if it is damaged."""
    with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist() if info.file_size < 2**20]
    return []


def zipped(members: list[tuple[str, bytes]], how: int = zipfile.ZIP_STORED) -> bytes:
    """Returns a zip archive. Names may be there twice."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = how
            with _no_warnings():
                archive.writestr(info, content)
    return file.getvalue()


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        yield


def of_npy(rng: random.Random, content: bytes, inner: Bytes) -> bytes:
    """Damages an .npy (numpy.lib.format): its header, with the right size, its values, or its bytes."""
    if len(content) < 10 or content[6:7] != b"\x01" or rng.randrange(4) == 0:
        return of_bytes(rng, content, inner)
    (size,) = struct.unpack_from("<H", content, 8)
    header, values = content[10 : 10 + size], content[10 + size :]
    how = rng.randrange(4)
    if how == 0:
        values = inner(rng, values)
    elif how == 1:
        header = inner(rng, header)
    elif how == 2:
        numbers = list(re.finditer(rb"\d+", header))
        found = rng.choice(numbers) if numbers else None
        new = str(rng.choice((*_SIZES, -1, 10**30))).encode()
        header = header[: found.start()] + new + header[found.end() :] if found else header
    else:
        types = ("|O", "<f8", "<f4", "<f2", ">i4", "|b1", "<U3", "|S0", "|V0", "<c16", "<M8[ns]", "<i9", "3<f4", "")
        header = re.sub(rb"'descr': [^,]*,", f"'descr': '{rng.choice(types)}',".encode(), header)
    return content[:8] + struct.pack("<H", len(header) % 2**16) + header + values


def of_pickle(rng: random.Random, content: bytes, inner: Bytes) -> bytes:
    """Damages a pickle: an operation is missing, there twice, another one, or has another argument."""
    try:
        edges = [at for _, _, at in pickletools.genops(content) if at is not None]
    except Exception:  # it is damaged already
        return of_bytes(rng, content, inner)
    edges.append(len(content))
    n = rng.randrange(len(edges) - 1)
    before, own, after = content[: edges[n]], content[edges[n] : edges[n + 1]], content[edges[n + 1] :]
    other = rng.randrange(len(edges) - 1)
    how = rng.randrange(6)
    own = {
        0: lambda: b"",
        1: lambda: own * 2,
        2: lambda: content[edges[other] : edges[other + 1]],
        3: lambda: own[:1] + inner(rng, own[1:]),
        4: lambda: _number(rng),
        5: lambda: inner(rng, own),
    }[how]()
    return before + own + after


def _number(rng: random.Random) -> bytes:
    """An integer as an operation of a pickle (LONG1)."""
    value = rng.choice((*_SIZES, -1, -(2**63), 2**200))
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def of_safetensors(rng: random.Random, content: bytes, inner: Bytes) -> bytes:
    """Damages safetensors: the header in JSON, with the right size, or the bytes."""
    if len(content) < 8 or rng.randrange(3) == 0:
        return of_bytes(rng, content, inner)
    (size,) = struct.unpack_from("<Q", content)
    header = of_json(rng, content[8 : 8 + size], inner)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def of_protobuf(rng: random.Random, content: bytes, inner: Bytes) -> bytes:
    """Damages a protobuf message: a field in it at any depth, inside lengths that are right, or its bytes."""
    fields = _fields(content)
    if not fields or rng.randrange(5) == 0:
        return inner(rng, content)
    at = rng.randrange(len(fields))
    number, kind, held = fields[at]
    how = rng.randrange(8)
    if kind == 2 and how > 1:
        fields[at] = number, kind, of_protobuf(rng, held, inner)
    elif how == 0:
        del fields[at]
    elif how == 1:
        fields.append((number, kind, held))
    elif how == 2:
        fields[at] = rng.choice((number, number + 1, 0, 2**29 - 1)), kind, held
    elif how == 3:
        fields[at] = number, rng.randrange(8), held
    else:
        fields[at] = number, 0, _varint(rng.choice(_SIZES))
    return b"".join(_field(*field) for field in fields)


def _fields(content: bytes) -> list[tuple[int, int, bytes]]:
    """The fields of a message: number, wire type, content; none if it is no message."""
    found, at = [], 0
    while at < len(content):
        key, at = _read_varint(content, at)
        start, kind = at, key & 7
        if kind == 0:
            _, at = _read_varint(content, at)
        elif kind == 2:
            size, start = _read_varint(content, at)
            at = start + size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            return []
        if key < 0 or at > len(content) or at < start:
            return []
        found.append((key >> 3, kind, content[start:at]))
    return found


def _field(number: int, kind: int, content: bytes) -> bytes:
    return _varint(number << 3 | kind) + (_varint(len(content)) if kind == 2 else b"") + content


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends; a negative number if it has no end."""
    value = 0
    for n in range(10):
        if at + n >= len(content):
            break
        value |= (content[at + n] & 127) << 7 * n
        if content[at + n] < 128:
            return value, at + n + 1
    return -1, len(content) + 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def of_png(rng: random.Random, content: bytes, inner: Bytes) -> bytes:
    """Damages a PNG: a chunk, whose length and checksum are right, or the bytes."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or rng.randrange(4) == 0:
        return of_bytes(rng, content, inner)
    chunks, at = [], 8
    while at + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return of_bytes(rng, content, inner)
    n = rng.randrange(len(chunks))
    kind, held = chunks[n]
    if kind in (b"IDAT", b"zTXt", b"iCCP") and rng.randrange(2):
        with contextlib.suppress(zlib.error):
            held = zlib.compress(inner(rng, zlib.decompressobj().decompress(held, 2**20)))
    else:
        held = inner(rng, held)
    chunks[n : n + 1] = rng.choice(([], [(kind, held)] * 2, [(kind, held)], [(kind, held)], [(kind, held)]))
    out = content[:8]
    for kind, held in chunks:
        out += struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))
    return out
