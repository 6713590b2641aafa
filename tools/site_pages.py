"""The pages of the site that are not in docs/, and the links that lead out of it; MkDocs calls the functions `on_...`.

The documents link to each other by their places in the repository, so that they can be read there. On the site, a link
to another page of the site, or to a picture, leads to it. A link to another file leads to the repository, whose address
is `repo_url` in mkdocs.yml; without an address, the name of the file stands in its place.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(page.parent.name for page in (ROOT / "examples").glob("*/README.md"))
PLACES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
    "benchmarks/README.md": "benchmarks.md",
    "examples/README.md": "examples/index.md",
    **{f"examples/{name}/README.md": f"examples/{name}.md" for name in EXAMPLES},
}
"""Documents outside docs/, and the pages that they are on the site."""
PICTURES = {
    path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix()
    for suffix in ("png", "svg")
    for path in (ROOT / "examples").glob(f"*/*.{suffix}")
}
LINK = re.compile(r"\[([^\]\n]*(?:\n[^\]\n]*)?)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def place(path: str) -> str | None:
    """Where a file of the repository is on the site; None if it isn't there."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return {**PLACES, **PICTURES}.get(path)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and pictures that are not in docs/."""
    from mkdocs.structure.files import File  # only the environment of `make docs` has it

    for path, where in {**PLACES, **PICTURES}.items():
        if where != "index.md":
            files.append(File.generated(config, where, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Let the links of a page lead to places on the site, or to the repository."""
    here = page.file.src_uri
    homes = {where: path for path, where in PLACES.items() if where != "index.md"}
    folder = posixpath.dirname(homes.get(here, f"docs/{here}"))

    def led(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        if ":" in target:
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        where = place(path)
        if where is not None:
            return f"[{text}]({posixpath.relpath(where, posixpath.dirname(here) or '.')}{anchor})"
        if config.repo_url:
            return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path}{anchor})"
        return text if path.endswith(text) else f"{text} (`{path}`)"

    parts = re.split(r"(^ *```.*?^ *```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.lstrip().startswith("```") else LINK.sub(led, part) for part in parts)
