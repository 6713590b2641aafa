"""README.md of a bundle: what a reader of YAML and one of Markdown, both other people's, read in it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tcja_deploy.cli import app
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.card import CardFile, card, code, plain
from tcja_runtime.bundle.manifest import Manifest, TimeForms
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.bundle.parity_summary import ParitySummary
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden
from tcja_runtime.neuron import NeuronSpec

from ... import networks
from ...sidecars import engine_info

STATISTICS = {"source": 'test set: "A"\n#1.npz', "right": 3, "labelled": 4}
PARITY = ParitySummary(
    reference="PyTorch 2.13.0, float64",
    source="test.npz",
    windows=4,
    accuracy=0.75,
    backends=[{"backend": "ONNX Runtime 1.32.0", "accuracy": 0.75, "statistics": STATISTICS}],
    verdict="Parity met: not one spike differs.",
    cautions=["1 of 2 spiking layers never fired."],
)
MANIFEST = Manifest(
    producer="tcja-deploy 0.1.0",
    created="2026-01-01T00:00:00+00:00",
    checkpoint={"name": "a.pth", "sha256": "c" * 64, "bytes": 1234},
    network="dvs128",
    dialect="spikingjelly",
    evidence=[],
    time_steps=20,
    parameters=7654321,
    input=InputContract.frames(20, 128, 128, sensor=(240, 180)),
    output="rates",
    output_shape=(2,),
    classes=["clap", "wave"],
    layers=[Layer(name="conv.1", shape=(2, 3), neuron=NeuronSpec.leaky(decay_input=True, tau=2.0))],
    taps=[],
    answer=None,
    weights=[],
    passes=[],
    time_form=TimeForms(form="scan", why="asked for", layers={}),
    precision="fp16",
    calibration={},
    targets=["onnx"],
    engines={"orin": engine_info()},
    parity=PARITY,
    tools={"python": "3.11.7"},
)
FILES = [CardFile("model.onnx", 12345, "d" * 64, "the canonical model")]
HOSTILE = [
    "a: b",
    'the "best"',
    "two\nlines",
    "- item",
    "+ item",
    "12. item",
    "3) item",
    "a heading #",
    "see https://a.b/c, www.a.b and me@a.b",
    "# no comment",
    "a | b",
    "`code`",
    "<script>alert(1)</script>",
    "[a](http://b)",
    "&amp; *stars* _under_ under_score $x$ ~~no~~",
    "back\\slash",
    "caf\u00e9 \u4e2d \U0001f600 \x85 \u2028 \x7f \ufeff",
    "half \udcff",
    "---",
    "",
]

_LINKED = re.compile(r"(?<!\\)://|www\.|(?<!\\)@")
"""What GitHub makes a link of in plain text (https://github.github.com/gfm/#autolinks-extension-)."""


def parts(text: str) -> tuple[str, str]:
    """The YAML of a card, and its Markdown."""
    _, metadata, body = text.split("---\n", 2)
    return metadata, body


def yaml(text: str) -> Any:
    return pytest.importorskip("ruamel.yaml").YAML(typ="safe", pure=True).load(io.StringIO(text))


def tokens(text: str) -> list[Token]:
    flat = MarkdownIt("commonmark").enable("table").parse(text)
    return [each for token in flat for each in (token, *(token.children or ()))]


def read(text: str) -> str:
    """What is read of Markdown: the text without its marks, table cells in lines of their own."""
    return "\n".join(token.content for token in tokens(text) if token.type in ("text", "code_inline", "fence"))


def one_line(text: str) -> str:
    """The text as a card shows it."""
    shown = text.replace("\udcff", "\\xff")
    return "".join(c if c.isprintable() else " " for c in shown).strip()


@pytest.mark.releases
def test_the_metadata_are_those_of_the_hub():
    metadata = yaml(parts(card(MANIFEST, FILES))[0])
    assert metadata == {
        "library_name": "tcja-deploy",
        "pipeline_tag": "video-classification",
        "tags": ["onnx", "tensorrt", "spiking-neural-network", "neuromorphic", "event-camera"],
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": "dvs128",
                "results": [
                    {
                        "task": {"type": "video-classification"},
                        "dataset": {"type": "test-set-A-1.npz", "name": 'test set: "A"\n#1.npz'},
                        "metrics": [
                            {
                                "type": "accuracy",
                                "value": 0.75,
                                "name": "Accuracy of the exported network in ONNX Runtime 1.32.0",
                            }
                        ],
                    }
                ],
            }
        ],
    }


