"""Recordings of events as data of `run`, `verify` and `export`: what PyTorch says of frames counted by hand."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_deploy.report.plots import SHADES
from tcja_runtime.backends.probe import onnxruntime_probes
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.files.folder import Folder

from ... import networks
from ...described import described
from ...pictures import decoded

SIDE, STEPS = 64, 5


@pytest.fixture
def name() -> str:
    """The network for events."""
    return "dvs128"


def drawn(seed: int, count: int = 900, since: int = 0) -> np.ndarray:
    """Events [E, 4] of t, x, y, p: a spot that wanders."""
    rng = np.random.default_rng(seed)
    t = since + np.sort(rng.integers(0, 300_000, count))
    spot = rng.integers(10, 50, 2) + rng.normal(0, 6, (count, 2)) + np.linspace(0, 8, count)[:, None]
    return np.column_stack([t, *spot.clip(0, SIDE - 1).astype(int).T, rng.integers(0, 2, count)])


def write(path: Path, events: np.ndarray) -> Path:
    """An ATIS .bin (`facts` of the format: x, y, polarity and time in five bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytearray()
    for t, x, y, p in events.tolist():
        content += bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255])
    path.write_bytes(content)
    return path


def counted(events: np.ndarray) -> np.ndarray:
    """Frames [T, 2, H, W] of equal numbers of events, counted one by one."""
    frames = np.zeros((STEPS, 2, SIDE, SIDE), np.float32)
    each = len(events) // STEPS
    for at, (_, x, y, p) in enumerate(events.tolist()):
        frames[min(at // each, STEPS - 1), p, y, x] += 1
    return frames


def scores(windows: list[np.ndarray]) -> np.ndarray:
    """What PyTorch says of frames [N, classes]."""
    with torch.no_grad():
        return networks.SMALL["dvs128"].module()(torch.from_numpy(np.stack(windows))).numpy()


@pytest.fixture
def folder(tmp_path) -> Path:
    """Nine recordings, in folders whose names are the classes that PyTorch says, but for one.

    In one of them the second event comes first.
    """
    every = [drawn(seed) for seed in range(9)]
    every[3][:2] = every[3][1::-1]
    for at, (events, said) in enumerate(zip(every, scores([counted(each) for each in every]).argmax(1), strict=True)):
        write(tmp_path / "set" / str((said + (at == 4)) % 3) / f"{at}.bin", events)
    for missing in range(3):
        (tmp_path / "set" / str(missing)).mkdir(exist_ok=True)
    return tmp_path / "set"


def swapped(folder: Path) -> str:
    """What is to be remarked of the recording in which time goes back."""
    (file,) = folder.rglob("3.bin")
    return f"{file}: time goes back at 1 event, first at event 1; frames are cut by number"


def test_recordings_are_classified_as_by_pytorch(run, bundle, folder):
    code, out, err = run("run", bundle, folder, "--json", "--top", "3")
    found = json.loads(out)
    classes = Bundle.open(bundle).manifest.classes
    assert code == 0
    assert swapped(folder) in err
    assert [row["file"] for row in found["windows"]] == [str(file) for file in sorted(folder.rglob("*.bin"))]
    for row in found["windows"]:
        (expected,) = scores([counted(drawn(int(Path(row["file"]).stem)))])
        assert row["window"] == 0
        assert row["label"] == classes[int(Path(row["file"]).parent.name)]
        got = {each["class"]: each["score"] for each in row["top"]}
        assert [got[each] for each in classes] == pytest.approx(expected.tolist(), abs=1e-5)
    assert (found["labelled"], found["accuracy"]) == (9, pytest.approx(8 / 9))
    confusion = np.array(found["confusion"])
    assert (confusion.sum(), np.trace(confusion)) == (9, 8)
    for row in found["windows"]:
        confusion[classes.index(row["label"]), classes.index(row["top"][0]["class"])] -= 1
    assert not confusion.any()


def test_the_confusion_is_a_table(run, bundle, folder):
    out = run("run", bundle, folder, "--verbose")[1]
    assert "Accuracy: 8 of 9 windows with a label" in out
    table = out.partition("Confusion: labels down, classes across")[2]
    rows = [line.split() for line in table.splitlines() if line.strip()]
    classes = Bundle.open(bundle).manifest.classes
    assert [row[-3:] for row in rows[:1]] == [["0", "1", "2"]]
    expected = np.array(json.loads(run("run", bundle, folder, "--json")[1])["confusion"])
    cells = {row[0]: row[1:] for row in rows if row[0] in classes}
    assert [cells[name] for name in classes] == [
        [str(i), *(str(n) if n else "\N{MIDDLE DOT}" for n in counts)] for i, counts in enumerate(expected.tolist())
    ]


def test_many_classes_are_confused_in_pairs(run, bundle, folder, monkeypatch):
    monkeypatch.setattr("tcja_deploy.texts.run._CROSSED", 2)
    out = run("run", bundle, folder, "--verbose")[1]
    assert "Confusion" not in out
    (pair,) = re.findall(r"Most confused\s+label +class +windows +of\s+─+\s+(\S.*)", out)
    assert pair.split()[-2] == "1"


def test_verify_takes_them(run, bundle, folder):
    code, out, err = run("verify", bundle, "--data", folder, "--json")
    assert code == 0, err
    assert json.loads(out)["backends"][0]["statistics"]["labelled"] == 9
    assert err.count(swapped(folder)) == 1


@pytest.mark.slow
def test_export_takes_them(run, folder, tmp_path):
    checkpoint = networks.SMALL["dvs128"].checkpoint(tmp_path / "dvs128.pth")
    code, _, err = run(
        "export", checkpoint, "--data", folder, "--target", "onnx", "--out", tmp_path / "of_recordings.bundle"
    )
    assert code == 0, err
    assert err.count(swapped(folder)) == 1
    with np.load(tmp_path / "of_recordings.bundle" / "golden.npz") as golden:
        assert golden["frames"].shape == (9, STEPS, 2, SIDE, SIDE)
        np.testing.assert_array_equal(
            golden["frames"], np.stack([counted(drawn(int(file.stem))) for file in sorted(folder.rglob("*.bin"))])
        )


def test_label_files_cut_a_recording_into_gestures(run, bundle, tmp_path):
    """AEDAT 3.1 with the label file of DVS128 Gesture: each of its segments is a window."""
    pieces = [drawn(seed, since=1_000_000 * (seed + 1)) for seed in range(3)]
    events = np.concatenate(pieces)
    body = b"".join(
        (int(x) << 17 | int(y) << 2 | int(p) << 1 | 1).to_bytes(4, "little") + int(t).to_bytes(4, "little")
        for t, x, y, p in events
    )
    header = b"".join(
        value.to_bytes(size, "little")
        for size, value in (
            (2, 1),
            (2, 0),
            (4, 8),
            (4, 4),
            (4, 0),
            (4, len(events)),
            (4, len(events)),
            (4, len(events)),
        )
    )
    (tmp_path / "user.aedat").write_bytes(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + header + body)
    said = scores([counted(piece) for piece in pieces]).argmax(1)
    rows = [f"{kind + 1},{piece[0, 0]},{piece[-1, 0] + 1}" for kind, piece in zip(said, pieces, strict=True)]
    (tmp_path / "user_labels.csv").write_text("\n".join(["class,startTime_usec,endTime_usec", *rows]))
    found = json.loads(run("run", bundle, tmp_path / "user.aedat", "--json")[1])
    assert [row["window"] for row in found["windows"]] == [0, 1, 2]
    assert found["accuracy"] == 1.0


def test_folders_that_are_no_classes_are_said(run, bundle, tmp_path):
    write(tmp_path / "set" / "monday" / "a.bin", drawn(0))
    code, out, err = run("run", bundle, tmp_path / "set")
    assert code == 0
    assert "Accuracy" not in out
    assert "its folders do not have the names of the network's classes" in " ".join(err.split())


def test_frames_as_spikingjelly_saves_them(run, bundle, tmp_path):
    """One window a file, without an axis for the batch, in a folder a class."""
    for at in range(3):
        (tmp_path / "set" / str(at)).mkdir(parents=True)
        np.savez(tmp_path / "set" / str(at) / "a.npz", frames=counted(drawn(at)).astype(np.float64))
    found = json.loads(run("run", bundle, tmp_path / "set", "--json")[1])
    best = scores([counted(drawn(at)) for at in range(3)]).max(1)
    assert [row["top"][0]["score"] for row in found["windows"]] == pytest.approx(best.tolist(), abs=1e-5)
    assert found["labelled"] == 3


def test_windows_of_a_recording(run, bundle, tmp_path):
    """Cut by time, with the last one cut short; each as if it had been recorded alone."""
    events = np.concatenate([drawn(seed, since=300_000 * seed) for seed in range(3)])
    file = write(tmp_path / "long.bin", events)
    found = json.loads(run("run", bundle, file, "--window", "250ms", "--json")[1])["windows"]
    since = events[:, 0] - events[0, 0]
    pieces = [events[(since >= at * 250_000) & (since < (at + 1) * 250_000)] for at in range(4)]
    best = scores([counted(piece) for piece in pieces]).max(1)
    assert [row["top"][0]["score"] for row in found] == pytest.approx(best.tolist(), abs=1e-5)
    first = int(events[0, 0])
    assert [(row["begin"] - first, row["end"] - first) for row in found] == [
        (at * 250_000, (at + 1) * 250_000) for at in range(4)
    ]
    assert [row["events"] for row in found] == [len(piece) for piece in pieces]
    assert [row["whole"] for row in found] == [True] * 3 + [False]
    sliding = json.loads(run("run", bundle, file, "--window", "250ms", "--hop", "125ms", "--json")[1])["windows"]
    assert [row["top"][0]["score"] for row in sliding[::2]] == pytest.approx(best.tolist(), abs=1e-5)
    by_events = json.loads(run("run", bundle, file, "--window", "900events", "--json")[1])["windows"]
    best = scores([counted(events[at : at + 900]) for at in range(0, 2700, 900)]).max(1)
    assert [row["top"][0]["score"] for row in by_events] == pytest.approx(best.tolist(), abs=1e-5)


def drawn_gates(section: str) -> list[np.ndarray]:
    """The shades [T, C] of each map in a section of a page."""
    found = []
    for box, content in re.findall(r'<svg viewBox="([^"]+)" role="img" aria-label="conv\.(?:.*?)>(.*?)</svg>', section):
        *_, channels, steps = map(int, box.split())
        shades = np.zeros((steps, channels))
        for path, shade in re.findall(r'd="([^"]+)" fill-opacity="([^"]+)"', content):
            for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)", path):
                shades[int(y), int(x) : int(x) + int(length)] = float(shade)
        found.append(shades)
    return found


@pytest.mark.parametrize("polarity", [("off", "on"), ("on", "off")])
def test_a_picture(run, bundle, folder, tmp_path, monkeypatch, polarity):
    """Of each of the first windows, two at a time, where its events are and what its gates let through."""
    monkeypatch.setattr("tcja_deploy.report.picture.MOST", 7)
    monkeypatch.setattr("tcja_runtime.network.classified.batch_size", lambda *_: 2)
    manifest = Bundle.open(bundle).manifest
    contract = dataclasses.replace(manifest.input, polarity=polarity)
    described(bundle, input=contract)
    page = tmp_path / "seen.html"
    code, _, err = run("run", bundle, folder, "--picture", page)
    assert code == 0, err
    text = page.read_text()
    _, *sections = text.split("<section")
    probe, *_ = onnxruntime_probes(Folder(bundle), manifest.signature)
    files = sorted(folder.rglob("*.bin"))[:7]
    for section, file in zip(sections, files, strict=True):
        frames = counted(drawn(int(file.stem)))
        pictures = np.stack(decoded(section)).astype(int)
        off, on = frames.transpose(1, 0, 2, 3) > 0
        red, _, blue = pictures.transpose(3, 0, 1, 2)
        np.testing.assert_array_equal((pictures < 255).any(-1), off | on)
        assert (red > blue)[off & ~on].all()
        assert (blue > red)[on & ~off].all()
        assert f"<h2>{file}, window 0</h2>" in section
        taken = (frames if polarity == ("off", "on") else frames[:, ::-1])[None]
        gates = [gate.reshape(STEPS, -1) for gate in probe.gates(taken).values()]
        assert min(gate.std() for gate in gates) > 0.05
        for shown, gate in zip(drawn_gates(section), gates, strict=True):
            np.testing.assert_allclose(shown, gate, atol=0.5 / (SHADES - 1) + 0.006)
    assert text.count("The gate of conv.11.") == text.count("The gate of conv.15.") == 7
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    code, out, err = run("run", bundle, folder, "--picture", page)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == f"error: --picture {page} exists; choose another file or remove it"


def test_a_picture_goes_to_a_page_in_a_folder_that_may_be_new(run, bundle, tmp_path):
    file = write(tmp_path / "a.bin", drawn(0))
    code, out, err = run("run", bundle, file, "--picture", tmp_path / "a.txt")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == f"error: --picture {tmp_path / 'a.txt'} must end with .html: it becomes an HTML page"
    assert run("run", bundle, file, "--picture", tmp_path / "new" / "folder" / "a.html")[0] == 0
    assert "<html" in (tmp_path / "new" / "folder" / "a.html").read_text()


def larger(events: np.ndarray, path: Path) -> Path:
    """The same events in the middle of a picture of 346 x 260, with others around them."""
    middle, others = events.copy(), drawn(9, len(events))
    middle[:, 1:3] += (141, 98)
    others[:, 0] = events[:, 0]
    begin = np.stack([middle[:300], others[:300]], 1).reshape(-1, 4)  # others that would change what each frame has
    return write_evt2(path, np.concatenate([begin, middle[300:]]))


def write_evt2(path: Path, events: np.ndarray) -> Path:
    """An EVT2 .raw of a camera of 346 x 260 pixels."""
    words, high = [], -1
    for t, x, y, p in events.tolist():
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 28 | high)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    head = b"% evt 2.0\n% format EVT2;height=260;width=346\n% end\n"
    path.write_bytes(head + np.array(words, "<u4").tobytes())
    return path


