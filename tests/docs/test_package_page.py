"""The page of the project on a package index leads nowhere that is not there. The judge is a parser of Markdown."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def places(text: str) -> list[str]:
    """What the links and pictures of a page lead to."""
    inside = [child for token in MarkdownIt().parse(text) for child in token.children or ()]
    return [str(child.attrs.get("href") or child.attrs.get("src")) for child in inside if child.attrs]


def test_the_readme_has_only_links_that_a_package_index_can_follow(setup):
    page = setup.description((ROOT / "README.md").read_text())
    assert page.startswith("# tcja-deploy\n")
    assert [place for place in places(page) if not place.startswith("https://")] == []
    assert "<img" not in page.replace('<img src="https://', "")


@pytest.mark.parametrize(
    ("readme", "page"),
    [
        ("See [the guide](docs/how-to/jetson.md).", "See the guide (`docs/how-to/jetson.md`)."),
        ("See [the words](docs/architecture.md#the-words).", "See the words (`docs/architecture.md`)."),
        ("See [below](#install).", "See below."),
        ("[A paper](https://example.org/a) is one.", "[A paper](https://example.org/a) is one."),
        ("As it looks:\n\n![The report](docs/images/report.png)\n\nNext.", "As it looks:\n\nNext."),
        ('<img alt="a" src="docs/images/a.png" width="400">\n\nNext.', "Next."),
        ('<picture><source srcset="docs/a.png">\n<img src="docs/b.png"></picture>\nNext.', "Next."),
        ("![badge](https://example.org/a.svg)", "![badge](https://example.org/a.svg)"),
    ],
)
def test_what_leads_nowhere_is_left_out(setup, readme, page):
    assert setup.description(readme).startswith(f"{page}\n\nPaths ")
