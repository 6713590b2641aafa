"""`tcja-deploy compare`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.options import Json, Verbose
from tcja_deploy.console import err, out, print_json
from tcja_runtime.errors import DONE, UNMET
from tcja_runtime.files.text import one_line

Results = Annotated[
    list[Path],
    typer.Argument(
        metavar="RESULTS...",
        help="Files with what build, verify, bench and run printed with --json on each board, or folders of "
        "such files.",
    ),
]


def compare(results: Results, as_json: Json = False, verbose: Verbose = False) -> int:
    """Compare the results of many boards in one table, and say which board differs, and in what.

    A file has the results of one board: one or several. The exit code is 1 if parity is not met on a board, or if a
    board has another bundle than the others or predicts other classes.

    Examples:
        tcja-deploy compare orin-1.json orin-2.json
        tcja-deploy compare results/ --json
    """
    from tcja_deploy.compare.comparison import compare as compared
    from tcja_deploy.texts.fleet.compare import compared_text

    found = compared(results)
    if as_json:
        print_json(found.to_dict())
    else:
        out.print(compared_text(found, options.telling(verbose)))
    if not found.met:
        err.print(one_line(f"error: {found.serious[0].text}"), soft_wrap=True)
        return UNMET
    return DONE
