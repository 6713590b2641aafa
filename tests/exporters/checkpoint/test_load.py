import argparse
import datetime
import hashlib
import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from tcja_exporters.checkpoint.load import check_values, load_checkpoint
from tcja_runtime.errors import BadInput, Unavailable

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
    assert loaded.sets[0].key == (wrapper or "")
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


def test_the_bytes_that_are_loaded_are_those_of_the_hash(tmp_path, monkeypatch):
    """Another program writes the file while it is read."""
    path = save(tmp_path / "a.pth", STATE)
    digest, size, load = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size, torch.load

    def changed(*arguments, **options):
        save(path, {"other": torch.zeros(3, 3)})
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", changed)
    found = load_checkpoint(path)
    assert (found.sha256, found.bytes, list(found.state)) == (digest, size, list(STATE))


def test_objects_beside_the_weights_are_refused_unless_trusted(tmp_path):
    path = save(tmp_path / "a.pth", {"net": STATE, "when": datetime.date(2026, 1, 1)})
    with pytest.raises(BadInput, match=r"would call datetime.date"):
        load_checkpoint(path)
    assert list(load_checkpoint(path, trust_checkpoint=True).state) == list(STATE)


def test_the_options_of_a_script_need_no_trust(tmp_path):
    path = save(tmp_path / "a.pth", {"net": STATE, "args": argparse.Namespace(T=4, data="here")})
    assert load_checkpoint(path).beside == {"args.T": 4, "args.data": "here"}


def test_a_whole_module_loads_when_trusted(tmp_path):
    path = save(tmp_path / "a.pth", {"net": nn.Linear(2, 2)})
    with pytest.raises(BadInput, match="which can run code"):
        load_checkpoint(path)
    assert list(load_checkpoint(path, trust_checkpoint=True).state) == ["weight", "bias"]
    assert list(load_checkpoint(save(tmp_path / "b.pth", nn.Linear(2, 2)), trust_checkpoint=True).state) == [
        "weight",
        "bias",
    ]


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, fraction):
    content = save(tmp_path / "a.pth", {"net": {"w": torch.zeros(1000)}}).read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(BadInput, match=r"is truncated or damaged.*; copy it again$"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not weights"),
        ({}, "holds no weights: it is empty"),
        (
            {"epoch": 3, 1: torch.zeros(1)},
            r"none of its entries has named tensors; it has: epoch \(an int\), 1 \(a Tens",
        ),
        ({"optimizer": {"state": {0: {"m": torch.zeros(2, 2)}}, "param_groups": []}}, "holds no weights: none of"),
        (torch.zeros(3), "holds a Tensor, not weights"),
        ((torch.zeros(3), 5), "holds a tuple, not weights"),
    ],
)
def test_content_without_weights_is_refused(tmp_path, content, message):
    with pytest.raises(BadInput, match=message):
        load_checkpoint(save(tmp_path / "a.pth", content))


def checked(path: Path) -> None:
    """Load a checkpoint, and check the weights as before a network takes them."""
    loaded = load_checkpoint(path)
    check_values(loaded.path, loaded.state)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    bad = torch.tensor([0.0, value, value])
    with pytest.raises(BadInput, match="b.weight holds 2 values that are NaN, infinite or too large for float32"):
        checked(save(tmp_path / "a.pth", {**STATE, "b.weight": bad}))


def test_weights_beyond_float32_are_refused(tmp_path):
    bad = torch.tensor([1.0, 1e300], dtype=torch.float64)
    with pytest.raises(BadInput, match="b.weight holds 1 values that are NaN, infinite or too large for float32"):
        checked(save(tmp_path / "a.pth", {**STATE, "b.weight": bad}))


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
        checked(save(tmp_path / "a.pth", {**STATE, "b.weight": tensor}))


def test_a_checkpoint_in_itself_has_its_weights_once(tmp_path):
    content: dict[str, object] = {**STATE}
    content["net"] = content
    loaded = load_checkpoint(save(tmp_path / "a.pth", content))
    assert [one.key for one in loaded.sets] == [""]
    del content["a.weight"], content["a.num_batches_tracked"]
    with pytest.raises(BadInput, match="holds no weights"):
        load_checkpoint(save(tmp_path / "a.pth", content))


