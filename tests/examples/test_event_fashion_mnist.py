"""The example that learns from simulated event recordings does what its README says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import load_checkpoint

ROOT = Path(__file__).parents[2]
EVENT = ROOT / "examples" / "event_fashion_mnist"
IMAGES = ROOT / "examples" / "fashion_mnist" / "test_1000.npz"
README = (ROOT / "examples/event_fashion_mnist/README.md").read_text()
QUIET = {"noise_hz": 0.0}


@pytest.fixture
def model(monkeypatch) -> ModuleType:
    """simulate.py."""
    monkeypatch.syspath_prepend(str(EVENT))
    import simulate

    return simulate


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """The first images [10, 28, 28] of the file."""
    with np.load(IMAGES) as data:
        return data["images"][:10, 0]


def read_atis(content: bytes) -> list[tuple[int, int, int, int]]:
    """Events (t, x, y, p) of an ATIS file, as its format is described."""
    events = []
    for at in range(0, len(content), 5):
        x, y, high, middle, low = content[at : at + 5]
        events.append(((high & 127) << 16 | middle << 8 | low, x, y, high >> 7))
    return events


def rows(events) -> list[tuple[int, int, int, int]]:
    columns = events.t, events.x, events.y, events.p.astype(int)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_a_recording_is_sorted_within_the_sensor_and_the_saccades(model, pictures):
    for events in model.simulate(pictures):
        assert 1000 < len(events.t) < 8000
        assert (np.diff(events.t) >= 0).all()
        assert events.t[0] >= 0
        assert events.t[-1] < 300_000
        assert max(events.x.max(), events.y.max()) < 32
        assert set(events.p.tolist()) == {0, 1}


def test_a_recording_is_told_by_image_number_and_seed(model, pictures):
    first, again, other = ([rows(events) for events in model.simulate(pictures, seed=seed)] for seed in (3, 3, 4))
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))
    # Nor does it depend on what is simulated beside it.
    (alone,) = model.simulate(pictures[7:8], [7], seed=3)
    assert rows(alone) == first[7]


def test_what_ships_was_simulated_so(model):
    """Another machine's logarithms may differ in the last bit, and so an event by a microsecond."""
    files = sorted((EVENT / "recordings").glob("*.bin"))
    assert len(files) == 3
    with np.load(IMAGES) as data:
        images = data["images"][:, 0]
    for file in files:
        number = int(file.stem.split("_")[-1])
        (events,) = model.simulate(images[number : number + 1], [number])
        shipped = np.array(read_atis(file.read_bytes()))
        assert len(shipped) == len(events.t)
        np.testing.assert_allclose(events.t, shipped[:, 0], atol=1, rtol=0)
        assert sorted(row[1:] for row in rows(events)) == sorted(map(tuple, shipped[:, 1:].tolist()))


def test_the_scene_moves_as_the_camera_does(model, pictures):
    """Against whole and half pixels, where the answer is a shifted image and the mean of two."""
    dark = model.DARK
    still = np.exp(model.log_intensity(pictures, np.array([0.0, 0.0]))) - dark
    np.testing.assert_allclose(still[:, 2:30, 2:30], pictures, atol=1e-9)
    assert still.sum() == pytest.approx(pictures.sum())
    right = np.exp(model.log_intensity(pictures, np.array([1.0, 0.0]))) - dark
    np.testing.assert_allclose(right, np.roll(still, 1, axis=2), atol=1e-9)
    up = np.exp(model.log_intensity(pictures, np.array([0.0, -1.5]))) - dark
    np.testing.assert_allclose(up, (np.roll(still, -1, axis=1) + np.roll(still, -2, axis=1)) / 2, atol=1e-9)


def test_the_camera_goes_along_a_triangle_and_returns(model):
    path = model.displacements()
    corners = path[:: model.SAMPLES]
    np.testing.assert_allclose(corners, [*model.CORNERS, model.CORNERS[0]], atol=1e-12)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1).reshape(3, -1)
    assert steps.max() < 0.25
    # It starts and stops slowly, and is fastest half way.
    assert (steps[:, [0, -1]] < 0.02).all()
    np.testing.assert_allclose(steps, steps[:, ::-1], atol=1e-12)
    middle = model.SAMPLES // 2
    np.testing.assert_allclose(steps.max(1), steps[:, middle], atol=1e-12)


