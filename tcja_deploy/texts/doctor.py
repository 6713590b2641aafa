"""The findings of `doctor` as text."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from tcja_deploy.doctor import Finding


def findings_text(found: list[Finding]) -> RenderableType:
    """Return the findings of `tcja_deploy.doctor.examine` as text: each ability, and the command that adds it."""
    text = Text("This machine can\n", style="default")
    for finding in found:
        text.append("  yes  " if finding.able else "  no   ", style="green" if finding.able else "yellow")
        text.append(f"{finding.what}: {finding.detail}\n")
        text.append(f"         {finding.fix}\n" if finding.fix else "")
    text.rstrip()
    return text
