"""Memory of a Triton server over an hour of events of several cameras, each answer compared with a session's.

    python -m benchmarks.serving.hour [--minutes 60] [--cameras 4] [--rate 50000] [--json FILE]

`package triton` writes NAME_stream of a small network of the dvs128 family (64x64, T = 5, drawn weights), and the
server of nvidia-pytriton runs it, on this machine. Each camera is a client of gRPC, which sends packets of EVT3 of 131
ms of its clock as fast as they are answered. The bytes are drawn once, 16.8 s of them, after which the format's clock
of 24 bits begins anew, and are sent again and again. A window is the 16th part of that, so each window comes again, and
its scores must be those of a session on this machine, to the bit.

In every 64th window, a packet ends with events that are older than the window. They are in no window, and must be
counted as dropped; nothing else may be.

Memory is the sum of the server's processes: what they allocated, and what they share (Pss_Anon and Pss_Shmem of
/proc/PID/smaps_rollup), without the pages of programs and libraries. The exit code is 1 if an
answer is another, a number of dropped events is wrong, or the memory grew by more than GROWTH.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import tcja_runtime as tcja
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.package.options import CameraOptions, TritonOptions
from tcja_deploy.package.triton import package_triton
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.machine.conditions import conditions
from tcja_runtime.streaming.packets import PacketRule
from tests import networks
from tests.described import described
from tests.servers import Server, serving

NETWORK, SIDE = "dvs128", 64
PERIOD = 2**24  # microseconds that the format's clock counts
WINDOWS, PACKETS = 16, 8  # of a period, and of a window
LATE, EVERY = 50, 64  # the old events of a packet, and the windows from one such packet to the next
HEADER = b"% evt 3.0\n% end\n"
GROWTH = 2.0  # MiB


def evt3(times: np.ndarray, rng: np.random.Generator) -> bytes:
    """Events anywhere on the sensor, four words each: the high time, the low time, the row, and the column."""
    words = np.empty((len(times), 4), "<u2")
    words[:, 0], words[:, 1] = 0x8000 | (times >> 12), 0x6000 | (times & 0xFFF)
    words[:, 2] = rng.integers(0, SIDE, len(times))
    words[:, 3] = 0x2000 | (rng.integers(0, 2, len(times)) << 11) | rng.integers(0, SIDE, len(times))
    return words.tobytes()


def period(rate: int, seed: int) -> list[bytes]:
    """The packets of a period. The first event is at time 0, so that windows and packets begin together."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, PERIOD, PERIOD * rate // 1_000_000))
    times[0] = 0
    edges = np.searchsorted(times, np.arange(WINDOWS * PACKETS + 1) * (PERIOD // (WINDOWS * PACKETS)))
    return [evt3(times[a:b], rng) for a, b in itertools.pairwise(edges)]


def of_session(bundle: Path, packets: list[bytes]) -> list[bytes]:
    """The scores of the windows of a period, by a session on this machine."""
    with tempfile.TemporaryDirectory() as folder, tcja.load(bundle) as net:
        file = Path(folder) / "a.raw"
        file.write_bytes(HEADER + b"".join(packets) + packets[0])
        with net.stream(file, window=f"{PERIOD // WINDOWS}us", speed=math.inf) as stream:
            return [each.scores.tobytes() for each in stream][:WINDOWS]


@dataclasses.dataclass
class Camera:
    """A client that is one camera.

    Attributes:
        number: its number, which is its correlation ID.
        packets: the packets of a period.
        expected: the scores of the windows of a period.
        windows: the number of windows that were answered.
        wrong: the number of these whose scores are others, or whose number is not the next one.
        dropped: the number of dropped events of the last answer.
        sent: the number of events that are too old.
    """

    number: int
    packets: list[bytes]
    expected: list[bytes]
    windows: int = 0
    wrong: int = 0
    dropped: int = 0
    sent: int = 0

    def run(self, server: Server, windows: int) -> None:
        """Send the packets of some windows."""
        import tritonclient.grpc

        client, rng, count = server.grpc(), np.random.default_rng(self.number), windows * PACKETS
        for k in range(count):
            packet = (b"" if k else HEADER) + self.packets[k % len(self.packets)]
            window, within = divmod(k, PACKETS)
            if window % EVERY == EVERY - 1 and within == 1:
                begin = window % WINDOWS * (PERIOD // WINDOWS)
                packet += evt3(np.full(LATE, begin - 300_000), rng)
                self.sent += LATE
            given = tritonclient.grpc.InferInput("events", [1, 1], "BYTES")
            given.set_data_from_numpy(np.array([[packet]], np.object_))
            flags = {"sequence_start": not k, "sequence_end": k + 1 == count}
            self.take(client.infer("hour_stream", [given], sequence_id=self.number, **flags))
        client.close()

    def take(self, result: Any) -> None:
        """Compare an answer."""
        for number, scores in zip(result.as_numpy("number")[0].tolist(), result.as_numpy("rates")[0], strict=True):
            self.wrong += number != self.windows or scores.tobytes() != self.expected[number % WINDOWS]
            self.windows += 1
        self.dropped = int(result.as_numpy("dropped")[0, 0])


def held(pid: int) -> float:
    """MiB that a process and all its children hold, without the pages of files."""
    total, waiting = 0.0, [pid]
    while waiting:
        each = waiting.pop()
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))) / 1024
            for task in Path(f"/proc/{each}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return total


def watched(server: Server, cameras: list[Camera], windows: int) -> list[tuple[float, float]]:
    """Run the cameras. Returns the seconds of the slowest camera's clock and the MiB that the server holds, many."""
    seen: list[tuple[float, float]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            seen.append((min(each.windows for each in cameras) * PERIOD / WINDOWS / 1e6, held(server.pid)))

    with ThreadPoolExecutor(len(cameras) + 1) as pool:
        looking = pool.submit(look)
        running = [pool.submit(each.run, server, windows) for each in cameras]
        try:
            for one in running:
                one.result()
        finally:
            over.set()
        looking.result()
    return seen


def growth(seen: list[tuple[float, float]]) -> tuple[float, float]:
    """The medians of the MiB in the second twentieth of the time and in the last one."""
    total = seen[-1][0]
    first = [size for at, size in seen if total / 20 <= at <= total / 10]
    last = [size for at, size in seen if at >= total * 19 / 20]
    return statistics.median(first), statistics.median(last)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="of each camera's clock")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--rate", type=int, default=50_000, help="events a second of each camera's clock")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    windows = int(args.minutes * 60e6 / (PERIOD / WINDOWS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = networks.SMALL[NETWORK].checkpoint(folder / "model.pth")
        bundle = folder / "hour.bundle"
        pipeline.export(ExportRequest(checkpoint=checkpoint, out=bundle, target="onnx", samples=1, streaming=True))
        described(bundle, input=dataclasses.replace(tcja.Bundle.open(bundle).manifest.input, split="time"))
        rule = PacketRule(window=Window(PERIOD // WINDOWS), form="evt3")
        options = CameraOptions(count=args.cameras, rule=rule)
        package_triton(bundle, folder / "models", TritonOptions(cameras=options))
        periods = [period(args.rate, number) for number in range(args.cameras)]
        cameras = [Camera(i + 1, packets, of_session(bundle, packets)) for i, packets in enumerate(periods)]
        with serving(folder / "models", folder / "server", ["hour_stream"]) as server:
            began = time.monotonic()
            seen = watched(server, cameras, windows)
            seconds = time.monotonic() - began
    first, last = growth(seen)
    result = {
        "machine": dataclasses.asdict(conditions()),
        "cameras": args.cameras,
        "minutes_of_each": args.minutes,
        "events": args.cameras * windows * PERIOD // WINDOWS * args.rate // 1_000_000,
        "seconds": round(seconds, 1),
        "windows": sum(each.windows for each in cameras),
        "wrong": sum(each.wrong for each in cameras),
        "dropped": sum(each.dropped for each in cameras),
        "too_old": sum(each.sent for each in cameras),
        "first_mib": round(first, 2),
        "last_mib": round(last, 2),
        "most_mib": round(max(size for _, size in seen), 2),
        "seconds_and_mib": [(round(at, 1), round(size, 2)) for at, size in seen[:: max(1, len(seen) // 200)]],
    }
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "seconds_and_mib"}, indent=2))
    right = not result["wrong"] and result["windows"] == args.cameras * windows
    return 0 if right and result["dropped"] == result["too_old"] and last - first <= GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