def test_events_add_up_to_the_change_of_log_intensity(model, pictures):
    """To less than a threshold, at every sample of the path, for every pixel."""
    sensor = model.Sensor(**QUIET)
    path = model.displacements()
    for number, events in enumerate(model.simulate(pictures, seed=5, sensor=sensor)):
        off, on = model.thresholds(np.random.RandomState([5, number]), sensor)
        assert off.std() == pytest.approx(0.03, rel=0.1)
        picture = pictures[number : number + 1]
        start = model.log_intensity(picture, path[0])[0]
        for k in range(1, len(path), 5):
            past = events.t < k * model.SACCADE_US / model.SAMPLES
            steps = np.where(events.p == 1, on[events.y, events.x], -off[events.y, events.x])[past]
            total = np.zeros((32, 32))
            np.add.at(total, (events.y[past], events.x[past]), steps)
            rest = model.log_intensity(picture, path[k])[0] - start - total
            # An event right at the sample may be counted with the next.
            assert (rest < on + 1e-9).all()
            assert (rest > -off - 1e-9).all()


def test_an_event_is_when_its_level_is_crossed(model, pictures):
    sensor = model.Sensor(**QUIET)
    (events,) = model.simulate(pictures[:1], seed=5, sensor=sensor)
    off, on = model.thresholds(np.random.RandomState([5, 0]), sensor)
    path = model.displacements()
    course = np.stack([model.log_intensity(pictures[:1], where)[0] for where in path])
    instants = np.arange(len(path)) * model.SACCADE_US / model.SAMPLES
    level = course[0].copy()
    for t, x, y, p in rows(events):
        level[y, x] += on[y, x] if p else -off[y, x]
        # The microsecond is rounded down, so the level lies between what was seen at its beginning and end.
        seen = np.interp([t, t + 1], instants, course[:, y, x])
        assert seen.min() - 1e-9 <= level[y, x] <= seen.max() + 1e-9


def test_without_motion_there_is_but_noise(model, pictures):
    stand = ((0.3, -0.4),) * 3
    assert not any(len(events.t) for events in model.simulate(pictures, sensor=model.Sensor(**QUIET), corners=stand))
    many = np.zeros((200, 28, 28), np.uint8)
    recordings = list(model.simulate(many, sensor=model.Sensor(noise_hz=2.0)))
    total, expected = sum(len(events.t) for events in recordings), 200 * 2.0 * 1024 * 0.3
    assert abs(total - expected) < 4 * expected**0.5
    on = sum(int(events.p.sum()) for events in recordings)
    assert abs(on - total / 2) < 4 * (total / 4) ** 0.5


def test_a_higher_threshold_has_fewer_events(model, pictures):
    counts = [
        sum(len(events.t) for events in model.simulate(pictures, sensor=model.Sensor(threshold=threshold, **QUIET)))
        for threshold in (0.2, 0.4)
    ]
    assert 1.8 < counts[0] / counts[1] < 3


