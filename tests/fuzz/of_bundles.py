"""The parsers of the files of a bundle, and of data files."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tcja_deploy.compare.comparison import compare
from tcja_deploy.consistency import contradictions
from tcja_deploy.console import plain
from tcja_deploy.inspect.describe import inspect
from tcja_deploy.texts.fleet.compare import compared_text
from tcja_deploy.texts.inspect.facts import facts_text
from tcja_runtime.bundle import bundle as bundles
from tcja_runtime.bundle import conformance, metadata
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.card import card
from tcja_runtime.bundle.engines import engines
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.dataset import load
from tcja_runtime.errors import MOST_CHARACTERS, ParityNotMet
from tcja_runtime.evidence import golden
from tcja_runtime.files.text import parsed
from tcja_runtime.model_file import half_currents, scan_pooling, subgraph
from tcja_runtime.model_file.model import Model
from tcja_runtime.signing.trust import Trust

from ..deploy.compare import printed
from ..sidecars import engine_info
from . import damage, small_bundle
from .damage import Bytes
from .of_origins import sealed
from .parser import Parser, Room

CONTRACT = InputContract.frames(3, 4, 5)
"""The input of the network that data files are read for."""
_ENGINE = "engines/e/engine.json"


@functools.cache
def _bundle(room: Room) -> Path:
    """A copy of the bundle, with the sidecar of an engine."""
    folder = small_bundle.unpacked(room.folder)
    for file in ("model.engine", "engine.json"):
        (folder / "engines" / "e").mkdir(parents=True, exist_ok=True)
        (folder / "engines" / "e" / file).write_text(json.dumps(dataclasses.asdict(sidecar())))
    manifest = Bundle.open(folder, Trust(trust_engine=True)).manifest
    write_manifest(folder, dataclasses.replace(manifest, engines={"e": sidecar()}))
    return folder


def sidecar() -> Any:
    kernel = {"name": "k", "kind": "gemm", "modules": ["fc"], "bytes": 10, "weight_bytes": 4}
    return engine_info(
        plugin={"form": "ahead of time", "nodes": 1, "halves": 0, "pools": 0},
        tensors=[{"name": "images", "type": "FLOAT", "shape": [-1, 1, 2, 2], "input": True}],
        plan={"kernels": 1, "bytes": 10, "weight_bytes": 4, "largest": [kernel]},
        plan_unread="",
    )


def _read_manifest(room: Room, content: bytes) -> None:
    """Describe a bundle, as text too, and write its model card again."""
    folder = _bundle(room)
    (folder / "manifest.json").write_bytes(sealed(content))
    facts_text(inspect(folder))
    fields = parsed(content)
    card(Manifest.from_dict({name: fields[name] for name in fields.keys() - {"schema", "files", "seal"}}), [])


def _read_sidecar(room: Room, content: bytes) -> None:
    folder = _bundle(room)
    (folder / _ENGINE).write_bytes(content)
    for each in engines(_opened(room)):
        each.refusal()


@functools.cache
def _opened(room: Room) -> Bundle:
    return Bundle.open(_bundle(room), Trust(trust_engine=True))


def _read_golden(room: Room, content: bytes) -> None:
    opened = _opened(room)
    vectors = golden.load(opened.path / bundles.GOLDEN, opened.manifest.input, content)
    contradictions.check(vectors, opened.manifest, opened)


def _read_parity(room: Room, content: bytes) -> None:
    changed = dataclasses.replace(_opened(room), _kept={bundles.PARITY: content})
    list(contradictions._other_summary(changed.manifest.parity, changed))


def _read_model(room: Room, content: bytes) -> None:
    """Compare both models with the manifest, and cut and change them as backends do."""
    opened = _opened(room)
    manifest, weights = opened.manifest, opened.read(bundles.WEIGHTS)
    changed = dataclasses.replace(opened, _kept=dict.fromkeys((bundles.MODEL, bundles.PLAIN_MODEL), content))
    try:
        conformance.check(changed, manifest.signature)
    except ParityNotMet as error:
        assert "\n" not in str(error)
    layer = manifest.layers[0]
    for work in (
        metadata.read,
        lambda model: Model(room.folder / bundles.MODEL, model, weights).tensors(),
        subgraph.inputs,
        subgraph.makers,
        half_currents.expose_currents,
        scan_pooling.expose_spikes,
        lambda model: subgraph.part(model, [layer.result_tensor], {manifest.input.name: (None, *manifest.input.shape)}),
    ):
        try:
            work(content)
        except ValueError as error:
            assert len(str(error)) < MOST_CHARACTERS, error


def _file(name: str) -> Any:
    return lambda room: [(_bundle(room) / name).read_bytes()]


def _models(room: Room) -> list[bytes]:
    return [(_bundle(room) / name).read_bytes() for name in (bundles.MODEL, bundles.PLAIN_MODEL)]


def _read_onnx(room: Room, content: bytes) -> None:
    """Describe a model beside its weights."""
    file = _bundle(room) / "fuzzed.onnx"
    file.write_bytes(content)
    facts_text(inspect(file))


def _windows(_: Room) -> list[bytes]:
    frames = np.random.default_rng(0).integers(0, 3, (4, *CONTRACT.shape))
    return [
        _archive({"frames": frames.astype(np.float32), "labels": np.arange(4)}),
        _archive({"frames": frames.astype(np.uint8), "labels": np.arange(4, dtype=np.uint8)}),
        _archive({"frames": np.asfortranarray(frames[0])}),
    ]


def _read_windows(room: Room, content: bytes) -> None:
    data = load(room.file("a.npz", content), CONTRACT, [str(i) for i in range(4)])
    for inputs in data.batches(2):
        assert inputs.dtype == np.float32
        assert inputs.shape[1:] == CONTRACT.shape
        assert np.isfinite(inputs).all()
    assert data.labels is None or data.labels.max(initial=0) < 4


def _of_golden(rng: random.Random, content: bytes, inner: Bytes) -> bytes:
    """Damages golden vectors: an array is missing, or has another type, shape or values; or the archive is damaged."""
    if rng.randrange(2):
        return damage.of_zip(damage.of_npy)(rng, content, inner)
    try:
        with np.load(io.BytesIO(content)) as found:
            arrays: dict[str, Any] = dict(found)
    except Exception:  # it is damaged already
        return damage.of_bytes(rng, content, inner)
    if not arrays:
        return b""
    name = rng.choice(list(arrays))
    array = arrays[name]
    try:
        arrays[name] = _changed_array(rng, array, arrays)
    except (ValueError, TypeError, OverflowError, IndexError):  # it has no such form
        arrays[name] = np.zeros(3)
    return _archive(arrays)


def _archive(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as an .npz, the same bytes at any time."""
    members = []
    for name, array in arrays.items():
        file = io.BytesIO()
        np.save(file, array)
        members.append((f"{name}.npy", file.getvalue()))
    return damage.zipped(members)


