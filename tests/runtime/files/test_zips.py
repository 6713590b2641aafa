import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.files import zips


@pytest.fixture
def archive(tmp_path) -> Path:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("öne", b"content " * 20)
        file.writestr("two", b"")
    return tmp_path / "a.zip"


def test_a_whole_archive_passes(archive):
    assert zips.is_zip(archive)
    assert zips.names(archive) == ["öne", "two"]
    zips.check(archive)


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
    content = bytearray(archive.read_bytes())
    content[content.index(begin) + offset] ^= mask
    archive.write_bytes(content)
    with pytest.raises(BadInput, match=rf"a\.zip {re.escape(message)}"):
        zips.check(archive)


def test_any_flipped_bits_are_refused_in_one_line_or_harm_nothing(archive):
    whole, random = archive.read_bytes(), np.random.default_rng(0)
    said = []
    for _ in range(400):
        content = bytearray(whole)
        for at in random.integers(0, len(content), 2):
            content[at] ^= 1 << int(random.integers(8))
        archive.write_bytes(content)
        try:
            if zips.is_zip(archive):
                zips.names(archive)
                zips.check(archive)
        except BadInput as error:
            said.append(str(error))
    assert len(said) > 100
    assert not [line for line in said if "\n" in line]


def test_a_file_that_is_no_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no archive")
    assert not zips.is_zip(tmp_path / "a.zip")
    with pytest.raises(BadInput, match="is truncated or damaged"):
        zips.names(tmp_path / "a.zip")
