"""Damaged recordings: refused with the byte, or read as what they say; never anything else, and never in part."""

from __future__ import annotations

import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.events import FORMATS, Damaged, Events, recording

from . import writers
from .reading import fed, listed

BYTES = [name for name, each in FORMATS.items() if each.decoder is not None]


def checked(file: Path, name: str) -> list[writers.Event] | None:
    """Its events; None where it is refused, in one line that names it and, of bytes, where."""
    try:
        return listed(Events.joined(recording(file, name).chunks()))
    except BadInput as error:
        refused = error
    size, said = file.stat().st_size, re.escape(str(file))
    if isinstance(refused, Damaged):
        assert re.fullmatch(rf"{said}: byte {refused.offset:,}: \S.*", str(refused))
        assert 0 <= refused.offset <= size
    else:
        assert re.fullmatch(rf".*{said}.*", str(refused))
        assert name in ("npy", "npz") or size == 0
    return None


def untold(name: str, data: bytes, events: list[writers.Event]) -> set[int]:
    """Where a file may be cut without anybody being able to tell."""
    nothing = len(writers.FORMATS[name].write([]))
    if name == "aedat3":
        ends, at = {nothing}, nothing
        while at < len(data):
            size, capacity = struct.unpack_from("<I8xI", data, at + 4)
            at += 28 + size * capacity
            ends.add(at)
        return ends
    size = {"atis": 5, "aedat2": 8, "dat": 8, "evt2": 4, "evt21": 8, "evt3": 2}[name]
    ends = set(range(nothing, len(data) + 1, size))
    if name == "aedat2":  # whose header is over where its events begin
        ends |= {len(b"#!AER-DAT2.0\r\n")}
    if name in ("evt2", "evt21", "evt3"):
        header = data[:nothing]
        ends |= {at + 1 for at, byte in enumerate(header) if byte == ord("\n")}
    return ends - {0}


