"""All passes, one after the other."""

from __future__ import annotations

from tcja_exporters import passes
from tcja_exporters.graph.rolling import ROLLING


def test_the_report_says_what_was_done(name, exports):
    report = exports[name][0].passes
    assert [entry["name"] for entry in report] == [*(apply.__name__ for apply in passes.PASSES), ROLLING]
    norms = {"dvs128": 5, "fashion_mnist": 2}
    assert {entry["name"]: entry["exact"] for entry in report if not entry["exact"]} == {"fold_batch_norm": False}
    assert next(e["changes"] for e in report if e["name"] == "fold_batch_norm") == norms[name]
