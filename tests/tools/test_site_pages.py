"""tools/site_pages.py leads the links of the documents to the pages of the site."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "tools" / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REPOSITORY = "https://example.org/us/tcja-deploy"


@pytest.mark.parametrize(
    ("page", "repository", "link", "led"),
    [
        ("index.md", None, "[a](tutorial.md)", "[a](tutorial.md)"),
        ("how-to/live.md", None, "[a](../explanation/frames.md#x)", "[a](../explanation/frames.md#x)"),
        ("index.md", None, "[a](../CONTRIBUTING.md#rules)", "[a](contributing.md#rules)"),
        ("explanation/flips.md", None, "[a](../../examples/fsvae/README.md)", "[a](../examples/fsvae.md)"),
        ("examples/fsvae.md", None, "![a](picture.png)", "![a](fsvae/picture.png)"),
        ("examples/fsvae.md", None, "[a](../fashion_mnist/README.md)", "[a](fashion_mnist.md)"),
        ("examples/index.md", None, "[a](fsvae/README.md)", "[a](fsvae.md)"),
        ("contributing.md", None, "[a](docs/architecture.md)", "[a](architecture.md)"),
        ("index.md", None, "[the file](../tools/figures.py)", "the file (`tools/figures.py`)"),
        ("index.md", None, "[figures.py](../tools/figures.py)", "figures.py"),
        ("index.md", REPOSITORY, "[a](../tools/figures.py#L1)", f"[a]({REPOSITORY}/blob/main/tools/figures.py#L1)"),
        ("index.md", None, "[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
        ("index.md", None, "```python\nx[0](../CONTRIBUTING.md)\n```", "```python\nx[0](../CONTRIBUTING.md)\n```"),
    ],
)
def test_a_link_leads_to_the_site_or_the_repository(tool, page, repository, link, led):
    given = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    assert tool.on_page_markdown(link, given, SimpleNamespace(repo_url=repository), files=None) == led


def test_every_example_has_a_page(tool):
    site = (ROOT / "mkdocs.yml").read_text()
    for path, where in tool.PLACES.items():
        assert (ROOT / path).is_file()
        assert where in site
