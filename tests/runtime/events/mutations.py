"""Damage to files, drawn at random."""

from __future__ import annotations

import random


def mutated(rng: random.Random, data: bytes) -> bytes:
    """One of the ways in which files are damaged."""
    out = bytearray(data)
    at = rng.randrange(len(out)) if rng.random() < 0.6 else rng.randrange(min(len(out), 400))
    how = rng.choice(["flip", "overwrite", "insert", "delete", "splice", "repeat", "empty"])
    if how == "flip":
        for _ in range(rng.randrange(1, 6)):
            out[min(at + rng.randrange(40), len(out) - 1)] ^= 1 << rng.randrange(8)
    elif how == "overwrite":
        out[at : at + rng.randrange(1, 20)] = rng.choice([b"\xff", b"\0", b"\n", b"#", b"%"]) * rng.randrange(1, 20)
    elif how == "insert":
        out[at:at] = rng.randbytes(rng.randrange(1, 20))
    elif how == "delete":
        del out[at : at + rng.randrange(1, 20)]
    elif how == "splice":
        other = rng.randrange(len(out))
        out[at : at + 64] = out[other : other + rng.randrange(1, 64)]
    elif how == "repeat":
        out[at:at] = out[at : at + rng.randrange(1, 200)]
    else:
        out[at : at + rng.randrange(1, 200)] = b""
    return bytes(out)
