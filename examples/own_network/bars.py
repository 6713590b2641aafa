"""Recordings of a bar that moves left, right, up or down, 16 x 16 pixels, as an event camera would see it."""

from pathlib import Path

import numpy as np

CLASSES = ("left", "right", "up", "down")


def record(label, rng):
    """Events t, x, y, p: the bar's front edge is on, its back edge is off, and some events are noise."""
    steps, along = np.arange(16).repeat(16), np.tile(np.arange(16), 16)
    events = []
    for polarity, late in ((1, 0), (0, 3000)):
        place = steps if CLASSES[label] in ("right", "down") else 15 - steps
        x, y = (place, along) if CLASSES[label] in ("left", "right") else (along, place)
        kept = rng.random(256) < 0.8
        t = steps * 5000 + late + rng.integers(0, 2000, 256)
        events.append(np.stack([t, x, y, np.full(256, polarity)])[:, kept])
    noise = [rng.integers(0, 80_000, 60), *rng.integers(0, 16, (2, 60)), rng.integers(0, 2, 60)]
    t, x, y, p = np.concatenate([*events, noise], axis=1)
    order = np.argsort(t, kind="stable")
    return {"t": t[order], "x": x[order], "y": y[order], "p": p[order]}


def frames(events, steps=8):
    """Frames [T, 2, 16, 16] of equal numbers of events, the rest in the last: SpikingJelly's split_by="number"."""
    found, n = np.zeros((steps, 2, 16, 16), np.float32), len(events["t"])
    step = np.minimum(np.arange(n) // (n // steps), steps - 1)
    np.add.at(found, (step, events["p"], events["y"], events["x"]), 1)
    return found


if __name__ == "__main__":
    rng = np.random.default_rng(1)
    for number in range(40):
        label = number % 4
        Path("bars", CLASSES[label]).mkdir(parents=True, exist_ok=True)
        np.savez(Path("bars", CLASSES[label], f"{number:02}.npz"), **record(label, rng))
