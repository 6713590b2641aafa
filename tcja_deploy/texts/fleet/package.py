"""A packaged bundle as text."""

from __future__ import annotations

import shlex

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.package.options import Packaged
from tcja_deploy.texts.table import whole
from tcja_runtime.counting import agree, listed


def packaged_text(packaged: Packaged) -> RenderableType:
    """Return what was written, and how it is started."""
    folder, many = shlex.quote(str(packaged.folder)), len(packaged.models)
    return Group(
        Text(
            f"Written: version {packaged.version} of the {agree(many, 'model', 'models')} {listed(packaged.models)} in "
            f"{folder}, for Triton's {packaged.backend} backend."
        ),
        Text("The server's Python needs tcja_runtime, and what the network's backend needs, such as onnxruntime."),
        whole(f"Next: tritonserver --model-repository={folder}"),
    )
