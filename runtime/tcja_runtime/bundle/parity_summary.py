"""The summary of parity in a manifest: the content of parity.json without the results of single layers and signals."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tcja_runtime.records import WrongField

Json = dict[str, Any]

_FORMER = {"streamed": "stepwise", "untold": "anytime_missing"}
"""The names of fields in schema 5, and those of today."""


def of_today(fields: Any) -> Any:
    """Returns the fields of a summary in JSON with the names of today, if they have those of schema 5."""
    if not isinstance(fields, dict):
        return fields
    named = {_FORMER.get(name, name): value for name, value in fields.items()}
    stepwise = named.get("stepwise")
    if isinstance(stepwise, dict) and "unlike" in stepwise:
        named["stepwise"] = {"differing_spikes" if k == "unlike" else k: value for k, value in stepwise.items()}
    return named


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParitySummary:
    """The result of the parity comparison during the export.

    Attributes:
        met: whether parity is met. It is True in every bundle, because an export without parity writes no bundle.
        accuracy: the accuracy of the trained network, from 0 to 1; None without labels.
        silent: the names of layers in which the trained network fired no spike.
        reference: the name of the network that the exported network was compared with, for people.
        source: the origin of the windows, for people.
        real: whether the windows are data; False for random windows.
        windows: the number of windows whose spikes were compared one by one.
        estimated: for each signal whose rounding bounds are estimates, the operations for which no bound is known.
        backends: the result for each backend, with the keys of parity.json.
        engines: the result for each engine, with the keys of parity.json.
        stepwise: the result for the stepwise network, with the keys of parity.json; None if the bundle has none.
        not_run: the reason why each engine that was not run was left out, a sentence each.
        anytime: how early the network predicts its final class, with the keys of parity.json.
        largest_count: the largest count that inputs were judged up to; 0 where inputs are not counts.
        anytime_missing: the reasons why parts of `anytime` are missing, a sentence each.
        left_out: the steps of the export that only inform and failed, a sentence each.
        unjudged: the names and classes of the modules that fire and are not known neurons.
        calibration: the windows on which the int8 scales were measured: "source", "windows" and "real"; empty without
            int8.
        verdict: the verdict in a sentence.
        cautions: what the verdict does not prove, a sentence or two for each limit.
        wide_bounds: the signals whose rounding bounds are so wide that their comparison proves little.

    A bundle of another version of this tool may lack some fields, and may have fields that are not known here. The
    first get their defaults; the second are left out.
    """

    met: bool = True
    accuracy: float | None = None
    silent: list[str] = dataclasses.field(default_factory=list)
    reference: str
    source: str = ""
    real: bool = True
    windows: int = 0
    estimated: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    backends: list[Json] = dataclasses.field(default_factory=list)
    engines: list[Json] = dataclasses.field(default_factory=list)
    stepwise: Json | None = None
    not_run: list[str] = dataclasses.field(default_factory=list)
    anytime: list[Json] = dataclasses.field(default_factory=list)
    largest_count: int = 0
    anytime_missing: list[str] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)
    unjudged: list[str] = dataclasses.field(default_factory=list)
    calibration: Json = dataclasses.field(default_factory=dict)
    verdict: str = ""
    cautions: list[str] = dataclasses.field(default_factory=list)
    wide_bounds: list[str] = dataclasses.field(default_factory=list)

    TAKES_MORE: ClassVar[bool] = True  # parity of another version may have other fields

    def __post_init__(self) -> None:
        for place, each in enumerate(self.backends):
            if not isinstance(each.get("statistics") or {}, dict):
                raise WrongField(f"backends[{place}].statistics", "is not an object")
