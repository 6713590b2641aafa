"""A verification as text: the comparison, and the first wrong signal inside the network."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.parity.bisect import Culprit
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_deploy.texts.parity import parity_text
from tcja_deploy.verify import Verified


def verified_text(verified: Verified, options: TextOptions = BRIEF) -> RenderableType:
    """Return a verification as text.

    Args:
        verified: the verification.
        options: how it is told.
    """
    culprit = [_culprit(verified.culprit)] if verified.culprit else []
    return Group(parity_text(verified.report, options), *culprit)


def _culprit(found: Culprit) -> RenderableType:
    """Return the first wrong signal of a network, and the mistakes that would explain it, as text."""
    text = Text("First wrong: ", style="bold")
    text.append(f"{found.module or 'the output'}, node {found.node or 'unknown'} of {found.model}\n", style="bold red")
    text.append(f"  {found.seen}\n", style="default")
    text.append(f"  It can be explained by: {'; or '.join(found.fits) or 'no known mistake'}", style="default")
    return text