@pytest.mark.releases
@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_in_yaml_stays_that_name(text):
    statistics = {**STATISTICS, "source": text}
    parity = dataclasses.replace(PARITY, backends=[{"backend": text, "statistics": statistics}])
    metadata = yaml(parts(card(dataclasses.replace(MANIFEST, network=text, parity=parity), FILES))[0])
    (index,) = metadata["model-index"]
    (result,) = index["results"]
    stored = text.replace("\udcff", "\\xff")
    assert index["name"] == stored
    assert result["dataset"]["name"] == (stored or "data")
    assert result["metrics"][0]["name"] == f"Accuracy of the exported network in {stored}"
    assert re.fullmatch(r"[0-9A-Za-z._-]+", result["dataset"]["type"])


def test_without_labels_no_accuracy_is_claimed():
    unknown = {"backend": "ONNX Runtime", "statistics": {"source": "x", "right": 0, "labelled": 0}, "accuracy": None}
    parity = dataclasses.replace(PARITY, accuracy=None, backends=[unknown])
    text = card(dataclasses.replace(MANIFEST, parity=parity), FILES)
    assert not re.search("(?i)accuracy|model-index|%", text)
    assert "accuracy" in card(MANIFEST, FILES)


@pytest.mark.parametrize(
    ("contract", "classes", "task", "program"),
    [
        (InputContract.images(1, 28, 28), ["a"], "image-classification", "net(images)  # float32 [N, 1, 28, 28]:"),
        (InputContract.frames(4, 8, 8), ["a"], "video-classification", "net(frames)  # float32 [N, 4, 2, 8, 8]:"),
        (InputContract.frames(4, 8, 8), [], None, "net.outputs(frames)"),
        (InputContract.latents(16, 20), [], "unconditional-image-generation", "net.outputs(latents)  # float32 [N, 16"),
    ],
)
def test_what_the_network_takes_decides_its_task_and_program(contract, classes, task, program):
    metadata, body = parts(card(dataclasses.replace(MANIFEST, input=contract, classes=classes), FILES))
    assert (f'pipeline_tag: "{task}"' in metadata) == (task is not None)
    assert ("pipeline_tag" in metadata) == (task is not None)
    python, shell = (token for token in tokens(body) if token.type == "fence")
    assert (python.info, shell.info) == ("python", "sh")
    compile(python.content, "card", "exec")
    assert program in python.content
    taken = [] if not classes else [f"tcja-deploy run . {'RECORDING' if contract.split else 'DATA.npz'}"]
    assert shell.content.splitlines() == [*taken, "tcja-deploy verify ."]


def test_the_contract_the_comparison_and_the_files_are_told():
    said = read(parts(card(MANIFEST, FILES))[1])
    for line in (
        "input\nframes\n, float32 [N, 20, 2, 128, 128], axes N, T, P, H, W",
        "recordings are cut by\nnumber",
        "polarities\nP = 0: off, P = 1: on",
        "frames are resized\nfrom 240 x 180, bilinear",
        "classes\n0 clap, 1 wave",
        "Parity met: not one spike differs.",
        "1 of 2 spiking layers never fired.",
        "PyTorch 2.13.0, float64\n75.00 %",
        "ONNX Runtime 1.32.0\n75.00 % (3 of 4 windows)",
        "model.onnx\n12,345\nthe canonical model",
        f"model.onnx\n{'d' * 64}",
        "a.pth\n, 1,234 bytes",
        "7,654,321 parameters",
    ):
        assert line in said
    nameless = read(parts(card(dataclasses.replace(MANIFEST, classes=["0", "1"]), FILES))[1])
    assert "classes\n0, 1" in nameless


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_in_markdown_is_read_as_it_is(text):
    classes = [text, "last"]
    parity = dataclasses.replace(PARITY, verdict=f"verdict {text}", cautions=[f"caution {text}"], source=text)
    changed = dataclasses.replace(
        MANIFEST, classes=classes, parity=parity, checkpoint={**MANIFEST.checkpoint, "name": text}
    )
    body = parts(card(changed, FILES))[1]
    kinds = {token.type for token in tokens(body)}
    assert not kinds & {"link_open", "image", "html_inline", "html_block", "em_open", "hr", "s_open"}
    kinds = {token.type for token in tokens(plain(text))}
    assert kinds <= {"paragraph_open", "paragraph_close", "inline", "text"}
    said = read(body)
    assert f"classes\n0 {one_line(text)}, 1 last" in said
    for word in ("verdict", "caution"):
        assert f"\n{word} {one_line(text)}".rstrip() in said
    assert read(code(text)) == one_line(text)
    assert read(plain(text)) == one_line(text)
    assert not _LINKED.search(plain(text))


