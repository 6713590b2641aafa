"""The functions of Python: the same work as the commands, and results that print what the commands print."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tcja_deploy
from tcja_deploy import console
from tcja_deploy.cli.options import flagged
from tcja_deploy.export import models
from tcja_deploy.parity.verdict import Report
from tcja_runtime.bundle.bundle import PARITY, Bundle
from tcja_runtime.bundle.writing import write_manifest

from ... import networks

OWN = "network_of_python"
SOURCE = f"""{networks.OWN_LIF}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.lif1, self.lif2 = nn.Linear(32, 16), nn.Linear(16, 3), LIF(), LIF()

    def forward(self, x):
        return self.lif2(self.fc2(self.lif1(self.fc1(x.flatten(2)))))

def build():
    return Net()
"""
SHAPE, CLASSES = (4, 2, 4, 4), ["x", "y", "<i>z"]
FRAMES = np.random.default_rng(0).poisson(0.7, (9, *SHAPE)).astype(np.float32)
LABELS = np.arange(9) % 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """A folder with a user's network, its weights and its data; the network can be imported."""
    folder = tmp_path_factory.mktemp("own")
    (folder / f"{OWN}.py").write_text(SOURCE)
    np.savez(folder / "windows.npz", frames=FRAMES, labels=LABELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        torch.save(module().state_dict(), folder / "weights.pth")
        yield folder
        del sys.modules[OWN]


def module() -> nn.Module:
    """The network with its weights."""
    torch.manual_seed(0)
    made: nn.Module = importlib.import_module(OWN).build()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5 * 2)
    return made


@pytest.fixture(scope="module")
def exported(folder) -> tcja_deploy.ExportResult:
    """The module, with batches [T, N, ...] of a loader, in a folder whose name is markup."""
    batches = DataLoader(TensorDataset(torch.from_numpy(FRAMES), torch.from_numpy(LABELS)), batch_size=5)
    by_time = ((frames.transpose(0, 1), labels) for frames, labels in batches)
    (folder / "<b>").mkdir()
    out = folder / "<b>" / "a.bundle"
    net = module()
    result = tcja_deploy.export(net, data=by_time, out=out, layout="TN", classes=CLASSES, target="onnx")
    assert net.training
    assert all(torch.equal(mine, same) for mine, same in zip(net.parameters(), module().parameters(), strict=True))
    return result


