"""The rows of a notebook's table on the comparison with the trained network."""

from __future__ import annotations

from tcja_deploy.formatting import portion, windows
from tcja_deploy.parity import wording
from tcja_deploy.parity.verdict import Report
from tcja_runtime.counting import counted


def comparison_rows(report: Report) -> list[tuple[str, str]]:
    """The rows on the comparison: the windows, flips and accuracy in each backend, and what is not proven."""
    rows = [("judged", f"{windows(report.windows)} ({report.source})")]
    for found in report.backends:
        said = f"{counted(found.flips, 'flip')}, {found.unexplained:,} unexplained"
        if found.statistics:
            same, right = found.statistics, found.statistics.accuracy
            if same.paired:
                said += f"; the trained network's class in {portion(same.same_class, same.paired, 'window')}"
            if right.labelled:
                said += f"; right in {portion(right.right, right.labelled, 'window')}"
        rows.append((found.backend, said))
    return [*rows, *(("caution", line) for line in wording.cautions(report))]
