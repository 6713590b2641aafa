"""Adding an engine to a bundle. It needs TensorRT and for most engines a GPU, but neither torch nor onnx."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tcja_deploy.console import Progress, silent
from tcja_runtime.bundle import bundle
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import Engine
from tcja_runtime.bundle.manifest import FileFact, Manifest
from tcja_runtime.bundle.network_signature import Weight
from tcja_runtime.bundle.origin import built_here
from tcja_runtime.bundle.origin.built_here import Built
from tcja_runtime.bundle.origin.engine_list import ENGINE_LIST, ENGINES
from tcja_runtime.bundle.origin.origin import BUILT_HERE, NOT_LISTED
from tcja_runtime.bundle.writing import write_engine_list, write_manifest
from tcja_runtime.choices import AUTO, EngineTarget, Target, TimeForm
from tcja_runtime.errors import BuildTimeout, Unavailable, check_choice
from tcja_runtime.files.folder import Files, read_model, write_model
from tcja_runtime.files.staging import locked, restaged, scratch
from tcja_runtime.machine.jetpack import how_to_get
from tcja_runtime.records import argument
from tcja_runtime.signing import detached
from tcja_runtime.signing.signer import State
from tcja_runtime.signing.trust import Trust
from tcja_runtime.tensorrt import build as builder
from tcja_runtime.tensorrt.build import BuildOptions, BuildRequest

_TYPES = {"fp32": "FLOAT", "fp16": "HALF", "int8": "INT8"}
"""TensorRT's name of the type of a product, by the type of its weight."""
_TRIAL = b"a trial of tcja-deploy\n"
"""What is signed before the build. It is no list of engines, so its signature proves nothing."""


def build(
    path: Path | str,
    target: str = AUTO,
    options: BuildOptions | None = None,
    progress: Progress | None = None,
    *,
    key: Path | None = None,
    trust: Trust | None = None,
) -> Engine:
    """Build an engine from a bundle's model and add it to the bundle. It replaces an engine of the same name.

    If the build fails, the bundle does not change. In a signed bundle, and with a key, manifest.json does not change
    either: the engine is listed in engines/manifest.json.

    Args:
        path: the folder of the bundle.
        target: "tensorrt", "tensorrt-rtx", or "auto": the TensorRT that is installed, `tensorrt` if both are.
        options: the options of the build; None for the defaults.
        progress: where progress is shown; None shows nothing.
        key: a private key that signs the list of added engines (`tcja_runtime.signing.detached`); None to sign nothing.
        trust: whom the user trusts; None for what the environment and the configuration files say.

    Returns:
        The engine in the bundle.

    Raises:
        BadInput: the bundle is damaged, is not signed as required, or cannot be written; the key cannot sign; or
            TensorRT cannot build the model.
        BuildTimeout: the builder did not end in time.
        Unavailable: TensorRT, a GPU or memory is missing on this machine.
    """
    path, progress = argument("path", path, Path), progress or silent()
    options = argument("options", options, BuildOptions | None) or BuildOptions()
    key, trust = argument("key", key, Path | None), argument("trust", trust, Trust | None) or Trust()
    check_choice("target", target, [each.value for each in EngineTarget])
    chosen = chosen_target(target, options)
    if key:
        detached.sign(_TRIAL, key)  # a key that cannot sign, or a missing program, is found before the build
    if chosen is None:
        raise Unavailable(f"no TensorRT is installed for this Python: {how_to_get('tensorrt')}")
    with locked(path):
        with progress.step("check the hashes"):
            opened = Bundle.open(path, dataclasses.replace(trust, trust_engine=True))
        with restaged(path) as folder:
            kept = _without_wrong_engines(opened, folder, progress, signs=key is not None)
            with progress.step(f"build the {chosen} engine"):
                manifest = with_engine(kept, opened, folder, chosen, options, progress)
            files = _kept_files(opened, list(manifest.engines)[:-1])
            if key or opened.origin.listed_apart:
                write_engine_list(folder, opened, manifest, files, key)
                progress.note(_listed_apart(opened, key))
            else:
                write_manifest(folder, manifest, files)
    name, info = list(manifest.engines.items())[-1]
    if name in kept.engines:
        progress.note(f"it replaces the engine {name}, which was built on {kept.engines[name].created}")
    return Engine(path / ENGINES / name, info, origin=BUILT_HERE, bundle_sha256=opened.sha256)


def _without_wrong_engines(opened: Bundle, folder: Path, progress: Progress, *, signs: bool) -> Manifest:
    """Remove from a copy of a bundle each engine that was changed after its build, or that the bundle does not list.

    Args:
        opened: the bundle.
        folder: the copy.
        progress: shows a note for each engine that is removed.
        signs: whether the list of added engines will be signed. Then those of unknown origin are removed from it, as
            the signature would say that they are the signer's.

    Returns:
        The manifest with the remaining engines.
    """
    sound, origin = opened.sound_engines(), opened.origin
    added = origin.added.engines if signs and origin.added else {}
    unknown = [name for name, info in added.items() if not origin.of_engine(name, info).known]
    place = folder / ENGINES
    for found in sorted(place.iterdir()) if place.is_dir() else ():
        if f"{ENGINES}/{found.name}" in NOT_LISTED:
            found.unlink()  # the list of added engines is written again
        elif found.name not in sound or found.name in unknown:
            why = "is of unknown origin" if found.name in sound else "does not match the manifest"
            progress.note(f"engine {found.name} {why}, so it is removed from the bundle")
            shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()
    engines = {name: info for name, info in opened.manifest.engines.items() if name in sound and name not in unknown}
    return dataclasses.replace(opened.manifest, engines=engines)


