import argparse
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from tcja_exporters import checkpoint
from tcja_runtime.errors import BadInput

STATE = {"a.weight": torch.arange(3.0), "a.num_batches_tracked": torch.tensor(1)}


class RunsCode:
    """What an attacker's pickle does: loading it calls a function."""

    def __reduce__(self):
        return os.mkdir, (RunsCode.target,)

    target = ""


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("wrapper", ["net", "model", "state_dict", "model_state_dict", None])
def test_weights_are_found(tmp_path, wrapper):
    content = {wrapper: STATE, "optimizer": {"lr": 0.1}, "epoch": 3, "max_test_acc": 0.5} if wrapper else STATE
    path = save(tmp_path / "a.pth", content)
    loaded = checkpoint.load(path)
    assert loaded.wrapper == wrapper
    assert list(loaded.state) == list(STATE)
    assert torch.equal(loaded.state["a.weight"], STATE["a.weight"])
    assert loaded.bytes == path.stat().st_size
    assert len(loaded.sha256) == 64


def test_old_files_load(tmp_path):
    torch.save({"net": STATE}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert list(checkpoint.load(tmp_path / "old.pth").state) == list(STATE)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    RunsCode.target = str(tmp_path / "was run")
    path = save(tmp_path / "bad.pth", {"net": STATE, "extra": RunsCode()})
    with pytest.raises(BadInput, match=r"would call posix.mkdir, which can run code; .*--trust-checkpoint"):
        checkpoint.load(path)
    assert not (tmp_path / "was run").exists()
    checkpoint.load(path, trusted=True)
    assert (tmp_path / "was run").exists()


def test_objects_beside_the_weights_are_refused_unless_trusted(tmp_path):
    path = save(tmp_path / "a.pth", {"net": STATE, "args": argparse.Namespace(T=4)})
    with pytest.raises(BadInput, match=r"would call argparse.Namespace"):
        checkpoint.load(path)
    assert list(checkpoint.load(path, trusted=True).state) == list(STATE)


def test_a_whole_module_loads_when_trusted(tmp_path):
    path = save(tmp_path / "a.pth", {"net": nn.Linear(2, 2)})
    with pytest.raises(BadInput, match="which can run code"):
        checkpoint.load(path)
    assert list(checkpoint.load(path, trusted=True).state) == ["weight", "bias"]
    assert list(checkpoint.load(save(tmp_path / "b.pth", nn.Linear(2, 2)), trusted=True).state) == ["weight", "bias"]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, fraction):
    content = save(tmp_path / "a.pth", {"net": {"w": torch.zeros(1000)}}).read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(BadInput, match="truncated or damaged; copy it again"):
        checkpoint.load(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "content",
    [
        b"hello world, no checkpoint",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        pickle.dumps({"a": RunsCode}, 2),
        b"{}",
        b"\0" * 64,
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.pth (is not a checkpoint|is truncated|holds)"):
        checkpoint.load(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not weights"),
        ({}, "holds a dict, not weights"),
        ({"epoch": 3, "w": torch.zeros(1)}, "its entry 'epoch' is a int, not a tensor"),
        ({"net": {**STATE, "extra": 3}}, "its entry 'extra' is a int"),
        (torch.zeros(3), "holds a Tensor, not weights"),
    ],
)
def test_content_that_is_no_state_dict_is_refused(tmp_path, content, message):
    with pytest.raises(BadInput, match=message):
        checkpoint.load(save(tmp_path / "a.pth", content))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    bad = torch.tensor([0.0, value, value])
    with pytest.raises(BadInput, match="b.weight holds 2 values that are NaN or infinite"):
        checkpoint.load(save(tmp_path / "a.pth", {**STATE, "b.weight": bad}))


def test_negative_variances_are_refused(tmp_path):
    with pytest.raises(BadInput, match="b.running_var holds negative variances"):
        checkpoint.load(save(tmp_path / "a.pth", {**STATE, "b.running_var": torch.tensor([1.0, -1.0])}))


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(BadInput, match="none.pth does not exist"):
        checkpoint.load(tmp_path / "none.pth")
    with pytest.raises(BadInput, match="is not a file"):
        checkpoint.load(tmp_path)
