"""Give a network one frame at a time: python frame_by_frame.py BUNDLE RECORDING. The bundle has stepwise models."""

import sys
import time

import tcja_runtime as tcja

with tcja.load(sys.argv[1]) as net:
    (window,) = net.frames(sys.argv[2])  # [T, P, H, W]
    stepwise = net.stepwise()
    for step, frame in enumerate(window):
        begin = time.perf_counter()
        prediction = stepwise.push(frame)
        print(f"frame {step}: {1000 * (time.perf_counter() - begin):.2f} ms")
    net(window)  # the first call is slower than the others
    begin = time.perf_counter()
    whole = net(window)
    print(f"whole window: {1000 * (time.perf_counter() - begin):.2f} ms")
    print(f"{prediction}, and of the whole window {whole[0]}")