@pytest.fixture(scope="module")
def changed(exported, tmp_path_factory) -> Path:
    """A copy of the bundle whose network is not the trained one, and which says it is."""
    copy = Path(shutil.copytree(exported.bundle, tmp_path_factory.mktemp("changed") / "a.bundle"))
    values = bytearray((copy / "weights.bin").read_bytes())
    weights = np.frombuffer(values, np.float32)
    weights[: len(weights) // 2] *= 1.5
    (copy / "weights.bin").write_bytes(values)
    write_manifest(copy, exported.manifest)
    return copy


def without_source(figures: Any) -> Any:
    """The figures of a comparison without the names of the data."""
    if isinstance(figures, dict):
        return {key: without_source(each) for key, each in figures.items() if key != "source"}
    return list(map(without_source, figures)) if isinstance(figures, list) else figures


def random_windows(found: Report) -> Report:
    """The same comparison, if its windows had been random."""
    return dataclasses.replace(found, real=False, classified_real=False)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """A terminal as wide as the texts of `print`."""
    monkeypatch.setattr(console.out, "_width", 80)


def printed(out: str) -> str:
    """What a person sees of the output of a command, without the spaces that fill its tables up, in words of Python."""
    seen = "\n".join(line.rstrip() for line in out.splitlines())
    return seen.replace("All details: --verbose", "All details: print(result.details)")


def nodes(bundle: Path) -> list[tuple[object, ...]]:
    graph = onnx.load(bundle / "model.onnx", load_external_data=False).graph
    return [(node.op_type, *node.input, *node.output) for node in graph.node]


def test_a_module_is_exported(exported, capfd):
    assert exported.parity.met
    assert exported.manifest == Bundle.open(exported.bundle).manifest
    assert exported.manifest.classes == CLASSES
    assert exported.parity.source == "given from Python"
    assert (exported.parity.real, exported.parity.windows) == (True, 9)
    assert exported.parity.backends[0].statistics.accuracy.labelled == 9
    assert exported.report.is_file()
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_command_gives_the_same_and_prints_it(exported, run, folder, tmp_path, monkeypatch):
    """From the checkpoint and a file, in Python and by the command, with the models and figures of the module."""
    monkeypatch.chdir(tmp_path)
    options = {"model": f"{OWN}:build", "layout": "TN", "classes": CLASSES, "target": "onnx"}
    result = tcja_deploy.export(str(folder / "weights.pth"), data=folder / "windows.npz", **options)
    assert result.bundle == Path("weights.bundle")
    assert (result.bundle / "weights.bin").read_bytes() == (exported.bundle / "weights.bin").read_bytes()
    assert nodes(result.bundle) == nodes(exported.bundle)
    mine, theirs = (json.loads((each.bundle / PARITY).read_text()) for each in (exported, result))
    assert without_source(mine) == without_source(theirs)
    shutil.rmtree("weights.bundle")
    words = [
        word for name, value in (options | {"classes": ",".join(CLASSES)}).items() for word in (f"--{name}", value)
    ]
    code, out, _ = run("export", folder / "weights.pth", "--data", folder / "windows.npz", *words)
    assert code == 0
    assert printed(out).splitlines() == flagged(str(result)).splitlines()
    hint = "For recordings, export with `split` number, or the rule of the training."
    assert hint in " ".join(str(result).split())
    cut = dataclasses.replace(result.manifest, input=result.manifest.input.cut_by("number"))
    assert "For recordings" not in str(dataclasses.replace(result, manifest=cut))


@pytest.mark.slow
def test_check_is_the_command(run, folder):
    options = ("--model", f"{OWN}:build", "--layout", "TN", "--data", folder / "windows.npz", "--target", "onnx")
    found = tcja_deploy.check(
        folder / "weights.pth", data=(FRAMES, LABELS), model=f"{OWN}:build", layout="TN", target="onnx"
    )
    assert printed(run("check", folder / "weights.pth", *options)[1]) == flagged(str(found))
    assert bool(found)
    assert [each.name for each in found.modules if each.becomes == "spiking layer, judged"] == ["lif1", "lif2"]
    assert found.to_dict()["accepted"] is True
    assert repr(found) == f"<CheckResult weights.pth: {found.verdict}>"
    assert "lif2" in found._repr_html_()


def test_a_check_that_refuses_is_a_result():
    refused = tcja_deploy.check(nn.Sequential(nn.Linear(32, 3)), shape=SHAPE, layout="TN", target="onnx")
    assert (refused.accepted, bool(refused)) == (False, False)
    assert repr(refused) == "<CheckResult Sequential: Sequential would not be exported, for 1 reason>"
    assert "has no known spiking neurons" in refused.refusals[0]
    assert "has no known spiking neurons" in refused._repr_html_()


def test_verify_is_the_command(exported, run):
    found = tcja_deploy.verify(exported.bundle, data=(FRAMES, LABELS))
    assert (found.met, bool(found), found.culprit, found.manifest) == (True, True, None, exported.manifest)
    assert found.parity.backends[0].statistics.compared == 9  # the digest of the data is that of the export
    assert found.cautions == found.parity.to_dict()["cautions"]
    found = tcja_deploy.verify(exported.bundle)
    assert printed(run("verify", exported.bundle)[1]) == str(found)
    assert printed(run("verify", exported.bundle, "--verbose")[1]) == flagged(found.details)
    assert len(found.details) > len(str(found))


def test_a_verification_that_fails_is_a_result(changed, run):
    found = tcja_deploy.verify(changed, bisect=True)
    assert (found.met, bool(found)) == (False, False)
    assert found.verdict.startswith("Parity not met: ")
    assert found.culprit.module
    assert printed(run("verify", changed, "--bisect")[1]) == str(found)
    assert f">{found.culprit.module}: " in found._repr_html_()


def test_bench_takes_one_or_several(exported):
    found = tcja_deploy.bench(exported.bundle, backends="onnxruntime", batches=[2], seconds=0.01, warm_up=0)
    assert [(case.backend, case.batch) for case in found.cases] == [("onnxruntime", 2)]
    assert found.to_dict() == json.loads(json.dumps(found.to_dict()))
    assert str(found).startswith("Net")
    assert "in ONNX Runtime" in found.verdict
    assert "batch 2" in found._repr_html_()


def test_build_is_refused_where_nothing_can_build(exported, monkeypatch):
    monkeypatch.setattr("tcja_runtime.tensorrt.build.installed", list)
    with pytest.raises(tcja_deploy.Unavailable, match="no TensorRT is installed for this Python"):
        tcja_deploy.build(exported.bundle, batch=4)


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.rtx
def test_build_adds_an_engine(exported, tmp_path):
    bundle = Path(shutil.copytree(exported.bundle, tmp_path / "a.bundle"))
    found = tcja_deploy.build(bundle, target="tensorrt-rtx", batch=(1, 2, 4))
    assert Bundle.open(bundle).manifest.engines[found.engine.name] == found.engine.info
    assert found.engine.info.batch == (1, 2, 4)
    assert repr(found) == f"<BuildResult {bundle}: Engine {found.engine.name} is built.>"
    assert f"Engine {found.engine.name}: " in str(found)
    assert "1:2:4" in found._repr_html_()
    again = tcja_deploy.build(bundle, target="tensorrt-rtx", batch="1:2:4")
    assert again.notes[0].startswith(f"it replaces the engine {found.engine.name}, which was built on ")


def test_a_repr_is_one_short_line(exported):
    assert repr(exported) == f"<ExportResult {exported.bundle}: Parity met: not one spike differs.>"


def test_a_notebook_shows_a_table_in_which_names_are_escaped(exported):
    shown = exported._repr_html_()
    assert shown.startswith("<table>")
    assert "Parity met: not one spike differs." in shown
    assert "&lt;b&gt;/a.bundle" in shown
    assert "<b>" not in shown
    assert "://" not in shown
    assert "9 windows (given from Python)" in shown
    assert "right in 3 of 9 windows" in shown
    cautions = tcja_deploy.ExportResult(exported.bundle, exported.manifest, random_windows(exported.parity), ())
    assert "No real data was used" in cautions._repr_html_()


def test_notes_are_kept(exported, capfd):
    found = tcja_deploy.verify(exported.bundle, data=(FRAMES, LABELS), samples=20)
    assert found.notes == ("`samples` is 20, but there are 9 windows; all 9 are used",)
    assert ">`samples` is 20, but there are 9 windows; all 9 are used</td>" in found._repr_html_()
    assert capfd.readouterr() == ("", "")
    tcja_deploy.verify(exported.bundle, progress=True)
    assert "check the hashes" in capfd.readouterr().err


@pytest.mark.slow
def test_values_that_no_other_data_has_are_noted(folder, tmp_path):
    found = tcja_deploy.export(
        module(), data=FRAMES - 1, out=tmp_path / "a.bundle", layout="TN", classes=CLASSES, target="onnx", anytime=0
    )
    said = f"the data has values from -1 to {FRAMES.max() - 1:g} although counts are not negative; the bundle takes"
    assert any(note.startswith(said) for note in found.notes), found.notes


@pytest.mark.slow
def test_a_network_that_is_not_the_trained_one_raises_with_its_figures(folder, tmp_path, monkeypatch):
    """As the models change while they are exported, none of them is the trained network."""
    monkeypatch.chdir(tmp_path)
    save = models.save

    def spoiled(exported: Any, where: Path, more: Any) -> None:
        save(exported, where, more)
        weights = np.fromfile(where / "weights.bin", np.float32)
        (weights * 1.5).tofile(where / "weights.bin")

    monkeypatch.setattr(models, "save", spoiled)
    with pytest.raises(tcja_deploy.ParityNotMet) as error:
        tcja_deploy.export(module(), shape=list(SHAPE), layout="TN", target="onnx")
    assert error.value.figures["met"] is False
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_cannot_be_exported_is_refused_in_words(tmp_path):
    with pytest.raises(
        tcja_deploy.BadInput, match="the weight fc1.weight of the network has no values .its device is meta.; load"
    ):
        tcja_deploy.export(module().to("meta"), shape=SHAPE, layout="TN", target="onnx", out=tmp_path / "a.bundle")
    refused = tcja_deploy.check(module().to("meta"), shape=SHAPE, layout="TN")
    assert "the weight fc1.weight of the network has no values" in str(refused)
    with pytest.raises(tcja_deploy.BadInput, match="the shape of the network's windows is not known; give `shape` or"):
        tcja_deploy.export(module(), layout="TN", target="onnx", out=tmp_path / "a.bundle")
    with pytest.raises(tcja_deploy.BadInput, match="`model` goes with a checkpoint, and a module is given in place of"):
        tcja_deploy.export(module(), model=module())


def test_options_are_in_the_help():
    for name in ("export", "check", "verify", "build", "bench"):
        function = getattr(tcja_deploy, name)
        for option in inspect.signature(function).parameters:
            assert f"`{option}`" in function.__doc__ or f"    {option}: " in function.__doc__, (name, option)


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        ((), "`classes` has no class names"),
        (("a", "a", "b"), "`classes` has the name 'a' twice; each class needs a different name"),
        (("a", " ", "b"), "`classes` has an empty name; each class needs a name"),
        (("a", "b\nc", "d"), r"`classes` has the name 'b\nc' with a line break; a name is one line"),
    ],
)
def test_class_names_are_checked_as_those_of_the_command(classes, problem):
    with pytest.raises(tcja_deploy.BadInput) as error:
        tcja_deploy.export(module(), shape=SHAPE, layout="TN", classes=classes)
    assert str(error.value) == problem