def test_keys_a_hundred_deep_are_no_weights_and_do_no_harm(tmp_path):
    deep: dict[str, object] = {**STATE}
    for i in range(100):
        deep = {f"k{i}": deep}
    with pytest.raises(BadInput, match=r"holds no weights: .* it has: k99 \(a dict\)"):
        load_checkpoint(save(tmp_path / "a.pth", deep))
    assert load_checkpoint(save(tmp_path / "a.pth", {"net": STATE, **deep})).state.keys() == STATE.keys()


def test_a_tensor_that_claims_more_than_the_file_stores_is_refused(tmp_path):
    """10 KB in the file, 160 GB in memory."""
    huge = torch.as_strided(torch.tensor([0.5]), (200000, 200000), (0, 0))
    with pytest.raises(BadInput, match="b.weight has 40,000,000,000 values, but the file stores 1 of them"):
        checked(save(tmp_path / "a.pth", {**STATE, "b.weight": huge}))
    many = {f"{i}.weight": torch.ones(1).expand(4000, 4000) for i in range(3)}
    with pytest.raises(BadInput, match=r"the bare state_dict has 48,000,000 values, too many for a file of"):
        checked(save(tmp_path / "a.pth", many))
    checked(save(tmp_path / "a.pth", {**STATE, "b.weight": torch.ones(1).expand(3, 4)}))


def packed(path: Path) -> None:
    """Weights of 70 MB in 70 KB."""
    made = io.BytesIO()
    torch.save({"a.weight": torch.zeros(70, 2**18)}, made)
    with zipfile.ZipFile(made) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as smaller:
        for name in whole.namelist():
            smaller.writestr(name, whole.read(name))


