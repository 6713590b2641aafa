"""The node of examples/ros2, with the real rclpy and a real middleware.

ROS_PYTHON is a Python that has rclpy, event_camera_msgs, vision_msgs and ONNX Runtime. Without it, the test is skipped.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import tcja_runtime as tcja
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_runtime.events import Events, recording

from ..docs.blocks import ROOT
from ..runtime.events import writers

PYTHON = os.environ.get("ROS_PYTHON")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.releases,
    pytest.mark.skipif(PYTHON is None, reason="ROS_PYTHON names no Python with rclpy"),
]

HERE, EXAMPLE = Path(__file__).parent, ROOT / "examples" / "event_fashion_mnist"
HEADER = b"% evt 3.0\n% format EVT3;height=32;width=32\n% end\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("ros2") / "clothes.bundle"
    pipeline.export(ExportRequest(checkpoint=EXAMPLE / "checkpoint.pth", out=out, samples=2, streaming=True))
    return out


@pytest.fixture
def camera(tmp_path) -> Path:
    """A file of EVT3 with a recording, played five times."""
    found = Events.joined(recording(EXAMPLE / "recordings" / "sandal_00008.bin").chunks())
    rows = np.stack([found.t, found.x, found.y, found.p], 1).tolist()
    events = [(t + n * (rows[-1][0] + 1000), x, y, p) for n in range(5) for t, x, y, p in rows]
    (tmp_path / "camera.raw").write_bytes(writers.evt3(events, HEADER))
    return tmp_path / "camera.raw"


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "runtime"), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def node(bundle: Path, topic: str) -> subprocess.Popen[str]:
    options = ("-p", f"bundle:={bundle}", "-p", "window:=1000events", "-r", f"events:={topic}")
    command = [str(PYTHON), str(ROOT / "examples" / "ros2" / "classifier.py"), "--ros-args", *options]
    return subprocess.Popen(command, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def send(file: Path, topic: str, size: int) -> None:
    words = file.with_suffix(".words")
    words.write_bytes(file.read_bytes().removeprefix(HEADER))
    command = [str(PYTHON), str(HERE / "ros_camera.py"), str(words), topic, str(size)]
    subprocess.run(command, env=ENVIRONMENT, check=True, timeout=120)


def test_a_camera_is_classified_as_its_recording(bundle, camera):
    with tcja.load(bundle) as net, net.stream(camera, window="1000events", speed=math.inf) as stream:
        expected = [str(found) for found in stream if found.whole]
    with node(bundle, "/left/events") as running:
        send(camera, "/left/events", 32)
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        printed, _ = running.communicate(timeout=60)
    told = [line.partition("dropped: ")[2] for line in printed.splitlines() if "[classifier]" in line]
    assert running.returncode == 0, printed
    assert told == expected
    assert len(told) > 5
    assert printed.splitlines()[-1].endswith(" windows, 0 events dropped")
    assert "missing" not in printed


def test_a_camera_of_another_size_ends_the_node(bundle, camera):
    with node(bundle, "/right/events") as running:
        send(camera, "/right/events", 640)
        printed, _ = running.communicate(timeout=60)
    assert running.returncode == 1, printed
    assert "/right/events is of a camera of 640x640 pixels; the network takes 32x32" in printed
