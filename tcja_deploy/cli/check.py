"""`tcja-deploy check`. Its options are those of `export`."""

from __future__ import annotations

from tcja_deploy.cli import options
from tcja_deploy.cli.export import ExportOptions
from tcja_deploy.console import out, print_json
from tcja_deploy.packages import needs
from tcja_deploy.texts.check import checked_text
from tcja_runtime.errors import BAD_USAGE, DONE, BadInput


@options.taking(ExportOptions)
def check(given: ExportOptions) -> int:
    """Say what export would make of a checkpoint, and write nothing: each module, the judged layers, nodes and memory.

    It takes the options of export. It reads two windows and writes nothing: --samples, --judge, --anytime, --batch,
    --build-timeout, --out and --report are only checked.

    Examples:
        tcja-deploy check dvs128.pth
        tcja-deploy check own.pth --model net:Net --layout TN --shape 10,2,128,128
    """
    request = given.request()
    with needs("export"):
        from tcja_deploy.check import checker
    found = checker.check(request, options.progress())
    told = bool(found.modules) or found.error is None  # else the error is all that is known
    if given.as_json:
        print_json(found.to_dict())
    elif told:
        out.print(checked_text(found, options.telling(given.verbose)))
    if found.error is None:
        return DONE
    if given.as_json or given.verbose or not told:  # the text has the reasons already, but no traceback
        raise BadInput(found.refusals[0]) from found.error
    return BAD_USAGE
