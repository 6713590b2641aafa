"""Files that people give as checkpoints: each is named, with what to do."""

import gzip
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch

from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_runtime.errors import BadInput

SAVE = r"; save the weights from Python with torch\.save\(net\.state_dict\(\), 'weights\.pth'\) and pass that file$"
WEIGHTS = {"a.weight": torch.ones(2, 2)}


def zipped(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layer/kernel"] = np.ones(3)


def onnx_model(path: Path) -> None:
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), path)


def torchscript(path: Path) -> None:
    zipped(path, "net/data.pkl", "net/constants.pkl", "net/code/__torch__.py")


def cut(path: Path) -> None:
    torch.save(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-30])


FILES = {
    "is empty; copy it again": lambda path: path.write_bytes(b""),
    "is an HDF5 file, as Keras and others write" + SAVE: hdf5,
    "is a model of Keras" + SAVE: lambda path: zipped(path, "config.json", "metadata.json", "model.weights.h5"),
    "is an ONNX model; export starts from the PyTorch checkpoint": onnx_model,
    r"is a TorchScript archive \(torch.jit.save\), which holds code; save its weights": torchscript,
    "is a program of torch.export, which": lambda path: zipped(path, "m/archive_format", "m/models/model.json"),
    "is a Git LFS pointer, not the file itself; run 'git lfs pull'": lambda path: path.write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    ),
    "is a web page, not the file that its link names; download": lambda path: path.write_text("\n<!DOCTYPE html><p>"),
    r"is a file of numpy arrays \(.npz\)" + SAVE: lambda path: np.savez(path.open("wb"), a=np.ones(3)),
    r"is an array of numpy \(.npy\)" + SAVE: lambda path: np.save(path.open("wb"), np.ones(3)),
    "is an archive that holds best.pth; extract it": lambda path: zipped(path, "readme.txt", "best.pth"),
    "is a zip archive that torch.save did not write": lambda path: zipped(path, "readme.txt"),
    "is compressed with gzip; decompress it": lambda path: path.write_bytes(gzip.compress(b"content")),
    "is a text that begins 'hello world', not a checkpoint": lambda path: path.write_text("hello\nworld"),
    "is truncated or damaged; copy it again": cut,
    "is a TensorRT engine, which holds no weights to export": lambda path: path.write_bytes(b"ptrt" + bytes(60)),
}


@pytest.mark.parametrize(
    ("name", "then"), [("a.pth", "to describe a model, name it .onnx"), ("a.onnx", "tcja-deploy inspect describes it")]
)
def test_a_model_that_is_named_onnx_is_not_told_to_be(tmp_path, name, then):
    onnx_model(tmp_path / name)
    with pytest.raises(BadInput, match=f"is an ONNX model; export starts from the PyTorch checkpoint; {then}$"):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize("message", FILES)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_file_of_another_kind_is_named(tmp_path, message):
    FILES[message](tmp_path / "a.pth")
    with pytest.raises(BadInput, match=rf"a\.pth {message}") as caught:
        load_checkpoint(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["manifest.json", "model.onnx"], "is a bundle, which is already exported"),
        ([".metadata", "__0_0.distcp"], "is a distributed checkpoint; join it with python -m torch.distributed"),
        (["zero_to_fp32.py", "latest"], "is a checkpoint of DeepSpeed; join it with python .*/zero_to_fp32.py"),
        (["data.pkl", "version"], "is a checkpoint whose archive was extracted"),
        (["config.json", "model.safetensors", "best.pth"], "pass one of the files in it: best.pth, model.safetensors$"),
        ([], "is not a file; pass the checkpoint that training saved"),
    ],
)
def test_a_folder_is_named(tmp_path, names, message):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(BadInput, match=message):
        load_checkpoint(tmp_path)


def test_torchs_own_files_are_named(tmp_path):
    """Archives as this version of torch writes them, not as written above."""
    program = torch.export.export(torch.nn.Linear(1, 1), (torch.ones(1, 1),))
    torch.export.save(program, tmp_path / "a.pt2")
    with pytest.raises(BadInput, match="is a program of torch.export"):
        load_checkpoint(tmp_path / "a.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, but such files are about
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "b.pt")
    for trust in (False, True):
        with pytest.raises(BadInput, match="is a TorchScript archive"):
            load_checkpoint(tmp_path / "b.pt", trust_checkpoint=trust)
