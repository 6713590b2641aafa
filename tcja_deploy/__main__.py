"""The command `tcja-deploy`, also `python -m tcja_deploy`. It ends without a traceback, even during imports."""

from __future__ import annotations

import contextlib
import signal
import sys


def main() -> None:
    """Run the command line with the arguments of this process."""
    try:
        from tcja_deploy.cli import app

        app.main()
    except KeyboardInterrupt:
        _end("interrupted; nothing was written", 130)
    except (ImportError, OSError, MemoryError) as error:  # commands end with a code; so this is an import that failed
        name = getattr(error, "name", None) or "a library"
        why = str(error) or "this machine has too little memory"
        _end(f"{name} cannot be loaded ({why}); if it is not for lack of memory, install it again", 3)


def _end(message: str, code: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(AttributeError, OSError):  # stderr is closed
        sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
