"""Forged bundles: what the documents say of them is what `verify` does, and a signature finds every one."""

from __future__ import annotations

import re

import pytest

from benchmarks.parity import forgeries
from benchmarks.parity.inputs import EXAMPLES
from tcja_deploy.sign import SignOptions, sign
from tcja_runtime.bundle.origin.origin import DETACHED

from ... import signing

PAGE = EXAMPLES.parent / "docs/explanation/forgeries.md"
COLUMNS = ("change", "images", "events", "signed")
ROW = re.compile("^" + "".join(rf"\| (?P<{column}>[^|]+?) " for column in COLUMNS) + r"\|$", re.MULTILINE)
MADE = (
    "rounding bounds 1,000 times as wide",
    "a recorded current by half its bound",
    "every second place of a tap missing",
    "the classes after each time step",
    "two class names exchanged",
    "float16 named, with its wider bounds",
)
"""The changes that the slow test makes, of those that depend on no weight of the example."""


@pytest.fixture
def name() -> str:
    return "fashion_mnist"


def rows() -> dict[str, re.Match[str]]:
    return {row["change"]: row for row in ROW.finditer(PAGE.read_text()) if row["change"] not in ("change", "---")}


def test_the_page_has_every_change():
    assert list(rows()) == list(forgeries.CHANGES)
    assert {row["signed"] for row in rows().values()} == {"found"}
    assert set(MADE) | set(forgeries.INHERENT) <= set(forgeries.CHANGES)


@pytest.mark.slow
def test_verify_finds_what_the_page_says(bundle, tmp_path):
    private, public = signing.ssh_key(tmp_path)
    sign(bundle, SignOptions(key=private))
    signature = (bundle / DETACHED).read_bytes()
    (bundle / DETACHED).unlink()
    signed = forgeries.Signed(bundle, signature, public)
    for change in MADE:
        found = forgeries.result(signed, forgeries.CHANGES[change], tmp_path)
        assert found is not None, change
        assert forgeries.cell(change, found) == rows()[change]["images"], (change, found.unsigned)
        assert "the signature of" in found.signed, (change, found.signed)
