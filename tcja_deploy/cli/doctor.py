"""`tcja-deploy doctor`: its options."""

from __future__ import annotations

import dataclasses

from tcja_deploy.cli.options import Json, Verbose
from tcja_deploy.console import out, print_json
from tcja_deploy.texts.doctor import findings_text
from tcja_runtime.errors import DONE


def doctor(as_json: Json = False, verbose: Verbose = False) -> int:
    """Show what this machine can do, and what to install for the rest.

    Examples:
        tcja-deploy doctor
    """
    from tcja_deploy.doctor import examine

    found = examine()
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in found])
    else:
        out.print(findings_text(found))
    return DONE
