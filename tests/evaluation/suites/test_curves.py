"""A curve goes through its rows, and its band is their intervals."""

import pytest
from matplotlib.figure import Figure

from novakit.evaluation.suites.curves import curve

ROWS = {
    4: {"SR": 0.9, "intervals": {"SR": {"low": 0.8, "high": 1.0}}},
    8: {"SR": 0.5, "intervals": {"SR": {"low": 0.25, "high": 0.75}}},
    12: {"SR": 0.4},  # one scene: no interval
    16: {"title": "not measured"},
}


@pytest.mark.parametrize("band", [True, False])
def test_means_are_the_line_and_intervals_the_band(band):
    axis = Figure().subplots()
    curve(axis, ROWS, "SR", "NOVA", "#c2410c", band=band)
    (line,) = axis.lines
    assert line.get_xdata().tolist() == [4, 8, 12] and line.get_ydata().tolist() == [0.9, 0.5, 0.4]
    assert line.get_label() == "NOVA" and line.get_color() == "#c2410c"
    corners = {
        tuple(point) for area in axis.collections for path in area.get_paths() for point in path.vertices.tolist()
    }
    assert corners == ({(4, 0.8), (4, 1.0), (8, 0.25), (8, 0.75)} if band else set())


def test_rows_without_the_column_draw_an_empty_line():
    axis = Figure().subplots()
    curve(axis, {16: ROWS[16]}, "SR", "NOVA", "#c2410c")
    assert len(axis.lines[0].get_xdata()) == 0 and not axis.collections
