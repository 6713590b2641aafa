"""`run`: classes of files, against what PyTorch says of them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_deploy.run import classify
from tcja_runtime.backends import select
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.agreement import wilson
from tcja_runtime.network import classified

from ... import networks
from ...described import described


@pytest.fixture
def name() -> str:
    """One network is enough, but for the first test."""
    return "fashion_mnist"


def scores(name: str) -> torch.Tensor:
    """What PyTorch says of the data [12, classes]."""
    with torch.no_grad():
        return networks.SMALL[name].module()(networks.SMALL[name].inputs(12, seed=7))


@pytest.mark.parametrize("name", list(networks.SMALL))
def test_classes_are_the_trained_network_s(run, bundle, name, data):
    code, out, err = run("run", bundle, data[name], "--json")
    assert code == 0
    assert "classify in ONNX Runtime" in err
    found = json.loads(out)
    expected, classes = scores(name), Bundle.open(bundle).manifest.classes
    for at, (row, row_scores) in enumerate(zip(found["windows"], expected, strict=True)):
        assert (row["file"], row["window"]) == (str(data[name]), at)
        best = torch.sort(row_scores, descending=True).values[:2].tolist()
        assert [each["score"] for each in row["top"]] == pytest.approx(best, abs=1e-5)
        for each in row["top"]:
            assert each["score"] == pytest.approx(float(row_scores[classes.index(each["class"])]), abs=1e-5)
    assert found["labelled"] == 12
    assert found["accuracy"] == pytest.approx(10 / 12)
    assert found["accuracy_interval"] == list(wilson(10, 12))


@pytest.fixture
def one(bundle, data, name):
    """A bundle, and data for it."""
    return bundle, data[name]


def test_a_table(run, one):
    code, out, _ = run("run", *one, "--backend", "onnxruntime")
    said = " ".join(out.replace("\N{NO-BREAK SPACE}", " ").split())
    assert code == 0
    assert "12 windows classified by fashion_mnist in ONNX Runtime" in said
    assert "Classes, and their scores: the output 'rates'" in said
    assert "label class score runner-up score" in said
    assert "Accuracy: 10 of 12 windows with a label (55.20 % to 95.30 % with 95 % confidence);" in said


def test_a_long_table_is_cut_off(run, one, monkeypatch):
    monkeypatch.setattr("tcja_deploy.texts.run._LISTED", 5)
    out = run("run", *one)[1]
    table, more, _ = out.partition("7 windows more; --csv and --json print all.")
    assert more
    assert table.rstrip().splitlines()[-1].split()[:2] == ["fashion_mnist.npz", "4"]
    assert out.count("fashion_mnist.npz ") == 5  # and is not folded


def test_files_of_the_same_name_are_told_apart(run, one, tmp_path, monkeypatch):
    bundle, file = one
    for folder in "ab":
        (tmp_path / folder).mkdir()
        shutil.copy(file, tmp_path / folder / "x.npz")
    monkeypatch.chdir(tmp_path)
    out = run("run", bundle, "a", "b", "--verbose")[1]
    assert (out.count("a/x.npz"), out.count("b/x.npz")) == (12, 12)


def test_csv(run, one):
    bundle, file = one
    code, out, _ = run("run", bundle, file, "--csv", "--top", "3")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 12
    assert list(rows[0]) == [
        *("file", "window", "label", "class_1", "score_1", "class_2", "score_2", "class_3", "score_3"),
        *("begin", "end", "events", "whole"),  # of recordings
    ]
    found = json.loads(run("run", bundle, file, "--json", "--top", "3")[1])["windows"]
    assert [row["class_3"] for row in rows] == [row["top"][2]["class"] for row in found]
    assert [float(row["score_1"]) for row in rows] == pytest.approx([row["top"][0]["score"] for row in found])
    assert [row["label"] for row in rows] == [row["label"] for row in found]


def test_a_name_with_a_comma_stays_one_cell(run, one, tmp_path):
    bundle, file = one
    shutil.copy(file, tmp_path / 'a, "b".npz')
    (row, *_) = csv.DictReader(io.StringIO(run("run", bundle, tmp_path / 'a, "b".npz', "--csv")[1]))
    assert row["file"] == str(tmp_path / 'a, "b".npz')


def test_what_was_found_is_said_before_it_is_drawn(run, one, tmp_path, monkeypatch):
    def refused(*_):
        raise BadInput("no page today")

    monkeypatch.setattr("tcja_deploy.report.picture.page", refused)
    code, out, err = run("run", *one, "--json", "--picture", tmp_path / "a.html")
    assert (code, err.splitlines()[-1]) == (2, "error: no page today")
    assert len(json.loads(out)["windows"]) == 12


def test_more_classes_than_there_are(run, one):
    bundle, file = one
    classes = Bundle.open(bundle).manifest.classes
    found = json.loads(run("run", bundle, file, "--json", "--top", "1000")[1])
    assert {each["class"] for each in found["windows"][0]["top"]} == set(classes)
    assert len(json.loads(run("run", bundle, file, "--json", "--top", "1")[1])["windows"][0]["top"]) == 1


def test_files_and_folders_are_read_a_batch_at_a_time(run, one, tmp_path, monkeypatch):
    """Seven windows in three files, two of them in a folder, three windows at a time: none is lost or changed."""
    bundle, file = one
    with np.load(file) as archive:
        images, labels = archive["images"], archive["labels"]
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "folder" / "b.npz", images=images[2:6])
    np.savez(tmp_path / "folder" / "a.npz", images=images[:2])
    np.savez(tmp_path / "c.npz", images=images[6:7], labels=labels[6:7])
    monkeypatch.setattr(classified, "batch_size", lambda *_: 3)
    found = json.loads(run("run", bundle, tmp_path / "folder", tmp_path / "c.npz", "--json")[1])
    whole = json.loads(run("run", bundle, file, "--json")[1])
    assert [row["top"] for row in found["windows"]] == [row["top"] for row in whole["windows"][:7]]
    places = [(row["file"].rpartition("/")[2], row["window"]) for row in found["windows"]]
    assert places == [("a.npz", 0), ("a.npz", 1), *(("b.npz", at) for at in range(4)), ("c.npz", 0)]
    assert (found["labelled"], found["accuracy"]) == (1, 1.0)
    assert [row["label"] is None for row in found["windows"]] == [True] * 6 + [False]


@pytest.mark.parametrize("pictured", [0, 3, 7, 40])
def test_the_first_windows_are_kept_for_a_picture(one, monkeypatch, pictured):
    bundle, file = one
    monkeypatch.setattr(classified, "batch_size", lambda *_: 5)
    with np.load(file) as archive:
        images = archive["images"]
    kept = classify.classify(classify.opened_bundle(bundle), [file], classify.RunOptions(pictured=pictured)).pictured
    np.testing.assert_array_equal(kept, images[:pictured])


def test_engines_that_are_not_run_are_named(run, one, monkeypatch):
    opened = select.opened

    def passing_over(*arguments, **options):
        return dataclasses.replace(opened(*arguments, **options), not_run=["engine old was built with another"])

    monkeypatch.setattr(classify, "opened", passing_over)
    code, out, err = run("run", *one, "--json")
    assert code == 0
    assert json.loads(out)["accuracy"]
    assert "engine old was built with another" in err.splitlines()


def test_without_labels_there_is_no_accuracy(run, one, tmp_path):
    bundle, file = one
    with np.load(file) as archive:
        np.savez(tmp_path / "a.npz", images=archive["images"])
    assert "Accuracy" not in run("run", bundle, tmp_path / "a.npz")[1]
    found = json.loads(run("run", bundle, tmp_path / "a.npz", "--json")[1])
    assert (found["accuracy"], found["accuracy_interval"], found["labelled"]) == (None, None, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.npz"], "nowhere.npz does not exist"),
        (["events.bin"], "events.bin is a recording of events; the network takes pictures (PNG, JPEG), or an .npz"),
        (["other.npz"], "other.npz has no array 'images' (it has: t, x, y, p)"),
        (["nan.npz"], "nan.npz: 'images' has values that are NaN"),
        (["other.npz", "--csv", "--json"], "--csv and --json both ask for stdout; give one of them"),
        (["other.npz", "--top", "0"], "Invalid value for '--top'"),
        ([], "Missing argument 'FILE...'"),
    ],
)
def test_what_cannot_be_classified_is_said(run, one, tmp_path, monkeypatch, arguments, message):
    bundle, file = one
    with np.load(file) as archive:
        np.savez(tmp_path / "nan.npz", images=archive["images"] * np.float32("nan"))
    np.savez(tmp_path / "other.npz", **{name: np.zeros(3) for name in "txyp"})
    (tmp_path / "events.bin").write_bytes(bytes(50))  # the network takes images
    monkeypatch.chdir(tmp_path)
    code, out, err = run("run", bundle, *arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"error: {message}")


def test_a_network_without_classes(run, one):
    bundle, file = one
    described(bundle, classes=[])
    code, _, err = run("run", bundle, file)
    assert code == 2
    assert f"error: {bundle}: the network has no classes, so it cannot classify" in err.splitlines()[-1]


def test_scores_that_are_no_numbers_are_refused(run, bundle, data, name, monkeypatch):
    opened = select.opened

    class Broken:
        inputs = ("images",)

        def run(self, feeds):
            return {"rates": np.full((len(feeds["images"]), 10), np.nan, np.float32)}

    monkeypatch.setattr(classify, "opened", lambda *a, **o: dataclasses.replace(opened(*a, **o), session=Broken()))
    code, out, err = run("run", bundle, data[name], "--json")
    assert (code, out) == (2, "")
    assert "returns scores that are NaN or infinite: run 'tcja-deploy verify" in err.splitlines()[-1]


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Two pictures in folders of classes, as large as the network's images, and one that is larger."""
    image = pytest.importorskip("PIL.Image")
    values = np.random.default_rng(3).integers(0, 256, (3, 40, 30)).astype(np.uint8)
    for name, each in (("Bag/a.png", values[0, :SIZE, :SIZE]), ("Coat/b.png", values[1, :SIZE, :SIZE])):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(each).save(tmp_path / "pictures" / name)
    image.fromarray(values[2]).save(tmp_path / "large.png")
    np.savez(tmp_path / "same.npz", images=values[:2, None, :SIZE, :SIZE])
    return tmp_path / "pictures"


SIZE = networks.SMALL["fashion_mnist"].network.contract(networks.SMALL["fashion_mnist"].sizes).shape[-1]


def test_pictures_are_classified_as_their_values_are(run, bundle, pictures, tmp_path):
    code, out, err = run("run", bundle, pictures, "--json")
    assert code == 0, err
    found, same = json.loads(out), json.loads(run("run", bundle, tmp_path / "same.npz", "--json")[1])
    assert [row["top"] for row in found["windows"]] == [row["top"] for row in same["windows"]]
    assert [row["label"] for row in found["windows"]] == ["bag", "coat"]
    code, _, err = run("run", bundle, tmp_path / "large.png")
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line.endswith(f"take a part with --crop X,Y,{SIZE},{SIZE}, or resize it with --resize")
    assert run("run", bundle, tmp_path / "large.png", "--resize", "bilinear")[0] == 0
