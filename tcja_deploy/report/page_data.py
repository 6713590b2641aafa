"""What the report of an export shows besides the manifest and the comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tcja_deploy.report.answers import Answers
from tcja_deploy.report.network_profile import NetworkProfile
from tcja_exporters.graph.outline import Block


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageData:
    """What a report shows besides the manifest and the comparison.

    Attributes:
        bundle: the name of the bundle's folder, for commands.
        profile: the behaviour of the trained network on the windows of the report.
        answers: the answers of both networks; None if they could not be collected.
        outline: the layers of the network, for a drawing; empty if it could not be made.
        files: the size in bytes of each file of the models and engines, by its name in the bundle.
    """

    bundle: str
    profile: NetworkProfile
    answers: Answers | None = None
    outline: Sequence[Block] = ()
    files: Mapping[str, int] = dataclasses.field(default_factory=dict)
