"""The files of a package that the document prints are those of tests/extension_package, which other tests install."""

import pytest

from .blocks import ROOT, blocks

FILES = [block for block in blocks(ROOT / "docs/how-to/extensions.md") if block.file]


@pytest.mark.parametrize("block", FILES, ids=[block.file for block in FILES])
def test_what_is_printed_is_in_the_package(block):
    assert block.code in (ROOT / "tests" / "extension_package" / block.file).read_text()
