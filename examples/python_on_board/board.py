"""Run a network on arrays: python board.py BUNDLE WINDOWS.npz. It imports numpy and a runtime, and no torch."""

import sys

import numpy as np

import tcja_runtime as tcja

with tcja.load(sys.argv[1]) as net, np.load(sys.argv[2]) as file:
    windows, labels = file["frames"], file["labels"]  # counts of events [N, T, P, H, W]
    found = net(windows)
    print(f"{np.mean(found.indices == labels):.1%} of {len(labels)} windows are right, on {net.info.backend}")
    print("the first window:", found[0].top(3))
    print("scores:", found.scores.shape, found.scores.dtype)
