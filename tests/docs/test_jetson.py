"""docs/how-to/jetson.md says what the code says: the JetPack table, every error line, every command and option."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tcja_deploy.cli import app
from tcja_deploy.cli.options import flagged
from tcja_runtime.machine.jetpack import JETPACKS, ORIN, THOR, XAVIER

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "jetson.md"
GUIDE = PAGE.read_text()
CHIPS = {"Xavier": XAVIER, "Orin": ORIN, "Thor": THOR}


def rows(head: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = GUIDE.partition(f"## {head}\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


@cache
def texts() -> list[str]:
    """Every text in the source, with "..." for what is put into it."""
    found = []
    for folder in ("tcja_deploy", "exporters", "runtime"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return [flagged(text) for text in found]


def test_the_table_is_the_code_s():
    said = []
    for name, releases, cuda, tensorrt, python, boards, engines in rows("Which JetPack"):
        first, _, last = releases.partition(" to ")
        chips = tuple(CHIPS[board] for board in boards.split(", "))
        said.append((name, first, last or first, cuda, tensorrt, python, chips, engines.startswith("yes")))
    ends = {row.name: [".".join(map(str, end)) for end in (row.first, row.last)] for row in JETPACKS}
    known = [
        (row.name, *ends[row.name], row.cuda, row.tensorrt, row.python, row.chips, row.supported) for row in JETPACKS
    ]
    assert said == known


REFUSALS = [cells[0].strip("`") for cells in rows("What a refusal means")]


def test_there_are_refusals():
    assert len(REFUSALS) > 15


@pytest.mark.parametrize("refusal", REFUSALS)
def test_every_refusal_is_one_of_the_code_s(refusal):
    """Its words are in one text of the source, in their order, with something put in wherever it has "..."."""
    pattern = re.compile(re.escape(refusal).replace(re.escape("..."), ".+?"))
    assert any(pattern.search(text) for text in texts()), refusal


def test_every_option_and_command_is_one(capsys):
    for command in ("build", "verify", "bench", "run", "doctor", "export"):
        app.run([command, "--help"])
    known = set(re.findall(r"--[a-z]+[a-z0-9-]*", capsys.readouterr().out))
    others = {"--system-site-packages", "--runtime", "--show"}  # of venv, docker and jetson_clocks
    assert set(re.findall(r"(?<![\w-])--[a-z]+[a-z0-9-]*", GUIDE)) - others <= known
    used = set(re.findall(r"tcja-deploy ([a-z]+)\b", GUIDE))
    assert {"build", "verify", "bench", "run", "doctor"} <= used
    app.run(["--help"])
    listed = capsys.readouterr().out
    assert all(re.search(rf"^  {command} ", listed, re.MULTILINE) for command in used - {"onnxruntime"})


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", GUIDE))
def test_links_lead_somewhere(link):
    if link.startswith("https://"):
        return
    path, _, anchor = link.partition("#")
    text = (PAGE.parent / path).read_text() if path else GUIDE
    heads = [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in re.findall(r"^#+ (.+)$", text, re.M)]
    assert not anchor or anchor in heads
