import argparse
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_runtime.errors import BadInput

from .hostile import RunsCode

STATE = {"a.weight": torch.arange(3.0), "a.num_batches_tracked": torch.tensor(1)}


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("wrapper", ["net", "model", "state_dict", "model_state_dict", None])
def test_weights_are_found(tmp_path, wrapper):
    content = {wrapper: STATE, "optimizer": {"lr": 0.1}, "epoch": 3, "max_test_acc": 0.5} if wrapper else STATE
    path = save(tmp_path / "a.pth", content)
    loaded = load_checkpoint(path)
    assert loaded.wrapper == wrapper
    assert list(loaded.state) == list(STATE)
    assert torch.equal(loaded.state["a.weight"], STATE["a.weight"])
    assert loaded.bytes == path.stat().st_size
    assert len(loaded.sha256) == 64


def test_old_files_load(tmp_path):
    torch.save({"net": STATE}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert list(load_checkpoint(tmp_path / "old.pth").state) == list(STATE)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    RunsCode.target = str(tmp_path / "was run")
    path = save(tmp_path / "bad.pth", {"net": STATE, "extra": RunsCode()})
    with pytest.raises(BadInput, match=r"would call posix.mkdir, which can run code; .*`trust_checkpoint`"):
        load_checkpoint(path)
    assert not (tmp_path / "was run").exists()
    load_checkpoint(path, trust_checkpoint=True)
    assert (tmp_path / "was run").exists()


def test_objects_beside_the_weights_are_refused_unless_trusted(tmp_path):
    path = save(tmp_path / "a.pth", {"net": STATE, "args": argparse.Namespace(T=4)})
    with pytest.raises(BadInput, match=r"would call argparse.Namespace"):
        load_checkpoint(path)
    assert list(load_checkpoint(path, trust_checkpoint=True).state) == list(STATE)


def test_a_whole_module_loads_when_trusted(tmp_path):
    path = save(tmp_path / "a.pth", {"net": nn.Linear(2, 2)})
    with pytest.raises(BadInput, match="which can run code"):
        load_checkpoint(path)
    assert list(load_checkpoint(path, trust_checkpoint=True).state) == ["weight", "bias"]
    assert list(load_checkpoint(save(tmp_path / "b.pth", nn.Linear(2, 2)), trust_checkpoint=True).state) == [
        "weight",
        "bias",
    ]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, fraction):
    content = save(tmp_path / "a.pth", {"net": {"w": torch.zeros(1000)}}).read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(BadInput, match="truncated or damaged; copy it again"):
        load_checkpoint(tmp_path / "a.pth")


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
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not weights"),
        ({}, "holds no weights: it is empty"),
        ({"epoch": 3, "w": torch.zeros(1)}, "its entry 'epoch' is a int, not a tensor"),
        ({"net": {**STATE, "extra": 3}}, "its entry 'extra' is a int"),
        (torch.zeros(3), "holds a Tensor, not weights"),
    ],
)
def test_content_that_is_no_state_dict_is_refused(tmp_path, content, message):
    with pytest.raises(BadInput, match=message):
        load_checkpoint(save(tmp_path / "a.pth", content))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    bad = torch.tensor([0.0, value, value])
    with pytest.raises(BadInput, match="b.weight holds 2 values that are NaN, infinite or too large for float32"):
        load_checkpoint(save(tmp_path / "a.pth", {**STATE, "b.weight": bad}))


def test_weights_beyond_float32_are_refused(tmp_path):
    bad = torch.tensor([1.0, 1e300], dtype=torch.float64)
    with pytest.raises(BadInput, match="b.weight holds 1 values that are NaN, infinite or too large for float32"):
        load_checkpoint(save(tmp_path / "a.pth", {**STATE, "b.weight": bad}))


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.ones(2, dtype=torch.complex64), "complex64"),
        (torch.eye(2).to_sparse(), "sparse_coo"),
        (torch.ones(2, device="meta"), "no values"),
    ],
)
def test_tensors_of_other_kinds_are_refused(tmp_path, tensor, kind):
    with pytest.raises(BadInput, match=rf"b.weight is no tensor of real numbers \({kind}\)"):
        load_checkpoint(save(tmp_path / "a.pth", {**STATE, "b.weight": tensor}))


def test_a_checkpoint_in_itself_is_refused(tmp_path):
    content: dict[str, object] = {}
    content["net"] = content
    with pytest.raises(BadInput, match="its entry 'net' is a dict, not a tensor"):
        load_checkpoint(save(tmp_path / "a.pth", content))


def test_a_changed_byte_is_noticed(tmp_path):
    path = save(tmp_path / "a.pth", {**STATE, "b.weight": torch.full((4096,), 0.5)})
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((64,), 0.5).numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"a.pth is damaged: the checksum of \S+data/\d+ is wrong; copy it again"):
        load_checkpoint(path)


def test_eight_bit_floats_are_taken(tmp_path):
    weight = torch.tensor([0.5, -2.0]).to(torch.float8_e4m3fn)
    assert load_checkpoint(save(tmp_path / "a.pth", {**STATE, "b.weight": weight})).state["b.weight"].float()[1] == -2


@pytest.mark.parametrize(
    ("content", "wrapper"),
    [
        ({"model": {"state_dict": STATE}}, "model.state_dict"),
        ({"net": {"lr": 0.1}, "state_dict": STATE}, "state_dict"),
    ],
)
def test_weights_are_found_where_they_are(tmp_path, content, wrapper):
    loaded = load_checkpoint(save(tmp_path / "a.pth", content))
    assert (loaded.wrapper, set(loaded.state)) == (wrapper, set(STATE))


def test_other_archives_are_no_checkpoints(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, but such files are about
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "b.pt")
    for name in ("a.npz", "b.pt"):
        with pytest.raises(BadInput, match=f"{name} is not a checkpoint"):
            load_checkpoint(tmp_path / name)


def test_negative_variances_are_refused(tmp_path):
    with pytest.raises(BadInput, match="b.running_var holds negative variances"):
        load_checkpoint(save(tmp_path / "a.pth", {**STATE, "b.running_var": torch.tensor([1.0, -1.0])}))


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(BadInput, match="none.pth does not exist"):
        load_checkpoint(tmp_path / "none.pth")
    with pytest.raises(BadInput, match="is not a file"):
        load_checkpoint(tmp_path)
