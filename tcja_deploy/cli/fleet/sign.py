"""`tcja-deploy sign`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.options import Json, TrustEngine, Verbose
from tcja_deploy.console import out, print_json
from tcja_deploy.texts.fleet.sign import signed_text
from tcja_runtime.errors import DONE

Certificate = Annotated[
    Path | None, typer.Option(help="The PEM certificate of the key. It needs the package model-signing.")
]
CertificateChain = Annotated[
    list[Path] | None,
    typer.Option(
        help="A PEM certificate between --certificate and that of the authority. Repeat the option for several."
    ),
]
Sigstore = Annotated[
    bool,
    typer.Option(
        "--sigstore",
        help="Sign through Sigstore with an identity in place of a key. It needs the network and the package "
        "model-signing, and writes the identity into a public log.",
    ),
]
IdentityToken = Annotated[
    str | None,
    typer.Option(help="The token of the identity for --sigstore. Default: that of the environment, else a browser."),
]


def sign(
    bundle: Annotated[Path, typer.Argument(help="The bundle to sign.")],
    key: options.Key = None,
    certificate: Certificate = None,
    certificate_chain: CertificateChain = None,
    sigstore: Sigstore = False,
    identity_token: IdentityToken = None,
    trust_engine: TrustEngine = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Sign a bundle, so that others can check who made it. Its models and its manifest do not change.

    Examples:
        tcja-deploy sign dvs128.bundle --key ~/.ssh/id_ed25519
        tcja-deploy sign dvs128.bundle --key release.pem --certificate release.crt
    """
    from tcja_deploy.sign import SignOptions
    from tcja_deploy.sign import sign as signed_by

    how = SignOptions(
        key=key,
        certificate=certificate,
        certificate_chain=tuple(certificate_chain or ()),
        sigstore=sigstore,
        identity_token=identity_token,
        trust_engine=trust_engine,
    )
    signed = signed_by(bundle, how, options.progress())
    if as_json:
        print_json({"bundle": str(signed.bundle), "files": list(signed.files)})
    else:
        out.print(signed_text(signed))
    return DONE
