"""Classify what a camera sends: python live.py BUNDLE RECORDING. A thread plays the recording as the camera."""

import socket
import sys
import threading
import time
from pathlib import Path

import tcja_runtime as tcja


def camera(address: str, recording: Path) -> None:
    """Connect to an address such as tcp://127.0.0.1:5000, and send the recording three times, a little at a time."""
    host, port = address.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        for _ in range(3):
            for at in range(0, recording.stat().st_size, 500):  # 100 events of ATIS
                connection.sendall(recording.read_bytes()[at : at + 500])
                time.sleep(0.005)


with tcja.load(sys.argv[1]) as net, net.stream("tcp://127.0.0.1:0", window="1000events", form="atis") as stream:
    threading.Thread(target=camera, args=(stream.address, Path(sys.argv[2]))).start()
    for found in stream:
        print(f"window {found.window}, {found.events} events: {found}")
    print(f"median latency {1000 * stream.summary.latency_median:.1f} ms")
