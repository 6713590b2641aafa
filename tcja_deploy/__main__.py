"""The command `tcja-deploy`, also `python -m tcja_deploy`: Ctrl-C is answered even while it is being loaded."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command."""
    try:
        from tcja_deploy.cli import app

        app.main()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; nothing was written\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
