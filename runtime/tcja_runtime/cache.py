"""Where this user's caches are kept."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """The folder of all caches, which may not exist yet (XDG Base Directory Specification)."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache") / "tcja-deploy"