@pytest.mark.parametrize("name", BYTES)
def test_cut_off_anywhere(name):
    made = writers.FORMATS[name]
    events = writers.some(made, 60)
    data = made.write(events)
    whole = untold(name, data, events)
    for cut in range(1, len(data)):
        if cut in whole:
            found = listed(fed(name, data[:cut], []))
            assert found == events[: len(found)]
        else:
            with pytest.raises(Damaged) as caught:
                fed(name, data[:cut], [cut // 2])
            assert caught.value.offset <= cut


@pytest.mark.parametrize("compressed", [True, False])
def test_arrays_cut_off_or_flipped_anywhere(tmp_path, compressed):
    data = writers.npz(writers.some(writers.FORMATS["npz"], 40), compressed)
    file = tmp_path / "a.npz"
    for cut in range(1, len(data), 7):
        file.write_bytes(data[:cut])
        assert checked(file, "npz") is None
    file.write_bytes(data)
    with zipfile.ZipFile(file) as archive:
        first, second, *_ = archive.infolist()
    for at in range(second.header_offset - first.compress_size, second.header_offset, 7):
        flipped = bytearray(data)
        flipped[at] ^= 16
        file.write_bytes(flipped)
        assert checked(file, "npz") is None


def test_arrays_say_where_the_damaged_one_begins(tmp_path):
    data = bytearray(writers.npz([(1, 2, 3, 1)] * 9, compressed=False))
    file = tmp_path / "a.npz"
    file.write_bytes(data)
    with zipfile.ZipFile(file) as archive:
        offset = archive.getinfo("y.npy").header_offset
    data[data.index(b"\x03\x00\x00\x00\x00\x00\x00\x00\x03\x00", offset)] ^= 1
    file.write_bytes(data)
    with pytest.raises(Damaged, match=rf"byte {offset:,}: array y, which begins here, is damaged: Bad CRC-32"):
        list(recording(file).chunks())


def test_aedat4_cut_off(tmp_path):
    pytest.importorskip("aedat")
    data = writers.aedat4(writers.some(writers.FORMATS["aedat4"], 120))
    table = data.index(b"a table of what")
    file = tmp_path / "a.aedat4"
    for cut in (1, 14, 17, 18, 30, 300, table - 900, table - 1):
        file.write_bytes(data[:cut])
        assert checked(file, "aedat4") is None
    with pytest.raises(Damaged, match=rf"byte {cut:,}: the file ends here, .* should end at byte {table:,}$"):
        recording(file)
    file.write_bytes(data[: table + 3])
    assert len(checked(file, "aedat4")) == 120
    open_ended = writers.aedat4(writers.some(writers.FORMATS["aedat4"], 120), closed=False)
    file.write_bytes(open_ended[:-9])
    assert checked(file, "aedat4") is None


def in_aedat3(kind=1, size=8, offset=4, overflow=0, capacity=1, number=1, valid=1, body=bytes(8)) -> bytes:
    return (
        writers.AEDAT3_HEADER
        + struct.pack("<HHIIIIII", kind, 1, size, offset, overflow, capacity, number, valid)
        + body
    )


START = len(writers.AEDAT3_HEADER)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("atis", writers.atis([(1, 2, 239, 1), (1, 2, 241, 1)]), "byte 5: an event at row 241, outside 240 rows"),
        ("atis", b"123456", "byte 5: the last event has 1 of its 5 bytes"),
        ("aedat2", b"", "byte 0: the first line is not #!AER-DAT2.0"),
        ("aedat2", b"#!AER-DAT3.1\n", "byte 0: the first line is not #!AER-DAT2.0"),
        ("aedat2", b"#!AER-DAT2.0\r\n#", "byte 14: the header is cut off in its line 2"),
        ("aedat2", b"#!AER-DAT2.0\r\n" + bytes(12), "byte 22: the last event has 4 of its 8 bytes"),
        (
            "aedat2",
            b"#!AER-DAT2.0\r\n" + bytes(9) + b"\x01" + bytes(6),
            "byte 22: the address 0x10000 has more than 16 bits; a DVS128 camera's have 16",
        ),
        ("aedat2", b"#!AER-DAT2.0\n" + b"#" * 2**20, "byte 0: a header of more than 1,048,576 bytes"),
        ("dat", b"% Version 2\n" + b"% " * 2**15, "byte 0: a header of more than 65,536 bytes"),
        ("dat", b"% Version 2\n" + b"% \n" * 2**15, "byte 0: a header of more than 65,536 bytes"),
        (
            "aedat2",
            b"#!AER-DAT2.0\n# AEChip: eu.seebetter.ini.chips.davis.DavisRGBW640\n#x",
            "byte 0: the camera is 'DavisRGBW640'; of AEDAT 2.0, those of DVS128, DAVIS240 and DAVIS346 can be read",
        ),
        (
            "aedat2",
            writers.davis([(5, 239, 179, 1)], 240, others=False) + struct.pack(">II", 3 << 22 | 240 << 12, 6),
            f"byte {len(writers.davis([], 240)) + 8:,}: an event at X 240, Y 3 of the address, outside the sensor of "
            "180 x 240",
        ),
        ("aedat3", b"#!AER-DAT3.1\n#\n\0", "byte 15: the header ends without its line #!END-HEADER"),
        ("aedat3", b"#!AER-DAT3.1\n#\n", "byte 15: the header ends without its line #!END-HEADER"),
        (
            "aedat3",
            b"#!AER-DAT3.1\n#Format: Serial-TS\n#!END-HEADER\n",
            "byte 0: packets of format Serial-TS; only RAW can be read",
        ),
        ("aedat3", in_aedat3(kind=13), f"byte {START}: a packet of type 13; types are 0 to 12"),
        (
            "aedat3",
            in_aedat3(size=9),
            f"byte {START}: polarity events of 9 bytes with the time at byte 4; it must be 8 bytes and byte 4",
        ),
        (
            "aedat3",
            in_aedat3(offset=0),
            f"byte {START}: polarity events of 8 bytes with the time at byte 0; it must be 8 bytes and byte 4",
        ),
        (
            "aedat3",
            in_aedat3(number=2),
            f"byte {START}: a packet with room for 1 event has 2, of which 1 is valid",
        ),
        (
            "aedat3",
            in_aedat3(valid=2),
            f"byte {START}: a packet with room for 1 event has 1, of which 2 are valid",
        ),
        ("aedat3", in_aedat3(capacity=2**32 - 1), f"byte {START}: a packet of 4,294,967,295 events of 8 bytes"),
        ("aedat3", in_aedat3(kind=2, size=0), f"byte {START}: a packet of 1 event of 0 bytes"),
        ("aedat3", in_aedat3(body=bytes(7)), f"byte {START + 35}: the last packet is cut off 1 byte before its end"),
        ("aedat3", in_aedat3(capacity=3), f"byte {START + 36}: the last packet is cut off 16 bytes before its end"),
        ("aedat3", in_aedat3(body=bytes(9)), f"byte {START + 36}: the last packet has 1 of the 28 bytes of its header"),
        (
            "aedat3",
            in_aedat3() + in_aedat3(body=b"\0\0\0\1" + bytes(4))[START:],
            f"byte {START + 36 + 28}: an event at row 0, column 128, outside the sensor of 128 x 128",
        ),
        (
            "aedat3",
            in_aedat3(body=bytes(4) + b"\xff" * 4),
            f"byte {START + 28}: an event has the negative time -1",
        ),
        ("dat", b"% Version 2\n\x0c", "byte 12: the file ends before the type of its events"),
        (
            "dat",
            b"% Version 2\n\x0e\x08",
            "byte 12: events of type 14 with 8 bytes; only type 0 or 12 with 8 bytes can be read",
        ),
        ("dat", b"% Version 1\n\x00\x08", "byte 0: version 1 of the format; only version 2 can be read"),
        (
            "dat",
            b"% Height 720\n\x00\x08",
            "byte 0: the header has nothing as the sensor's height or width; it must be 1 to 16,384",
        ),
        (
            "dat",
            b"% Height 720\n% Width 99999999999999999999\n\x00\x08",
            "byte 0: the header has '99999999999999999999' as the sensor's height or width; it must be 1 to 16,384",
        ),
        (
            "dat",
            writers.dat([(1, 5, 719, 0), (1, 5, 720, 0)]),
            f"byte {len(writers.DAT_HEADER) + 10}: an event at row 720, column 5, outside the sensor of 720 x 1280",
        ),
        (
            "dat",
            writers.dat([(1, 2, 3, 2)]),
            f"byte {len(writers.DAT_HEADER) + 2}: an event has polarity 2; it must be 0 or 1",
        ),
        ("evt2", b"% evt 3.0\nab", "byte 0: the words are EVT 3, not EVT 2; only EVT2, EVT 2.1 and EVT3 can be read"),
        (
            "evt2",
            b"% format EVT21;height=1;width=1\nab",
            "byte 0: the words are EVT 2.1, not EVT 2; only EVT2, EVT 2.1 and EVT3 can be read",
        ),
        (
            "evt21",
            b"% evt 2.0\nab",
            "byte 0: the words are EVT 2, not EVT 2.1; only EVT2, EVT 2.1 and EVT3 can be read",
        ),
        (
            "evt21",
            b"% format EVT21;endianness=big;height=1;width=1\n% end\n",
            "byte 0: the bytes of its words have the order 'big'; it must be little or legacy",
        ),
        (
            "evt21",
            writers.evt21([(70, 1248, 719, 1)])[:-4] + b"\0\0\0\x90",
            f"byte {len(writers.EVT21_HEADER) + 8}: a word of type 9, which does not exist in EVT 2.1",
        ),
        (
            "evt21",
            writers.evt21([(70, 1248, 719, 1), (70, 1279, 719, 1), (71, 1249, 3, 1), (71, 1280, 3, 1)]),
            f"byte {len(writers.EVT21_HEADER) + 16}: an event at row 3, column 1280, outside the sensor of 720 x 1280",
        ),
        ("evt2", b"% evt 2.0\nabc\x80a", "byte 14: the last word has 1 of its 4 bytes"),
        ("evt2", b"% evt 2.0\nabc\x80abc\x90", "byte 14: a word of type 9, which does not exist in EVT 2"),
        ("evt3", b"% evt 3.0\na\x80a\x10", "byte 12: a word of type 1, which does not exist in EVT 3"),
        (
            "evt2",
            writers.evt2([(70, 1279, 719, 1), (70, 1280, 0, 1)]),
            f"byte {len(writers.EVT2_HEADER) + 20}: an event at row 0, column 1280, outside the sensor of 720 x 1280",
        ),
        (
            "evt3",
            writers.EVT3_HEADER + struct.pack("<5H", 0x8001, 0x0001, 0x34F8, 0x4003, 0x4F00),
            f"byte {len(writers.EVT3_HEADER) + 8}: an event at row 1, column 1292, outside the sensor of 720 x 1280",
        ),
    ],
)
def test_what_is_wrong_and_where(name, data, said):
    """Fed whole, and byte after byte."""
    for cuts in ([], list(range(len(data)))[-2000:]):
        with pytest.raises(Damaged) as caught:
            fed(name, data, cuts)
        assert str(caught.value) == said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"IOHE", b"IOHX", "byte 18: the header is damaged"),
        (b"EVTS</attr>", b"FRME</attr>", "byte 18: the header has no stream of events"),
        (b">640<", b">6x0<", "byte 0: the header has '6x0' as the sensor's height or width; it must be 1 to 32,768"),
        (b"</dv>", b"</dw>", "byte 18: the header's description of the streams is damaged"),
        (b'<dv version="2.0">', b"<!DOCTYPE lolz><dv", "byte 18: the header's description of the streams is damaged"),
        (b"\r\n", b"\n\n", r"byte 0: the file does not begin with the line #!AER-DAT4.0 and the size of a header"),
    ],
)
def test_headers_of_aedat4(tmp_path, old, new, said):
    pytest.importorskip("aedat")
    file = tmp_path / "a.aedat4"
    file.write_bytes(writers.aedat4(writers.some(writers.FORMATS["aedat4"], 60)).replace(old, new))
    with pytest.raises(Damaged) as caught:
        recording(file, "aedat4")
    assert str(caught.value) == f"{file}: {said}"


