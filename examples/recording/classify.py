"""Classify recordings of an event camera: python classify.py BUNDLE RECORDING..."""

import sys

import tcja_runtime as tcja

with tcja.load(sys.argv[1]) as net:
    print(net)
    found = net.classify(sys.argv[2:])
    for file, prediction in zip(sys.argv[2:], found, strict=True):
        print(file, *(f"{name} {score:.2f}" for name, score in prediction.top(3)), sep="  ")
