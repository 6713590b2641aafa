"""Adding an engine to a bundle, for the TensorRT and the GPU of this machine; neither torch nor onnx is needed."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from pathlib import Path

from tcja_deploy.console import Progress, silent
from tcja_runtime.bundle import bundle
from tcja_runtime.bundle.bundle import Bundle, write_manifest
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.errors import Unavailable
from tcja_runtime.files.staging import restaged
from tcja_runtime.tensorrt import build as engines
from tcja_runtime.tensorrt.build import BuildOptions, Engine


def build(path: Path, target: str, options: BuildOptions, progress: Progress | None = None) -> Engine:
    """Build an engine from a bundle's model and add it, in place of one of the same name.

    Args:
        path: of the bundle, which stays as it is if the build fails.
        target: "auto" (whichever TensorRT is installed), "tensorrt" or "tensorrt-rtx".
        options: of the build.
        progress: where progress is shown.

    Raises:
        BadInput: the bundle is damaged or cannot be written, or TensorRT cannot build its model.
        Unavailable: TensorRT, or what it needs of this machine, is missing.
    """
    progress = progress or silent()
    chosen_target = chosen(target)
    if chosen_target is None:
        raise Unavailable(
            "no TensorRT is installed for this Python: on a Jetson use a virtual environment made with "
            "--system-site-packages, which sees JetPack's; elsewhere run 'pip install tensorrt' (or tensorrt-rtx)"
        )
    engines.refuse_plugin(chosen_target, options)
    with progress.step("check the hashes"):
        opened = Bundle.open(path, any_engine=True)
    with restaged(path) as folder:
        kept = _without_changed_engines(opened, folder, progress)
        with progress.step(f"build the {chosen_target} engine"):
            manifest = with_engine(kept, folder, chosen_target, options)
        write_manifest(folder, manifest)
    name = next(reversed(manifest.engines))
    return Engine(name, manifest.engines[name])


def _without_changed_engines(opened: Bundle, folder: Path, progress: Progress) -> Manifest:
    """Take the engines out of a bundle's copy that are not as they were built, and those that its manifest lacks."""
    sound = opened.sound_engines()
    place = folder / bundle.ENGINES
    for found in sorted(place.iterdir()) if place.is_dir() else ():
        if found.name not in sound:
            progress.note(f"engine {found.name} is not as the manifest says, it is taken out")
            shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()
    engines_ = {name: sidecar for name, sidecar in opened.manifest.engines.items() if name in sound}
    return dataclasses.replace(opened.manifest, engines=engines_)


def chosen(target: str) -> str | None:
    """What to build an engine with; None for no engine.

    Raises:
        Unavailable: what was asked for is not installed.
    """
    if target == "onnx":
        return None
    if target == "auto":
        return next(iter(engines.installed()), None)
    engines.require(target)
    return target


def with_engine(manifest: Manifest, folder: Path, target: str, options: BuildOptions) -> Manifest:
    """Build an engine into a bundle's folder; the last of the manifest's engines is then it."""
    place, partial = folder / bundle.ENGINES, folder / f".{bundle.ENGINES}"
    model = folder / (bundle.MODEL if options.plugin else bundle.PLAIN_MODEL)
    built = engines.build(model, partial, target, options, manifest.precision, _products(manifest))
    shutil.rmtree(place / built.name, ignore_errors=True)
    place.mkdir(exist_ok=True)
    (partial / built.name).rename(place / built.name)
    partial.rmdir()
    kept = {name: sidecar for name, sidecar in manifest.engines.items() if name != built.name}
    targets = [*manifest.targets, *([] if target in manifest.targets else [target])]
    return dataclasses.replace(manifest, targets=targets, engines={**kept, built.name: built.sidecar})


def _products(manifest: Manifest) -> dict[str, int]:
    """How many products are in each of TensorRT's types at least."""
    return dict(Counter(_TYPES[weight.type] for weight in manifest.weights))


_TYPES = {"fp32": "FLOAT", "fp16": "HALF", "int8": "INT8"}
