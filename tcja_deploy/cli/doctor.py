"""`tcja-deploy doctor`: its options, and the findings as text."""

from __future__ import annotations

import dataclasses

from rich.console import RenderableType
from rich.text import Text

from tcja_deploy.cli.options import Json, Verbose
from tcja_deploy.console import out, print_json
from tcja_deploy.doctor import Finding
from tcja_runtime.errors import DONE


def doctor(as_json: Json = False, verbose: Verbose = False) -> int:
    """Show what this machine can do, and what to install for the rest."""
    from tcja_deploy.doctor import examine

    found = examine()
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in found])
    else:
        out.print(findings_text(found), soft_wrap=True)
    return DONE


def findings_text(found: list[Finding]) -> RenderableType:
    """Return the findings of `tcja_deploy.doctor.examine` as text: each ability, and the command that adds it."""
    text = Text("This machine can\n", style="default")
    for finding in found:
        text.append("  yes  " if finding.able else "  no   ", style="green" if finding.able else "yellow")
        text.append(f"{finding.what}: {finding.detail}\n")
        text.append(f"         {finding.fix}\n" if finding.fix else "")
    text.rstrip()
    return text
