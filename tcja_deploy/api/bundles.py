"""`tcja_deploy.verify`, `build`, `sign` and `bench`: what is done with a bundle. They need neither torch nor onnx."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from tcja_deploy.api.data import windows_of
from tcja_deploy.api.options import made, shown_progress, takes
from tcja_deploy.api.results.bench import BenchResult
from tcja_deploy.api.results.build import BuildResult
from tcja_deploy.api.results.sign import SignResult
from tcja_deploy.api.results.verify import VerifyResult
from tcja_deploy.bench import benchmark
from tcja_deploy.bench.benchmark import BenchOptions
from tcja_deploy.build import build as built
from tcja_deploy.sign import SignOptions
from tcja_deploy.sign import sign as signed
from tcja_deploy.verify.options import VerifyOptions
from tcja_deploy.verify.verifier import verify as verified
from tcja_runtime.choices import AUTO
from tcja_runtime.records import argument
from tcja_runtime.signing.trust import Trust
from tcja_runtime.tensorrt.build import BuildOptions


@takes(VerifyOptions)
def verify(
    bundle: str | os.PathLike[str], /, *, data: Any = None, progress: bool = False, **options: Any
) -> VerifyResult:
    """Prove again, on this machine, that the models of a bundle fire the trained network's spikes.

    Args:
        bundle: the path of the bundle.
        data: windows to classify as well, in a form that `tcja_deploy.export` takes; None classifies those of the
            bundle.
        progress: whether progress is shown on stderr.
        options: the options of the command `tcja-deploy verify`, by name: `samples`, `bisect`, `backend`,
            `trust_engine`, `require_signature`, `public_keys` (one or several), `anytime`, `labels`, `crop`, `resize`,
            `time_unit`, `columns`, `topic`, `ray`, `workers` (`tcja_deploy.verify.options.VerifyOptions` and
            `tcja_deploy.cluster.options.ClusterOptions` describe them).

    Returns:
        The comparison, whether parity is met or not. `print` shows what the command prints.

    Raises:
        BadInput: the bundle is damaged, its files do not belong together, or the data or an option cannot be used.
        ParityNotMet: a model of the bundle is not the network that the manifest describes.
        Unavailable: this machine lacks a package or a device that the backend needs.
    """
    path, shown = argument("bundle", bundle, Path), shown_progress(progress)
    how = made(VerifyOptions, "verify", options, data=None)
    windows = windows_of(data, shown, samples=how.samples)
    found = verified(path, dataclasses.replace(how, data=windows), shown)
    return VerifyResult(bundle=path, found=found, notes=tuple(shown.notes))


@takes(BuildOptions)
def build(
    bundle: str | os.PathLike[str],
    /,
    *,
    target: str = AUTO,
    key: str | os.PathLike[str] | None = None,
    require_signature: bool = False,
    public_keys: Any = (),
    progress: bool = False,
    **options: Any,
) -> BuildResult:
    """Build an engine for this machine's TensorRT and GPU, and add it to the bundle. If it fails, the bundle is kept.

    Args:
        bundle: the path of the bundle.
        target: "tensorrt", "tensorrt-rtx", or "auto" for the one that is installed.
        key: a private key that signs the list of added engines; None to sign nothing.
        require_signature: whether to take only a bundle that is signed by one of the keys.
        public_keys: the files of the public keys of those whom you trust, one or several.
        progress: whether progress is shown on stderr.
        options: the options of the command `tcja-deploy build`, by name: `batch` (one number, three, or MIN:OPT:MAX),
            `tf32`, `level`, `workspace` (in bytes), `version_compatible`, `hardware`, `plugin`,
            `build_timeout` (`tcja_runtime.tensorrt.build.BuildOptions` describes them).

    Raises:
        BadInput: the bundle is damaged or cannot be written, an option cannot be used, or TensorRT cannot build the
            model.
        BuildTimeout: the builder did not end in time.
        Unavailable: TensorRT, a GPU or memory is missing on this machine.
    """
    path, shown = argument("bundle", bundle, Path), shown_progress(progress)
    how = made(BuildOptions, "build", options)
    trust = made(Trust, "build", {"require_signature": require_signature, "public_keys": public_keys})
    engine = built(path, target, how, shown, key=argument("key", key, Path | None), trust=trust)
    return BuildResult(bundle=path, engine=engine, notes=tuple(shown.notes))


@takes(SignOptions)
def sign(bundle: str | os.PathLike[str], /, *, progress: bool = False, **options: Any) -> SignResult:
    """Sign a bundle, so that others can check who made it. Its models and its manifest do not change.

    Args:
        bundle: the path of the bundle.
        progress: whether progress is shown on stderr.
        options: `key`, `certificate`, `certificate_chain`, `sigstore`, `identity_token` and `trust_engine`
            (`tcja_deploy.sign.SignOptions` describes them).

    Raises:
        BadInput: the bundle is damaged, is signed already, has an engine of unknown origin, or cannot be written; or an
            option cannot be used, or the key cannot sign.
        Unavailable: a program, a package or the network is missing.
    """
    path, shown = argument("bundle", bundle, Path), shown_progress(progress)
    found = signed(path, made(SignOptions, "sign", options), shown)
    return SignResult(bundle=path, files=found.files, notes=tuple(shown.notes))


@takes(BenchOptions)
def bench(bundle: str | os.PathLike[str], /, *, progress: bool = False, **options: Any) -> BenchResult:
    """Measure latency, throughput and memory of a bundle on this machine, and energy if the board measures its power.

    Args:
        bundle: the path of the bundle.
        progress: whether progress is shown on stderr.
        options: `backends` and `batches`, one or several each, `seconds`, `warm_up`, `trust_engine`,
            `require_signature` and `public_keys` (`tcja_deploy.bench.benchmark.BenchOptions` describes them).

    Raises:
        BadInput: the bundle is damaged, it has no such engine, or an option or a batch size cannot be used.
        Unavailable: this machine lacks memory, or a package or a device that a backend needs.
    """
    path, shown = argument("bundle", bundle, Path), shown_progress(progress)
    how = made(BenchOptions, "bench", options)
    found = benchmark.bench(path, how, shown)
    return BenchResult(bundle=path, measured=found, notes=tuple(shown.notes))