def test_a_bundle_has_a_card_that_its_manifest_lists(tmp_path):
    for name in ("model.onnx", "model.plain.onnx", "weights.bin", "golden.npz"):
        (tmp_path / name).write_bytes(b"0123456789")
    place = tmp_path / "engines" / "orin"
    place.mkdir(parents=True)
    (place / "model.engine").write_bytes(b"native")
    write_manifest(tmp_path, MANIFEST)
    written = (tmp_path / "README.md").read_bytes()
    assert Bundle.open(tmp_path).files["README.md"] == {
        "sha256": hashlib.sha256(written).hexdigest(),
        "bytes": len(written),
    }
    said = read(parts(written.decode())[1])
    assert "engines/orin/model.engine\n6\na TensorRT engine for orin-sm87, fp16" in said
    assert f"golden.npz\n{hashlib.sha256(b'0123456789').hexdigest()}" in said
    (place / "model.engine").unlink()
    write_manifest(tmp_path, dataclasses.replace(MANIFEST, engines={}))
    assert "model.engine" not in (tmp_path / "README.md").read_text()


def test_a_bundle_can_be_kept_on_the_hub(tmp_path):
    for name in ("model.onnx", "model.plain.onnx", "weights.bin", "golden.npz"):
        (tmp_path / name).write_bytes(b"0123456789")
    write_manifest(tmp_path, MANIFEST)
    (tmp_path / ".gitattributes").write_text("*.bin filter=lfs")
    for folder in (".git", ".cache"):
        (tmp_path / folder / "huggingface").mkdir(parents=True)
        (tmp_path / folder / "huggingface" / "x").write_text("x")
    assert not [name for name in Bundle.open(tmp_path).files if name.startswith(".")]
    write_manifest(tmp_path, MANIFEST)
    assert not [name for name in Bundle.open(tmp_path).files if name.startswith(".")]
    (tmp_path / ".github").mkdir()
    (tmp_path / ".github" / "x").write_text("x")
    with pytest.raises(BadInput, match="x is not in the manifest: it was added later"):
        Bundle.open(tmp_path)


def run_program(bundle: Path, monkeypatch) -> tuple[dict[str, Any], golden.Golden]:
    """Run the program of a card in the folder of its bundle on the golden windows; its variables, and the vectors."""
    monkeypatch.chdir(bundle)
    manifest = Bundle.open(bundle).manifest
    vectors = golden.load(bundle / "golden.npz", manifest.input)
    python, _ = (token for token in tokens(parts((bundle / "README.md").read_text())[1]) if token.type == "fence")
    found: dict[str, Any] = {manifest.input.name: vectors.samples.inputs}
    exec(python.content, found)
    found["net"].close()
    return found, vectors


@pytest.mark.slow
def test_the_program_of_a_card_runs_in_the_folder_of_the_bundle(bundle, monkeypatch):
    found, vectors = run_program(bundle, monkeypatch)
    classes = Bundle.open(bundle).manifest.classes
    expected = vectors.predictions.likeliest[: len(vectors.samples), 0]
    assert found["predictions"].classes == [classes[at] for at in expected]


@pytest.mark.slow
def test_the_program_of_a_generator_makes_images(tmp_path, monkeypatch, capsys):
    small, out = networks.REGISTRY["fsvae"], tmp_path / "a.bundle"
    checkpoint = small.checkpoint(tmp_path / "model.pth")
    pipeline.export(ExportRequest(checkpoint=checkpoint, out=out, target="onnx", samples=2))
    found, vectors = run_program(out, monkeypatch)
    with torch.no_grad():
        expected = small.module()(torch.from_numpy(vectors.samples.inputs)).numpy()
    np.testing.assert_allclose(found["outputs"], expected, rtol=0, atol=1e-5)
    assert app.run(["verify", "."]) == 0
    assert "deploy run" not in capsys.readouterr().out
