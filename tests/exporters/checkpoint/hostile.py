"""Checkpoints of an attacker."""

import os


class RunsCode:
    """What an attacker's pickle does: loading it calls a function."""

    def __reduce__(self):
        return os.mkdir, (RunsCode.target,)

    target = ""