CROP = ("--crop", "141,98,64,64")


@pytest.mark.slow
def test_a_part_of_a_larger_camera_is_taken_by_all_commands(run, tmp_path):
    """`export` stores it, so that the others need no option; the frames are those that tonic makes after a crop."""
    events = [drawn(seed) for seed in range(3)]
    (tmp_path / "set").mkdir()
    for at, each in enumerate(events):
        larger(each, tmp_path / "set" / f"{at}.raw")
    checkpoint = networks.SMALL["dvs128"].checkpoint(tmp_path / "a.pth")
    out = tmp_path / "a.bundle"
    options = ("--data", tmp_path / "set", "--split", "event-bins", "--target", "onnx", "--anytime", "0")
    code, _, err = run("export", checkpoint, "--out", out, *options)
    assert code == 2
    assert "0.raw is of a camera of 346x260 pixels; the network takes 64x64; as in training, take a part with" in err
    assert run("export", checkpoint, "--out", out, *options, *CROP)[0] == 0
    assert (
        "recordings cut by event-bins, cropped to 141,98,64,64 (x, y, width, height)"
        in (out / "report.html").read_text()
    )
    manifest = Bundle.open(out).manifest
    assert (manifest.input.crop, manifest.input.sensor, manifest.input.rule) == (
        (141, 98, 64, 64),
        (260, 346),
        "event-bins",
    )

    expected = scores([counted(each[: len(each) // STEPS * STEPS]) for each in events])
    for arguments in ((), CROP):
        found = json.loads(run("run", out, tmp_path / "set", "--json", "--top", "3", *arguments)[1])
        for row, wanted in zip(found["windows"], expected, strict=True):
            got = {each["class"]: each["score"] for each in row["top"]}
            assert [got[each] for each in manifest.classes] == pytest.approx(wanted.tolist(), abs=1e-5)
    file = tmp_path / "set" / "0.raw"
    lines = run("stream", out, file, "--speed", "max", "--no-view", "--json", "--top", "3")[1].splitlines()
    got = {each["class"]: each["score"] for each in json.loads(lines[0])["top"]}
    assert [got[each] for each in manifest.classes] == pytest.approx(expected[0].tolist(), abs=1e-5)
    code, _, err = run("verify", out, "--data", tmp_path / "set", "--resize", "bilinear", "--anytime", "0")
    assert code == 0
    assert "frames are made with --resize bilinear; the bundle has --crop 141,98,64,64" in err
    for command, *rest in (
        ("run", file),
        ("run", file, "--window", "1s"),
        ("stream", file),
        ("stream", file, "--window", "1s"),
    ):
        code, printed, err = run(command, out, *rest, "--crop", "300,98,64,64")
        assert (code, printed) == (2, "")
        assert "error: --crop 300,98,64,64 reaches beyond the 346x260 pixels of " in err


def test_the_rule_for_labels_is_stored(run, bundle, tmp_path):
    for name in ("0", "1", "2"):
        write(tmp_path / "set" / name / "a.bin", drawn(int(name)))
    described(bundle, classes=[f"x{i}" for i in range(3)], labels="text-order")
    (tmp_path / "set" / "2").rename(tmp_path / "set" / "c")
    (tmp_path / "set" / "notes.txt").touch()

    def labels(*arguments: str) -> list[str]:
        code, out, err = run("run", bundle, tmp_path / "set", "--json", *arguments)
        assert code == 0, err
        assert "1 entry is not used: 1 with .txt" in err
        return [row["label"] for row in json.loads(out)["windows"]]

    assert labels() == ["x0", "x1", "x2"]
    code, _, err = run("run", bundle, tmp_path / "set", "--labels", "numbers")
    assert code == 2
    assert (
        "the folder 'c' is not a class of the network (0 to 2); rename or remove it, or choose another rule with" in err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cut.bin"], "cut.bin: byte 895: "),
        (
            ["outside.bin"],
            "outside.bin: event 3 is at column 64, row 7; the network takes 64x64; as in training, take",
        ),
        (
            ["outside.bin", "--window", "1s"],
            "outside.bin: event 3 is at column 64, row 7; the network takes 64x64; as in training, take",
        ),
        (["empty.bin"], "empty.bin is empty"),
        (["good.bin", "--hop", "1s"], "--hop 1s needs --window, which says how long"),
        (
            ["good.bin", "--window", "soon"],
            "--window 'soon' must be a time or a number of events",
        ),
        (["frames.npz", "--window", "1s"], "frames.npz has windows already; --window is for recordings only, so"),
        (["frames.npz", "--time-unit", "s"], "frames.npz has windows already; --time-unit is for recordings only, so"),
        (["half"], "half: the folder 'else' is not a class of the network"),
        (["nothing"], "nothing is a folder without data files; their suffixes are "),
        (["labelled.bin"], "labelled.bin: its label file names class 4; the network has the classes 1 to 3"),
        (["unlabelled.bin"], "unlabelled_labels.csv names no segment; correct it, or remove it"),
    ],
)
def test_what_cannot_be_classified_is_said(run, bundle, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    events = drawn(0, 180)
    good = write(tmp_path / "good.bin", events).read_bytes()
    Path("cut.bin").write_bytes(good[:-2])
    Path("empty.bin").write_bytes(b"")
    write(Path("outside.bin"), np.vstack([events[:3], [[5, 64, 7, 1]]]))
    np.savez("frames.npz", frames=counted(events))
    for name in ("0", "else"):
        write(Path("half") / name / "a.bin", events)
    Path("nothing").mkdir()
    for name, rows in (("labelled", "class,a,b\n4,0,9"), ("unlabelled", "class,a,b")):
        write(Path(f"{name}.bin"), events)
        Path(f"{name}_labels.csv").write_text(rows)
    code, out, err = run("run", bundle, *arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"error: {message}")