def by_number(events) -> np.ndarray:
    """Frames [8, 2, 32, 32] of as many events each, the last with the rest."""
    frames, each = np.zeros((8, 2, 32, 32), np.float32), len(events.t) // 8
    frame = np.minimum(np.arange(len(events.t)) // each, 7)
    np.add.at(frames, (frame, events.p.astype(int), events.y, events.x), 1)
    return frames


def run(*command: object) -> str:
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_readme(command: str, tmp_path: Path, *more: str) -> str:
    """Run the one command of the README that is like this, and more options, with build/ in tmp_path."""
    (line,) = re.findall(rf"^({command})$", README, re.MULTILINE)
    words = [word.replace("build/", f"{tmp_path}/") for word in shlex.split(line)]
    program = {"python": [], "tcja-deploy": ["-m", "tcja_deploy"]}[words[0]]
    return run(*program, *(ROOT / word if word.startswith("examples/") else word for word in words[1:]), *more)


def test_the_command_writes_recordings_in_a_folder_a_class(model, tmp_path):
    out = tmp_path / "out"
    run(EVENT / "simulate.py", "--images", IMAGES, "--count", 12, out)
    with np.load(IMAGES) as data:
        images, labels = data["images"][:12, 0], data["labels"][:12]
    files = [out / str(label) / f"{number:05}.bin" for number, label in enumerate(labels)]
    assert sorted(out.rglob("*.bin")) == sorted(files)
    for file, events in zip(files, model.simulate(images), strict=True):
        assert read_atis(file.read_bytes()) == rows(events)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (None, "not a file of images and labels"),
        ({"images": np.zeros((2, 1, 28, 28), np.uint8)}, "'labels is not a file in the archive'"),
        ({"images": np.zeros((2, 1, 32, 32), np.uint8), "labels": [0, 1]}, "images are uint8 (2, 1, 32, 32)"),
    ],
)
def test_a_file_of_something_else_is_said(arrays, said, tmp_path):
    if arrays:
        np.savez(tmp_path / "a.npz", **arrays)
    command = [sys.executable, EVENT / "simulate.py", "--images", tmp_path / "a.npz", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_ships_is_small_and_in_the_published_layout():
    assert (EVENT / "checkpoint.pth").stat().st_size <= 3_000_000
    content = torch.load(EVENT / "checkpoint.pth", weights_only=True)
    assert set(content) == {"net", "optimizer", "lr_scheduler", "epoch", "max_test_acc"}
    assert len((EVENT / "classes.txt").read_text().splitlines()) == 10


def test_the_shipped_network_is_as_accurate_as_its_readme_says(model):
    """On the first 500, by PyTorch."""
    found = identify(load_checkpoint(EVENT / "checkpoint.pth"))
    assert (found.name, found.contract.shape) == ("dvs128", (8, 2, 32, 32))
    assert f"{found.parameters:,} parameters" in README
    images, labels = model.labelled_images(IMAGES, 500)
    frames = np.stack([by_number(events) for events in model.simulate(images)])
    with torch.no_grad():
        answers = torch.cat([found.model(x) for x in torch.from_numpy(frames).split(100)])
    found_classes = answers.argmax(1).numpy()
    classes = (EVENT / "classes.txt").read_text().lower().splitlines()
    for file in (EVENT / "recordings").glob("*.bin"):
        name, number = file.stem.split("_")
        assert classes[found_classes[int(number)]] == classes[labels[int(number)]] == name
    right = float((found_classes == labels).mean())
    said = re.search(r"first 500[^|]*\|\s*([\d.]+) %", README)
    assert said is not None
    # A sum that another machine rounds otherwise may turn an answer.
    assert 100 * right == pytest.approx(float(said[1]), abs=0.25)


@pytest.mark.slow
def test_the_commands_of_the_readme_run(tmp_path):
    """But for the number of recordings: that of all 500 is known from the test before."""
    of_readme("python .*simulate.py .* --count 500 build/event_recordings", tmp_path, "--count", "40")
    assert len(list((tmp_path / "event_recordings").glob("*/*.bin"))) == 40
    assert "Parity met" in of_readme("tcja-deploy export .*", tmp_path)
    found = json.loads(of_readme("tcja-deploy run .*", tmp_path, "--json"))
    assert (found["labelled"], len(found["windows"])) == (40, 40)
    assert found["accuracy"] > 0.7
    streamed = of_readme("tcja-deploy stream .*", tmp_path, "--json", "--speed", "max")
    answer, summary = map(json.loads, streamed.splitlines())
    assert answer["top"][0]["class"] == "Sandal"
    assert summary["summary"]["windows"] == 1


@pytest.mark.slow
def test_training_resumes_where_it_stopped(tmp_path):
    """A run that is killed after its first epoch and resumed ends with the weights of one that was not."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 32), ("t10k", 4)):
        arrays = {"images-idx3": rng.integers(0, 256, (count, 28, 28)), "labels-idx1": rng.integers(0, 10, count)}
        for name, array in arrays.items():
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (tmp_path / f"{split}-{name}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    sizes = shlex.split("--time-steps 2 --channels 4 --hidden 8 --epochs 2 --kernel-t 2 --kernel-c 2 --batch 2")
    command = [EVENT / "train.py", "--data", tmp_path, *sizes, "--out"]
    run(*command, tmp_path / "whole")
    killed = [sys.executable, *map(str, command), str(tmp_path / "killed")]
    with subprocess.Popen(killed, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("epoch 1/2")
        process.kill()
    assert not (tmp_path / "killed" / "checkpoint.pth").exists()
    assert run(*command, tmp_path / "killed", "--resume").startswith("epoch 2/2")
    weights = [torch.load(tmp_path / out / "checkpoint.pth", weights_only=True)["net"] for out in ("whole", "killed")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    found = identify(load_checkpoint(tmp_path / "whole" / "checkpoint.pth"))
    assert (found.name, found.contract.shape) == ("dvs128", (2, 2, 32, 32))
