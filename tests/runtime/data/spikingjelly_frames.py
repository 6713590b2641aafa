"""Frames by the SpikingJelly that is on the path: python spikingjelly_frames.py EVENTS.npz FRAMES.npz ROWS COLUMNS

EVENTS.npz has arrays CASE.t, CASE.x, CASE.y and CASE.p. FRAMES.npz gets CASE.RULE.ARGUMENT [frames, 2, rows, columns],
the argument being T or the duration; those that end with an IndexError are left out.
"""

import contextlib
import sys

import numpy as np

FRAMES = (1, 4)
DURATIONS = (7, 30, 50)


def main() -> None:
    from benchmarks.events.spikingjelly_datasets import datasets  # with the project's root on the process's path

    library = datasets()
    rows, columns = map(int, sys.argv[3:])
    arrays, made = dict(np.load(sys.argv[1])), {}
    for case in {name.partition(".")[0] for name in arrays}:
        events = {key: arrays[f"{case}.{key}"] for key in "txyp"}
        for rule in ("number", "time"):
            for n in FRAMES:
                with contextlib.suppress(IndexError):
                    made[f"{case}.{rule}.{n}"] = library.integrate_events_by_fixed_frames_number(
                        events, rule, n, rows, columns
                    )
        for duration in DURATIONS:
            with contextlib.suppress(IndexError):
                made[f"{case}.duration.{duration}"] = library.integrate_events_by_fixed_duration(
                    events, duration, rows, columns
                )
    np.savez(sys.argv[2], **made)


if __name__ == "__main__":
    main()
