"""Curves: lines, bands, gaps, dashed references, panels."""

import numpy as np
from matplotlib.colors import to_hex
from test_figures_cells import ABOUT, frame_of

from robust_transfer.figures.curves import curves

METRICS = [{"metric": "clean", "label": "Clean (%)"}, {"metric": "robust", "label": "PGD-20 (%)", "limits": [0, 60]}]
CURVES = {**ABOUT, "metrics": METRICS, "x": "blocks k"}


def values(columns=("10", "9", "1")):
    """Two rows, two metrics; values and intervals that differ everywhere."""
    found = {}
    for r, row in enumerate(("CIFAR-10", "CIFAR-100")):
        for m, metric in enumerate(("clean", "robust")):
            for c, column in enumerate(columns):
                value = 10 + 20 * r + 5 * m + c
                found[row, column, metric] = (value, value - 2, value + 1)
    return found


def key(figure):
    """Colour -> name, as the legend tells; dashed ones aside."""
    (legend,) = figure.subfigs[0].legends
    return {
        to_hex(sign.get_color()): text.get_text()
        for sign, text in zip(legend.legend_handles, legend.get_texts(), strict=True)
        if sign.get_linestyle() == "-"
    }


def read(figure, axis, style="-"):
    """Name -> (xs, ys) of the lines in a style."""
    names = key(figure)
    lines = [line for line in axis.lines if line.get_linestyle() == style]
    return {names[to_hex(line.get_color())]: tuple(map(list, line.get_data())) for line in lines}


def test_lines_go_through_their_values_in_the_order_of_the_numbers():
    figure = curves(frame_of(values()), CURVES, {})
    clean, robust = figure.axes
    assert read(figure, clean) == {"CIFAR-10": ([1, 9, 10], [12, 11, 10]), "CIFAR-100": ([1, 9, 10], [32, 31, 30])}
    assert read(figure, robust)["CIFAR-100"] == ([1, 9, 10], [37, 36, 35])
    assert [axis.get_ylabel() for axis in figure.axes] == ["Clean (%)", "PGD-20 (%)"]
    assert {axis.get_xlabel() for axis in figure.axes} == {"blocks k"}
    assert robust.get_ylim() == (0, 60) != clean.get_ylim()


def test_bands_reach_from_end_to_end_of_the_intervals():
    axis = curves(frame_of(values()), CURVES, {}).axes[0]
    corners = {tuple(corner) for corner in axis.collections[0].get_paths()[0].vertices}
    assert corners >= {(1, 10), (9, 9), (10, 8), (1, 13), (9, 12), (10, 11)}


def test_a_gap_breaks_line_and_band():
    holed = values(("1", "2", "3", "4", "5")) | {("CIFAR-10", "3", "clean"): (np.nan, 0, 100)}
    figure = curves(frame_of(holed), CURVES, {})
    x, y = read(figure, figure.axes[0])["CIFAR-10"]
    assert (x, np.isnan(y).tolist()) == ([1, 2, 3, 4, 5], [False, False, True, False, False])
    band = figure.axes[0].collections[0]
    assert sum(len(path.to_polygons()) for path in band.get_paths()) == 2


def test_references_are_dashed_lines_in_their_rows_colours():
    references = {("CIFAR-10", "frozen", "robust"): 46, ("CIFAR-100", "frozen", "robust"): 23}
    spec = {**CURVES, "reference": {"column": "frozen", "label": "source"}}
    figure = curves(frame_of(values() | references), spec, {})
    clean, robust = figure.axes
    assert {name: ys for name, (_, ys) in read(figure, robust, "--").items()} == {
        "CIFAR-10": [46, 46],
        "CIFAR-100": [23, 23],
    }
    assert all(np.isnan(ys).all() for _, ys in read(figure, clean, "--").values()), "none was measured"
    assert read(figure, robust)["CIFAR-10"][0] == [1, 9, 10], "the reference is no point"
    assert figure.subfigs[0].legends[0].get_texts()[-1].get_text() == "source"


def test_a_panel_a_row_has_a_line_a_metric():
    spec = {**CURVES, "panels": "row", "y": {"label": "Accuracy (%)", "limits": [0, 100]}}
    figure = curves(frame_of(values()), spec, {})
    assert [axis.get_title() for axis in figure.axes] == ["CIFAR-10", "CIFAR-100"]
    assert read(figure, figure.axes[1]) == {
        "Clean (%)": ([1, 9, 10], [32, 31, 30]),
        "PGD-20 (%)": ([1, 9, 10], [37, 36, 35]),
    }
    assert {(axis.get_ylabel(), axis.get_ylim()) for axis in figure.axes} == {("Accuracy (%)", (0, 100))}


def test_columns_that_are_no_numbers_are_told_theirs_and_axes_may_be_logarithmic():
    spec = {**CURVES, "values": {"all": 100, "a tenth": 10}, "scale": "log"}
    figure = curves(frame_of(values(("all", "a tenth"))), spec, {})
    axis = figure.axes[0]
    assert read(figure, axis)["CIFAR-10"] == ([10, 100], [11, 10])
    assert axis.get_xscale() == "log"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["10", "100"]


def test_a_panel_a_row_has_the_places_of_its_row_and_a_gap_only_where_nothing_could_be_measured():
    found = values(("1", "2", "3", "4"))
    found = {place: value for place, value in found.items() if place[:2] != ("CIFAR-10", "2")}
    found["CIFAR-100", "3", "clean"] = (np.nan, 0, 100)
    spec = {**CURVES, "panels": "row", "y": {"label": "Accuracy (%)"}}
    first, second = curves(frame_of(found), spec, {}).axes
    assert [list(line.get_xdata()) for line in first.lines] == [[1, 3, 4]] * 2
    assert not any(np.isnan(line.get_ydata()).any() for line in first.lines)
    assert list(first.get_xticks()) == [1, 3, 4]
    assert [list(line.get_xdata()) for line in second.lines] == [[1, 2, 3, 4]] * 2
    assert np.isnan(second.lines[0].get_ydata()).tolist() == [False, False, True, False]
