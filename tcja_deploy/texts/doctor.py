"""The findings of `doctor` as text."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.doctor import Finding
from tcja_deploy.texts.table import Hanging, whole


def findings_text(found: list[Finding]) -> RenderableType:
    """Return the findings of `tcja_deploy.doctor.examine` as text: each ability, and the command that adds it."""
    lines: list[RenderableType] = [Text("This machine can")]
    for finding in found:
        able, style = ("  yes  ", "green") if finding.able else ("  no   ", "yellow")
        lines.append(Hanging(able, f"{finding.what}: {finding.detail}", style))
        if finding.fix:
            lines.append(whole(f"         {finding.fix}"))
    return Group(*lines)