def pickled(content: bytes) -> Callable[[Path], None]:
    """A file of torch.save with another pickle in it."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")

    return write


def of_safetensors(head: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(8))


ONE = b'"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
BOMBS: dict[str, tuple[Callable[[Path], object], str]] = {
    "packed weights": (packed, r"has \d\d,\d{3} bytes and holds 73,\d{3},\d{3}; save it without"),
    "packed pickle": (
        pickled(b"\x80\x02" + bytes(2**25)),
        r"the pickle of .*a\.pth has 33,554,434 bytes, and",
    ),
    "tuples of tuples": (
        pickled(b"\x80\x02}N" + b"q\x00h\x00\x86" * 60 + b"Ns."),
        "repeats more than 1,048,576",
    ),
    "the same, old": (
        lambda path: path.write_bytes(b"\x80\x02}N" + b"2\x86" * 60 + b"Ns."),
        "repeats more than",
    ),
    "too many keys, in two sets": (
        lambda path: torch.save({key: {f"{i}": STATE["a.weight"] for i in range(2**14 + 1)} for key in "ab"}, path),
        r"a\.pth is not searched for a network: it has more than 32,768 tensors with names; save the weights of one",
    ),
    "a name twice": (
        of_safetensors(b"{" + ONE + b"," + ONE + b"}"),
        'it has "w" twice in an object.; copy it',
    ),
    "lists in lists": (
        of_safetensors(b'{"w":' + b"[" * 9999),
        r"is truncated or damaged \(it has lists in more than 32",
    ),
    "metadata that are no texts": (
        of_safetensors(b'{"__metadata__":{"a":1},' + ONE + b"}"),
        "__metadata__.a is 1, and must",
    ),
}


@pytest.mark.parametrize(("make", "message"), BOMBS.values(), ids=BOMBS)
def test_small_files_that_take_any_time_or_memory_are_refused(tmp_path, make, message):
    make(tmp_path / "a.pth")
    with pytest.raises(BadInput, match=message):
        load_checkpoint(tmp_path / "a.pth")


def test_a_number_of_a_thousand_bits_is_described(tmp_path):
    path = save(tmp_path / "a.pth", {"net": STATE, "epoch": 2**1000})
    assert load_checkpoint(path).beside["epoch"] == "a number of 1,001 bits"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(STATE, 2), "is a pickle that torch.save did not write; save it again from Python with torch.sa"),
        (pickle.dumps({"a": RunsCode}, 2), "holds more than weights: loading it would call .*RunsCode"),
        (pickle.dumps({"a": 1}, 2), "is a pickle that torch.save did not write"),
        (b"\x80\x02" + bytes(64), r"is not a checkpoint \(torch says: Unsupported operand 0\); pass the file that t"),
        (bytes(64), r"is not a checkpoint \(torch says: Unsupported operand 0\)"),
    ],
)
def test_pickles_that_are_no_checkpoints_are_refused_with_torchs_reason(tmp_path, content, message):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(BadInput, match=rf"a\.pth {message}"):
        load_checkpoint(tmp_path / "a.pth")


def test_a_pickle_of_a_newer_protocol_is_named(tmp_path):
    torch.save(STATE, tmp_path / "a.pth", pickle_protocol=4)
    with pytest.raises(BadInput, match=r"is a pickle of protocol 4 or newer, .* or pass `trust_checkpoint` if you tru"):
        load_checkpoint(tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth", trust_checkpoint=True).state.keys() == STATE.keys()


@pytest.mark.parametrize(
    ("weights", "keys"),
    [
        ("model", ["student.a", "teacher.a"]),
        ("model_ema", ["a"]),
        ("model.teacher", ["a"]),
    ],
)
def test_weights_are_chosen_by_key_or_by_prefix(tmp_path, weights, keys):
    matrix = torch.ones(2, 2)
    path = save(tmp_path / "a.pth", {"model": {"student.a": matrix, "teacher.a": matrix}, "model_ema": {"a": matrix}})
    (one,) = load_checkpoint(path, weights=weights).sets
    assert (one.key, list(one.state)) == (weights, keys)
    with pytest.raises(BadInput, match=r"`weights` net: .* has no weights under this key; it has: model, model_ema$"):
        load_checkpoint(path, weights="net")


def test_safetensors_are_read_with_their_metadata(tmp_path):
    safetensors.torch.save_file(STATE, tmp_path / "a.pth", {"T": "8"})
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert loaded.state.keys() == STATE.keys()
    assert torch.equal(loaded.state["a.weight"], STATE["a.weight"])
    assert loaded.beside == {"T": "8"}
    content = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(content[:-2])
    with pytest.raises(BadInput, match=r"a.pth is truncated or damaged \(.*\); copy it again"):
        load_checkpoint(tmp_path / "a.pth")


def test_safetensors_that_is_not_installed_is_named(tmp_path, monkeypatch):
    safetensors.torch.save_file(STATE, tmp_path / "a.pth")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(
        Unavailable, match=r"a.pth is of safetensors: run \"pip install 'tcja-deploy\[export\]'\" to read"
    ):
        load_checkpoint(tmp_path / "a.pth")


KINDS = {
    "zip": lambda path: torch.save({"net": STATE, "args": {"T": 4}, "l": [1, 2]}, path),
    "legacy": lambda path: torch.save({"net": STATE, "args": {"T": 4}}, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda path: safetensors.torch.save_file(STATE, path, {"T": "8"}),
}


@pytest.mark.parametrize(
    ("kind", "n"), [pytest.param(kind, 1500, marks=pytest.mark.slow) for kind in KINDS] + [("zip", 60)]
)
def test_a_flipped_bit_is_refused_in_one_line_or_harms_nothing(tmp_path, kind, n):
    """Whatever a bad copy changes, it is bad input: no other exception comes out."""
    KINDS[kind](tmp_path / "a.pth")
    whole, random = (tmp_path / "a.pth").read_bytes(), np.random.default_rng(0)
    said: list[str] = []
    for _ in range(n):
        content = bytearray(whole)
        for at in random.integers(0, len(content), random.integers(1, 4)):
            content[at] ^= 1 << int(random.integers(8))
        (tmp_path / "b.pth").write_bytes(content)
        try:
            checked(tmp_path / "b.pth")
        except BadInput as error:
            said.append(str(error))
    assert len(said) > n / 10
    assert not [line for line in said if "\n" in line]


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
    assert (loaded.sets[0].key, set(loaded.state)) == (wrapper, set(STATE))


def test_negative_variances_are_refused(tmp_path):
    with pytest.raises(BadInput, match="b.running_var holds negative variances"):
        checked(save(tmp_path / "a.pth", {**STATE, "b.running_var": torch.tensor([1.0, -1.0])}))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match="none.pth does not exist"):
        load_checkpoint(tmp_path / "none.pth")
