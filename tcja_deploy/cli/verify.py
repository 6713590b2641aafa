"""`tcja-deploy verify`: its options."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.options import (
    Anytime,
    Columns,
    Crop,
    Json,
    Labels,
    PublicKeys,
    Ray,
    RequireSignature,
    ResizeMethod,
    TimeUnit,
    Topic,
    TrustEngine,
    Verbose,
    Workers,
)
from tcja_deploy.cluster.options import ClusterOptions
from tcja_deploy.console import err, out, print_json
from tcja_deploy.provenance import provenance
from tcja_deploy.texts.verify import verified_text
from tcja_runtime.choices import BackendName
from tcja_runtime.errors import DONE, UNMET
from tcja_runtime.events import ReadOptions

ClassifiedData = Annotated[
    Path | None,
    typer.Option(
        help="Windows to classify as well, any number, in a form that export's --data takes. With labels, the "
        "accuracy is counted."
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        max=1_000_000_000, help="The largest number of windows of --data to classify, from the first. Default: all."
    ),
]
Bisect = Annotated[
    bool,
    typer.Option(
        "--bisect",
        help="If parity is not met, name the first wrong signal inside the network, and mistakes that would "
        "explain it.",
    ),
]
ProvenBackend = Annotated[
    BackendName,
    typer.Option(
        help="The backend to prove; auto proves ONNX Runtime on the CPU and every engine that this machine can run."
    ),
]


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle to check.")],
    data: ClassifiedData = None,
    samples: Samples = None,
    crop: Crop = None,
    resize: ResizeMethod = None,
    labels: Labels = None,
    time_unit: TimeUnit = None,
    columns: Columns = None,
    topic: Topic = None,
    ray: Ray = None,
    workers: Workers = None,
    bisect: Bisect = False,
    backend: ProvenBackend = BackendName.AUTO,
    trust_engine: TrustEngine = False,
    require_signature: RequireSignature = False,
    public_key: PublicKeys = None,
    anytime: Anytime = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Prove again, on this machine, that a bundle's models fire the trained network's spikes.

    The exit code is 1 if they do not.

    Examples:
        tcja-deploy verify dvs128.bundle
        tcja-deploy verify dvs128.bundle --data test.npz --bisect
        tcja-deploy verify dvs128.bundle --data test/ --ray 10.0.0.1:6379
    """
    from tcja_deploy.verify.options import VerifyOptions
    from tcja_deploy.verify.verifier import verify as verified_by

    how = VerifyOptions(
        data=data,
        samples=samples,
        camera_view=options.view(crop, resize),
        labels=labels and labels.value,
        bisect=bisect,
        backend=backend.value,
        trust=options.trust(trust_engine, require_signature, public_key),
        anytime=anytime,
        reading=ReadOptions(time_unit, columns, topic),
        cluster=ClusterOptions(ray=ray, workers=workers),
    )
    verified = verified_by(bundle, how, options.progress())
    opened, result = verified.bundle, verified.report
    if as_json:
        culprit = {"culprit": verified.culprit and dataclasses.asdict(verified.culprit)} if bisect else {}
        named = {"bundle": str(bundle), **provenance(opened.sha256), "network": opened.manifest.network}
        origin = {"origin": opened.origin.to_dict(opened.manifest.engines)}
        answers = {"answers": [dataclasses.asdict(each) for each in verified.answers]}
        print_json({**named, **origin, **culprit, **answers, **result.to_dict()})
    else:
        out.print(verified_text(verified, options.telling(verbose)))
    if not result.met:
        err.print(f"error: {result.why_not}", soft_wrap=True)
        return UNMET
    return DONE