def _listed_apart(opened: Bundle, key: Path | None) -> str:
    """Return a note on the list of added engines: why there is one, and whether it is signed."""
    signed = opened.origin.manifest.state is not State.UNSIGNED
    why = "the bundle is signed, so " if signed else ""
    if key:
        return f"{why}the engine is listed in {ENGINE_LIST}, which {key} signed"
    lost = " any more" if opened.origin.added_by.state is not State.UNSIGNED else ""
    return f"{why}the engine is listed in {ENGINE_LIST}, which is not signed{lost}; `key` signs it"


def _kept_files(opened: Bundle, engines: Sequence[str]) -> dict[str, FileFact]:
    """Return the files of a bundle that stay when an engine is added: all but the model card and other engines."""
    folders = tuple(f"{ENGINES}/{name}/" for name in engines)
    return {
        name: fact
        for name, fact in opened.files.items()
        if name != bundle.CARD and (name.startswith(folders) or not bundle.is_of_engine(name))
    }


def chosen_target(target: str, options: BuildOptions | None = None) -> str | None:
    """Return the target that an engine is built for; None if no engine is built.

    No engine is built for "onnx", nor for "auto" if no TensorRT is installed.

    Args:
        target: one of the values of `tcja_runtime.choices.Target`.
        options: the options of the build.

    Raises:
        BadInput: the target cannot be built with the options.
        Unavailable: the target's TensorRT is not installed.
    """
    check_choice("target", target, [each.value for each in Target])
    if target == Target.ONNX.value:
        return None
    chosen = next(iter(builder.installed()), None) if target == AUTO else target
    if chosen is not None:
        builder.check_target(chosen, options or BuildOptions())
    return chosen


def parsed_layers(model: Path, target: str, precision: str, weights: Sequence[Weight]) -> int:
    """Return the number of layers that TensorRT makes of a model in standard operators. No engine is built.

    Args:
        model: the ONNX file.
        target: the TensorRT that parses it, one of the values of `tcja_runtime.choices.EngineTarget`.
        precision: the precision of the model.
        weights: the weights of the model.

    Raises:
        BadInput: TensorRT cannot parse the model.
        Unavailable: TensorRT is not installed, or it needs a GPU and there is none.
    """
    return builder.parse(
        BuildRequest(model=model, engines=model.parent, target=target, precision=precision, products=_products(weights))
    )


def with_engine(
    manifest: Manifest, files: Files, folder: Path, target: str, options: BuildOptions, progress: Progress
) -> Manifest:
    """Build an engine into a bundle's folder. Returns the manifest with the new engine as its last engine.

    The engine is added to the list of those that were built here; if it cannot be, a note says so.

    Args:
        manifest: the manifest.
        files: where the model and its weights are read from. TensorRT reads a copy of them that only this user can
            read and change.
        folder: the folder of the bundle that gets the engine.
        target: the target.
        options: the options of the build.
        progress: where the note is shown.

    Raises:
        BuildTimeout: the builder did not end in time. No board can write the models in another time form, so the text
            says what to do.
    """
    place, partial = folder / ENGINES, folder / f".{ENGINES}"
    model = bundle.MODEL if options.plugin else bundle.PLAIN_MODEL
    try:
        with scratch() as private:
            write_model(read_model(files, model), private / model)
            built = builder.build(
                BuildRequest(
                    model=private / model,
                    engines=partial,
                    target=target,
                    precision=manifest.precision,
                    products=_products(manifest.weights),
                    options=options,
                    time_steps=manifest.time_steps,
                )
            )
    except BuildTimeout as error:
        shutil.rmtree(partial, ignore_errors=True)
        fused = not options.plugin and TimeForm.FUSED.value in manifest.time_form.forms.values()
        other = f", or export the network again with `time_form` {TimeForm.UNROLLED.value}" if fused else ""
        raise BuildTimeout(f"{error}; give it more time with `build_timeout`{other}") from error
    if not_listed := built_here.add(Built(built.info.sha256, built.info.model_sha256), built.name):
        progress.note(not_listed)
    shutil.rmtree(place / built.name, ignore_errors=True)
    place.mkdir(exist_ok=True)
    built.folder.rename(place / built.name)
    partial.rmdir()
    kept = {name: info for name, info in manifest.engines.items() if name != built.name}
    targets = [*manifest.targets, *([] if target in manifest.targets else [target])]
    return dataclasses.replace(manifest, targets=targets, engines={**kept, built.name: built.info})


def _products(weights: Sequence[Weight]) -> dict[str, int]:
    """Return the number of products that an engine must compute in each type of TensorRT."""
    return dict(Counter(_TYPES[weight.type] for weight in weights))
