"""Bundles that another export would have written: the manifest says something else, and so do the models."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.metadata import Description
from tcja_runtime.bundle.writing import write_manifest


def described(bundle: Path, **changes: Any) -> None:
    """Change fields of a bundle's manifest, and the metadata of its models with them."""
    manifest = dataclasses.replace(Bundle.open(bundle).manifest, **changes)
    for file in bundle.glob("*.onnx"):
        model = onnx.load(file, load_external_data=False)
        said = {entry.key: entry.value for entry in model.metadata_props}
        del model.metadata_props[:]
        helper.set_model_props(model, {**said, **Description.of(manifest).texts()})
        file.write_bytes(model.SerializeToString())
    write_manifest(bundle, manifest)
