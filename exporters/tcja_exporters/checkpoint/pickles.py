"""Looks at the pickle of a checkpoint before PyTorch reads it: some small ones take any time or memory to read.

A pickle is a program for a machine with a stack and a memo. A tuple of the memo may be in a tuple twice, this tuple in
another twice, and so on. Its hash, as the key of a dictionary, then takes as many steps as it has values, 2^n.

Source: `pickletools` of Python, which knows what each operation takes from the stack and puts there.
"""

from __future__ import annotations

import dataclasses
import io
import pickletools
import warnings
from pathlib import Path
from typing import IO, Any

from tcja_runtime.errors import BadInput
from tcja_runtime.files.limits import LONGEST_TEXT, MOST_OPERATIONS, MOST_REPEATED

_PICKLES = 5  # in a file of the format before the zip archives
_MARK = -1


def check(content: bytes, path: Path) -> None:
    """Check the pickles at the start of some bytes. What is no pickle is left to PyTorch.

    Raises:
        BadInput: they have too many operations or too long texts, or repeat too many values.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about texts with odd escapes
        _check(io.BytesIO(content), path)


def _check(stream: IO[bytes], path: Path) -> None:
    operations = 0
    for _ in range(_PICKLES):
        machine = _Machine()
        try:
            for operation, argument, _ in pickletools.genops(stream):
                operations += 1
                machine.do(operation, argument)
                if operations > MOST_OPERATIONS:
                    raise BadInput(
                        f"{path} has more than {MOST_OPERATIONS:,} steps in its pickle; save fewer keys and values"
                    )
                if isinstance(argument, str) and len(argument) > LONGEST_TEXT:
                    raise BadInput(f"{path} has a text of {len(argument):,} characters, more than {LONGEST_TEXT:,}")
                if machine.repeated > MOST_REPEATED:
                    raise BadInput(f"{path} repeats more than {MOST_REPEATED:,} values in its pickle")
        except (ValueError, IndexError, KeyError):
            return


@dataclasses.dataclass
class _Machine:
    """The machine of a pickle, which knows of each object the number of values in it: 1 if it is no tuple.

    Attributes:
        stack: the objects in the stack, and its marks.
        memo: the objects in the memo.
        repeated: the number of values of all objects that were taken from the memo, or doubled.
    """

    stack: list[int] = dataclasses.field(default_factory=list)
    memo: dict[Any, int] = dataclasses.field(default_factory=dict)
    repeated: int = 0

    def do(self, operation: pickletools.OpcodeInfo, argument: Any) -> None:
        """Do an operation.

        Raises:
            IndexError, KeyError: the stack or the memo does not have what it takes.
        """
        name, taken = operation.name, operation.stack_before
        if name == "MARK":
            self.stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else int(argument)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET", "DUP"):
            self.stack.append(self.stack[-1] if name == "DUP" else self.memo[int(argument)])
            self.repeated += self.stack[-1]
        else:
            size = 1
            if pickletools.markobject in taken:
                while (each := self.stack.pop()) != _MARK:
                    size += each
                taken = taken[: taken.index(pickletools.markobject)]
            for _ in taken:
                size += self.stack.pop()
            self.stack += [size if name.startswith("TUPLE") else 1] * len(operation.stack_after)