def test_packets_of_aedat4(tmp_path):
    pytest.importorskip("aedat")
    file = tmp_path / "a.aedat4"
    events = [(5, 6, 7, 1)] * 60 + [(5, 640, 7, 1)]
    data = writers.aedat4(events)
    second = data.index(struct.pack("<I", 2), data.index(struct.pack("<I", 5), data.index(b"</dv>")) + 4)
    file.write_bytes(data)
    said = f"{file}: byte {second:,}: the packet has an event at row 7, column 640, time 5; the sensor is 480 x 640"
    with pytest.raises(Damaged, match=re.escape(said)):
        list(recording(file).chunks())
    garbled = bytearray(data)
    garbled[second + 8 + 8 : second + 8 + 12] = b"EVTX"
    file.write_bytes(garbled)
    with pytest.raises(Damaged, match=rf"byte {second:,}: the packet that begins here is damaged: .* do not match"):
        list(recording(file).chunks())
    garbled = bytearray(data)
    garbled[second + 4 : second + 8] = b"\xff" * 4
    file.write_bytes(garbled)
    with pytest.raises(Damaged, match=rf"byte {second:,}: a packet of 4,294,967,295 bytes, and [0-9,]+ are left"):
        list(recording(file).chunks())


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("os.abort()", "the reader crashed at this packet or the next one (status -6)"),
        ("raise SystemExit(3)", "the packet that begins here is damaged: 3"),
        ("raise Panic('one\\ntwo')", "the packet that begins here is damaged: one two"),
        ("bytearray(2**33)", "the packet that begins here is damaged: MemoryError"),
        ("time.sleep(60)", "the reader hangs at this packet or the next one; it has been silent for 0.5 s"),
    ],
)
def test_a_package_that_fails(tmp_path, monkeypatch, does, said):
    """Whatever the compiled reader does, this process goes on and says it."""
    (tmp_path / "aedat.py").write_text(f"""import os, time
class Panic(BaseException): pass
class Decoder:
    def __init__(self, path): pass
    def __iter__(self): return self
    def __next__(self):
        {does}
""")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("tcja_runtime.events.formats.aedat4._PATIENCE", 0.5 if "sleep" in does else 30)
    file = tmp_path / "a.aedat4"
    file.write_bytes(writers.aedat4([(1, 2, 3, 1)]))
    with pytest.raises(Damaged) as caught:
        list(recording(file).chunks())
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize("name", BYTES)
def test_nothing_is_asked_of_memory_that_a_recording_promises(name):
    data = {
        "aedat3": in_aedat3(kind=2, size=4, capacity=2**25, number=1),
        "dat": b"% Height 16384\n% Width 16384\n\x0c\x08",
    }.get(name, writers.FORMATS[name].write([(1, 2, 3, 1)]))
    decoder = FORMATS[name].decoder()
    tracemalloc.start()
    decoder.feed(data)
    for _ in range(3):
        decoder.feed(np.zeros(1000, np.uint8).tobytes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
