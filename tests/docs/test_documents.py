"""Documents name what there is: files, anchors, targets of the Makefile, options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tcja_deploy
import tcja_runtime

from .blocks import blocks

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
    if path.name != "CHANGELOG.md"  # it names what there was
)


@pytest.fixture(params=DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def document(request) -> Path:
    return request.param


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page have on GitHub."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}


def test_links_lead_to_files_and_headings_that_exist(document):
    for link in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        page = (document.parent / path).resolve() if path else document
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


def test_targets_of_the_makefile_exist(document):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = "\n".join(block.code for block in blocks(document) if block.language == "sh")
    assert set(re.findall(r"^(?:PYTHON=\S+ )?make ([\w-]+)", code, re.MULTILINE)) <= targets


def test_options_exist(document):
    """Every option of a documented `tcja-deploy` command is one; the reference of the command line has them all."""
    reference = (ROOT / "docs" / "reference" / "cli.md").read_text()
    for command, rest in re.findall(r"tcja-deploy ([a-z]+)\b([^\n`']*)", document.read_text()):
        section = reference.partition(f"## `{command}`\n")[2].partition("\n## ")[0]
        options = set(re.findall(r"(?<![\w-])--[a-z]+[a-z0-9-]*", rest.partition("#")[0]))
        assert options <= {*re.findall(r"--[a-z]+[a-z0-9-]*", section), "--help"}, (command, options)


def test_every_page_is_in_the_index_and_on_the_site():
    index = (ROOT / "docs" / "index.md").read_text()
    site = (ROOT / "mkdocs.yml").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - {"index.md"}
    assert pages == {link for link in re.findall(r"\]\(([^)#]+\.md)\)", index) if not link.startswith("..")}
    assert pages <= set(re.findall(r"([\w/-]+\.md)$", site, re.MULTILINE))


@pytest.mark.parametrize("package", [tcja_deploy, tcja_runtime], ids=lambda package: package.__name__)
def test_the_reference_of_python_has_every_public_name(package):
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    described = {line.rpartition(".")[2] for line in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    assert set(package.__all__) <= described


def test_the_readme_is_read_in_a_minute():
    """Its first lines say what this is, for whom, and what was not run; it has at most 700 words."""
    text = (ROOT / "README.md").read_text()
    first = " ".join(text.splitlines()[:11])
    assert "SpikingJelly, snnTorch or norse, with TCJA attention or without" in first
    assert "nothing ran on a Jetson yet" in first
    assert len(text.split()) <= 700


def test_the_glossary_has_every_word_of_the_architecture():
    pages = [(ROOT / "docs" / path).read_text() for path in ("architecture.md", "reference/glossary.md")]
    tables = [page.partition("| word | meaning |\n| --- | --- |\n")[2].partition("\n\n")[0] for page in pages]
    words, known = ({row.split(" | ")[0].strip("| ") for row in table.splitlines()} for table in tables)
    assert len(words) > 15
    assert {word for each in words for word in each.split(", ")} <= {
        word for each in known for word in each.split(", ")
    }
    assert sorted(known, key=str.lower) == [row.split(" | ")[0].strip("| ") for row in tables[1].splitlines()]
