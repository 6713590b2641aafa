"""The parity of a bundle's network as its manifest holds it: parity.json without the figures of layers and signals."""

from __future__ import annotations

import dataclasses
from typing import Any

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParitySummary:
    """The parity of an exported network, as its export found it.

    Attributes:
        met: whether parity is met, which it is in every bundle.
        accuracy: the accuracy of the trained network, from 0 to 1; None without labels.
        silent: the names of layers in which the trained network fired no spike.
        reference: what the exported network was compared with, for people.
        source: where the windows come from, for people.
        real: whether the windows are data; False for random ones.
        windows: the number of windows that were judged spike by spike.
        estimated: by signal whose bounds are estimates, the operations for which no bound is known.
        backends: the comparison in each backend, as in parity.json.
        engines: the comparison of each engine, as in parity.json.
        streamed: the comparison of the stepwise network, as in parity.json; None without one.
        not_run: why engines of the bundle were not run, a sentence each.
        anytime: how early predictions can be had, as in parity.json.
        untold: what is not known of that, a sentence each.
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
    streamed: Json | None = None
    not_run: list[str] = dataclasses.field(default_factory=list)
    anytime: list[Json] = dataclasses.field(default_factory=list)
    untold: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def from_dict(cls, fields: Json) -> ParitySummary:
        """The inverse of `dataclasses.asdict`, also from JSON.

        A bundle of another version may lack some of the figures, or have others, which are left out.

        Raises:
            TypeError: the fields are no dictionary.
            KeyError: the reference is missing.
        """
        if not isinstance(fields, dict):
            raise TypeError(f"parity is a {type(fields).__name__}, not a dict")
        if not isinstance(fields.get("reference"), str):
            raise KeyError("parity.reference is missing")
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in known})
