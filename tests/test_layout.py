"""Rules of the whole project: its documents name what there is."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
