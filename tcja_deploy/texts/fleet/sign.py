"""A signed bundle as text, and where a bundle and its engines come from."""

from __future__ import annotations

import shlex

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.sign import Signed
from tcja_deploy.texts.table import whole
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.origin.origin import OPENSSF
from tcja_runtime.signing.signer import ONLY_SIGNED


def signed_text(signed: Signed) -> RenderableType:
    """Return what was written, and how it is checked."""
    path = shlex.quote(str(signed.bundle))
    written = " and ".join(signed.files)
    alone = signed.files == (OPENSSF,)
    key = "the certificate of the authority, or the identity in a configuration file" if alone else "your public key"
    return Group(
        Text(f"Signed: {path} has {written}. From now on 'tcja-deploy build' lists engines in engines/manifest.json."),
        Text(f"Give those who use it {key}."),
        whole(f"Next: tcja-deploy verify {path} --public-key PATH"),
    )


def origin_lines(bundle: Bundle) -> list[str]:
    """Return who signed a bundle and where its engines come from, a line each, and what hashes do not prove."""
    origin = bundle.origin
    lines = [f"Origin: the bundle is {origin.manifest}."]
    lines += [f"Engine {name} is {origin.of_engine(name, info)}." for name, info in bundle.manifest.engines.items()]
    return lines if origin.manifest.trusted else [*lines, ONLY_SIGNED]
