"""The blocks of code in the documents, and the page that lists those that are not run.

python tests/docs/blocks.py > docs/reference/not-run.md
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
    if page.name not in ("CHANGELOG.md", "cli.md")  # what there was; and a page that is made of the commands' help
)
LISTED = ROOT / "docs" / "reference" / "not-run.md"
FENCE = re.compile(
    r"""
    (?:<!--\ (?P<mark>not\ run|run\ by):\ (?P<why>[^>]+?)\ -->\n\s*)?
    ^(?P<indent>\ *)```(?P<language>\S*)(?P<more>[^\n]*)\n
    (?P<code>.*?)
    ^(?P=indent)```$
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: its document.
        language: sh, python, text, ...
        code: its lines.
        reason: why it is not run (`<!-- not run: needs a GPU -->` before it); None if it is.
        test: the other test that runs it (`<!-- run by: tests/... -->`); None if test_blocks.py does.
        file: the file that it is saved as (`title="..."`); None if it is not a file.
    """

    page: Path
    language: str
    code: str
    reason: str | None = None
    test: str | None = None
    file: str | None = None

    @property
    def name(self) -> str:
        """The document, from the root of the project."""
        return self.page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a document, in their order."""
    found = []
    for match in FENCE.finditer(page.read_text()):
        title = re.search(r'title="([^"]+)"', match["more"])
        code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        marked = {match["mark"]: match["why"]}
        found.append(
            Block(
                page, match["language"], code, marked.get("not run"), marked.get("run by"), title[1] if title else None
            )
        )
    return found


def runnable(*pages: Path) -> list[Block]:
    """The blocks of commands and of Python in some documents; by default, in all."""
    return [block for page in pages or PAGES for block in blocks(page) if block.language in ("sh", "python")]


def listing() -> str:
    """The page of the blocks that are not run."""
    found = runnable()
    left = [block for block in found if block.reason is not None]
    lines = [
        "# Blocks that are not run",
        "",
        "Made by `python tests/docs/blocks.py`. The documents and the READMEs have "
        f"{len(found)} blocks of commands and of Python.",
        f"The tests run {len(found) - len(left)} of them, with small networks and recordings. "
        f"The other {len(left)} are not run:",
        "",
        "| document | first line | why not |",
        "| --- | --- | --- |",
    ]
    for block in left:
        first = block.code.strip().splitlines()[0].partition("  #")[0].strip().replace("|", "\\|")
        lines.append(f"| {block.name} | `{first}` | {block.reason} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(listing())