def _changed_array(rng: random.Random, array: Any, others: Mapping[str, Any]) -> Any:
    changes = (
        lambda: array[:-1] if array.ndim else array[None],
        lambda: array[None],
        lambda: array.astype(rng.choice((np.str_, np.float16, np.complex64, np.int8, np.bool_, np.float64))),
        lambda: array.ravel()[:0],
        lambda: np.full_like(array, array.dtype.type(0)) if array.dtype.kind in "iufb" else array[..., None],
        lambda: array.astype(np.float64) * np.nan if array.dtype.kind == "f" else -array.astype(np.int64),
        lambda: others[rng.choice(list(others))],
        lambda: np.full(array.shape, rng.choice((-1, 1, 2**31 - 1, 2**62, 1e30))).astype(array.dtype),
        lambda: np.broadcast_to(array.ravel()[0], (2 ** rng.randrange(16),)),
    )
    with np.errstate(invalid="ignore"):  # of values that the type cannot have
        return rng.choice(changes)()


def _results(_: Room) -> list[bytes]:
    """What the commands print on a board, in one file and in files of their own."""
    several = printed.all_of(1)
    return [json.dumps(each).encode() for each in several] + ["\n".join(map(json.dumps, several)).encode()]


def _read_results(room: Room, content: bytes) -> None:
    """Compare a board with another one, as text too."""
    found = compare([room.file("b.json", content), room.file("a.json", _results(room)[-1])])
    json.dumps(found.to_dict(), allow_nan=False)
    plain(compared_text(found))


PARSERS = (
    Parser("results", _results, _read_results, damage.of_json),
    Parser("manifest", _file("manifest.json"), _read_manifest, damage.of_json),
    Parser("sidecar", _file(_ENGINE), _read_sidecar, damage.of_json),
    Parser("parity", _file("parity.json"), _read_parity, damage.of_json),
    Parser("golden", _file("golden.npz"), _read_golden, _of_golden),
    Parser("model", _models, _read_model, damage.of_protobuf),
    Parser("onnx", _models, _read_onnx, damage.of_protobuf, packages=("onnx",)),
    Parser("windows", _windows, _read_windows, damage.of_zip(damage.of_npy)),
)
