"""The command `tcja-deploy`, also `python -m tcja_deploy`. Ctrl-C ends it without a traceback, even during imports."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line with the arguments of this process."""
    try:
        from tcja_deploy.cli import app

        app.main()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; nothing was written\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
