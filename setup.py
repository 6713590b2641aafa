"""The description on a package index: README.md without what leads nowhere there. All else is in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

import setuptools

_ELSEWHERE = r"(?:https?:|mailto:)"


def description(readme: str) -> str:
    """The text of a README as a package index shows it.

    Paths of the repository are not links there: pictures are left out, and a link to a file becomes its text with the
    path behind it.
    """
    text = re.sub(rf"!\[[^\]]*\]\((?!{_ELSEWHERE})[^)]*\)\n*", "", readme)
    text = re.sub(r"<picture>.*?</picture>\n*", "", text, flags=re.DOTALL)
    text = re.sub(rf"<img\b(?![^>]*\bsrc=\"{_ELSEWHERE})[^>]*>\n*", "", text)
    text = re.sub(r"\[([^\]]+)\]\(#[^)]*\)", r"\1", text)
    text = re.sub(rf"\[([^\]]+)\]\((?!{_ELSEWHERE})([^)#]+)(?:#[^)]*)?\)", r"\1 (`\2`)", text)
    return f"{text.rstrip()}\n\nPaths such as `docs/index.md` are those of the source distribution.\n"


if __name__ == "__main__":
    setuptools.setup(
        long_description=description(Path("README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
    )
