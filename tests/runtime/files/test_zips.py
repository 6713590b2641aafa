import io
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.files import zips

PATH = Path("a.zip")


@pytest.fixture
def archive() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("öne", b"content " * 20)
        file.writestr("two", b"")
    return made.getvalue()


def checked(content: bytes) -> list[str]:
    with zips.opened(io.BytesIO(content), PATH) as found:
        zips.check_sizes(found, len(content), PATH)
        zips.check(found, PATH)
        return found.namelist()


def test_a_whole_archive_passes(archive):
    assert zips.is_zip(io.BytesIO(archive))
    assert checked(archive) == ["öne", "two"]


@pytest.mark.parametrize(
    ("begin", "offset", "mask", "message"),
    [
        (b"content", 0, 1, "is damaged: the checksum of öne is wrong; copy it again"),
        (b"PK\x01\x02", 0, 1, "is truncated or damaged (Bad magic number for central directory); copy it again"),
        (b"PK\x01\x02", 46, 64, "is truncated or damaged ('utf-8' codec can't decode byte 0x83 in position 0: invalid"),
        (b"PK\x01\x02", 10, 64, "is truncated or damaged (That compression method is not supported); copy it again"),
    ],
)
def test_damage_is_one_line(archive, begin, offset, mask, message):
    content = bytearray(archive)
    content[content.index(begin) + offset] ^= mask
    with pytest.raises(BadInput, match=rf"a\.zip {re.escape(message)}"):
        checked(content)


def test_any_flipped_bits_are_refused_in_one_line_or_harm_nothing(archive):
    random = np.random.default_rng(0)
    said = []
    for _ in range(400):
        content = bytearray(archive)
        for at in random.integers(0, len(content), 2):
            content[at] ^= 1 << int(random.integers(8))
        try:
            if zips.is_zip(io.BytesIO(content)):
                checked(content)
        except BadInput as error:
            said.append(str(error))
    assert len(said) > 100
    assert not [line for line in said if "\n" in line]


def test_a_file_that_is_no_archive():
    assert not zips.is_zip(io.BytesIO(b"no archive"))
    with pytest.raises(BadInput, match="is truncated or damaged"):
        checked(b"no archive")


def test_an_archive_that_unpacks_to_far_more_is_refused():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(2**27))
    with pytest.raises(BadInput, match=r"^a\.zip has 13\d,\d{3} bytes and holds 134,217,728; save it without compr"):
        checked(made.getvalue())


def test_a_file_that_is_far_larger_than_what_it_holds_is_refused(tmp_path, archive):
    (tmp_path / "a.zip").touch()
    os.truncate(tmp_path / "a.zip", 200 * 10**9)
    with (tmp_path / "a.zip").open("r+b") as stream:
        stream.seek(0, os.SEEK_END)
        stream.write(archive)
        size = stream.tell()
        with (
            zips.opened(stream, PATH) as found,
            pytest.raises(BadInput, match=r"has 200,000,000,\d{3} bytes and holds"),
        ):
            zips.check_sizes(found, size, PATH)


def test_a_directory_of_too_many_files_is_not_read():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for number in range(150):
            file.writestr(f"{number:060000}", b"")
    with pytest.raises(BadInput, match=r"^the directory of a\.zip has 9,\d{3},\d{3} bytes, and the direc"):
        checked(made.getvalue())
