"""One line of a curve: a family of rows against a number, with intervals as a band. Source: ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curve(
    axis: Axes,
    rows: Mapping[float, Mapping[str, Any]],
    column: str,
    label: str,
    colour: str,
    style: str = "o-",
    band: bool = True,
) -> None:
    """Draw the means of some rows of a report's table and their 95 % intervals, over a faint grid.

    Args:
        axis: of matplotlib, to draw on.
        rows: {x: row of a table}, from left to right; rows without the column are left out.
        column: of the table, such as "BG-SSIM".
        label, colour, style: of the line, as matplotlib has them.
        band: False leaves the intervals out, where two bands would hide each other.
    """
    points = {x: row for x, row in rows.items() if row.get(column) is not None}
    axis.plot(list(points), [row[column] for row in points.values()], style, color=colour, label=label, markersize=4)
    axis.grid(alpha=0.3)
    bounds = {x: row["intervals"][column] for x, row in points.items() if column in row.get("intervals", {})}
    if band and bounds:
        low, high = ([bound[end] for bound in bounds.values()] for end in ("low", "high"))
        axis.fill_between(list(bounds), low, high, color=colour, alpha=0.15)
