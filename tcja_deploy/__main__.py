"""The command `tcja-deploy`, also `python -m tcja_deploy`. It ends without a traceback, even during imports."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sys

_INTERRUPTED, _MISSING = 130, 3  # of `tcja_runtime.errors`, which is not imported yet
_PYTHON_BYTES, _THREAD_BYTES = 64 * 2**20, 48 * 2**20
"""The address space that NumPy takes, and that its library OpenBLAS takes for each of its threads."""


def main() -> None:
    """Run the command line with the arguments of this process."""
    try:
        _check_address_space()
        from tcja_deploy.cli import app

        code = app.main()
    except KeyboardInterrupt:
        code = _failed("interrupted; nothing was written", _INTERRUPTED)
    except (ImportError, OSError, MemoryError) as error:  # commands end with a code; so this is an import that failed
        name = getattr(error, "name", None) or "a library"
        why = str(error) or "this machine has too little memory"
        code = _failed(f"{name} cannot be loaded ({why}); if it is not for lack of memory, install it again", _MISSING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would print a traceback of Python's own end
    if code == _INTERRUPTED:
        # If Ctrl-C came while a text was executed, as dataclasses do, Python would end by the signal after all.
        with contextlib.suppress(AttributeError, OSError, ValueError):  # they are closed
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _check_address_space() -> None:
    """Check that NumPy can be imported.

    If OpenBLAS gets no memory, it ends the process with the code 1, which means that parity is not met.

    Raises:
        MemoryError: there is not enough of it.
    """
    given = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    threads = int(given) if given.isdecimal() else len(os.sched_getaffinity(0))
    try:
        mmap.mmap(-1, _PYTHON_BYTES + min(threads, 64) * _THREAD_BYTES).close()
    except OSError as error:
        raise MemoryError from error


def _failed(message: str, code: int) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(AttributeError, OSError):  # stderr is closed
        sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return code


if __name__ == "__main__":
    main()
