"""Heatmaps, by what stands on their axes."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, QuadMesh

from robust_transfer.figures.heatmap import heatmap, label_text, normalise, normalised_heatmap
from robust_transfer.plan.published import published_table
from robust_transfer.studies.davchev import COLUMNS, figure_panels


def test_each_column_goes_from_its_lowest_to_its_highest():
    table = pd.DataFrame({"a": [10.0, 30.0, 20.0], "b": [-1.0, 0.0, 3.0]})
    assert normalise(table).to_numpy().tolist() == [[0, 0], [1, 0.25], [0.5, 1]]


def test_a_column_of_equal_values_is_zero():
    assert normalise(pd.DataFrame({"a": [7.0, 7.0], "b": [0.0, 0.0]})).to_numpy().tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("R_pgd->nat 12", r"$R_{pgd\rightarrow nat}$ 12"),
        ("R_nat", r"$R_{nat}$"),
        ("without a symbol", "without a symbol"),
        ("my_own->method", "my_own→method"),
    ],
)
def test_labels_are_set_as_in_the_paper(row, text):
    assert label_text(row) == text


def drawn(values, panels, column_blocks, draw=normalised_heatmap):
    """A figure of values {(row, column): value}, given in any order."""
    cells = [{"row": row, "column": column, "value": value} for (row, column), value in values.items()]
    spec = {"title": "A title", "measured": "Measured here", "panels": panels, "column_blocks": column_blocks}
    figure = draw(pd.DataFrame(cells[::-1]), spec, {})
    figure.canvas.draw()
    return figure


def panel_axes(figure):
    """The axes of the panels; the colour bar's are left out."""
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]


def annotated(axis):
    """The texts in the cells, row by row from the top."""
    rows, columns = len(axis.get_yticks()), len(axis.get_xticks())
    found = {text.get_position(): text.get_text() for text in axis.texts}
    return [[found[column + 0.5, row + 0.5] for column in range(columns)] for row in range(rows)]


def white_lines(axis):
    """(heights of the horizontal white lines, places of the vertical ones); each goes from edge to edge."""
    horizontal, vertical = [], []
    width, height = len(axis.get_xticks()), len(axis.get_yticks())
    for lines in axis.collections:
        if not isinstance(lines, LineCollection):
            continue
        assert (lines.get_colors() == 1).all(), "white"
        for (x0, y0), (x1, y1) in lines.get_segments():
            if y0 == y1:
                assert sorted((x0, x1)) == [0, width]
                horizontal.append(y0)
            else:
                assert x0 == x1
                assert sorted((y0, y1)) == [0, height]
                vertical.append(x0)
    return horizontal, vertical


def test_a_heatmap_of_per_cents_shows_them_as_they_are_and_nothing_where_nothing_was_measured():
    values = {("Head", "clean"): 90, ("Head", "PGD"): 20.25, ("Mine", "clean"): 80}
    figure = drawn(values, [{"title": "", "row_blocks": [["Head"], ["Mine"]]}], [["clean", "PGD"]], heatmap)
    (axis,) = panel_axes(figure)
    found = {text.get_position(): text.get_text() for text in axis.texts}
    assert found == {(0.5, 0.5): "90.0", (1.5, 0.5): "20.2", (0.5, 1.5): "80.0"}
    assert axis.collections[0].get_clim() == (0, 100)


@pytest.mark.parametrize("long", ["certified accuracy at 0.25", "Incomprehensibilities 2"])
def test_long_names_of_columns_do_not_overlap(long):
    columns = [f"{long} {place}" for place in range(12)]
    values = {("Head", column): 50 for column in columns}
    figure = drawn(values, [{"title": "", "row_blocks": [["Head"]]}], [columns], heatmap)
    (axis,) = panel_axes(figure)
    assert [label.get_text().replace("\n", " ") for label in axis.get_xticklabels()] == columns
    if not axis.get_xticklabels()[0].get_rotation():
        ends = [label.get_window_extent() for label in axis.get_xticklabels()]
        assert all(left.x1 <= right.x0 for left, right in pairwise(ends))
    cell = axis.get_window_extent().height / figure.dpi
    assert cell > 0.2, "the names leave no room for the cells"


def test_a_heatmap_of_three_rows():
    values = {("R_b", "x"): 10, ("R_b", "z"): 3, ("R_b", "y"): 0}
    values |= {("R_a->b 1", "x"): 20, ("R_a->b 1", "z"): 3, ("R_a->b 1", "y"): 40}
    values |= {("R_c", "x"): 12.5, ("R_c", "z"): 3, ("R_c", "y"): 30}
    values |= {("not shown", "x"): 1000, ("not shown", "z"): -1000, ("not shown", "y"): 1000}
    figure = drawn(values, [{"title": "", "row_blocks": [["R_b"], ["R_a->b 1", "R_c"]]}], [["z"], ["x", "y"]])
    (axis,) = panel_axes(figure)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["$R_{b}$", r"$R_{a\rightarrow b}$ 1", "$R_{c}$"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["z", "x", "y"]
    assert axis.get_ylim() == (3, 0), "the first row is on top"
    assert annotated(axis) == [["0.00", "0.00", "0.00"], ["0.00", "1.00", "1.00"], ["0.00", "0.25", "0.75"]]
    (mesh,) = [artist for artist in axis.collections if isinstance(artist, QuadMesh)]
    assert np.asarray(mesh.get_array()).reshape(3, 3).tolist() == [[0, 0, 0], [0, 1, 1], [0, 0.25, 0.75]]
    assert mesh.get_clim() == (0, 1)
    assert white_lines(axis) == ([1], [1])
    assert figure.get_suptitle() == "A title"
    assert figure.get_supxlabel() == "Measured here"


def test_each_panel_is_normalised_by_its_own_rows():
    values = {("a", "x"): 0, ("b", "x"): 10, ("c", "x"): 100, ("d", "x"): 300}
    panels = [{"title": "P", "row_blocks": [["a", "b"]]}, {"title": "Q", "row_blocks": [["d"], ["c"]]}]
    first, second = panel_axes(drawn(values, panels, [["x"]]))
    assert annotated(first) == [["0.00"], ["1.00"]]
    assert annotated(second) == [["1.00"], ["0.00"]]
    assert (first.get_title(), second.get_title()) == ("P", "Q")
    assert white_lines(first) == ([], [])
    assert white_lines(second) == ([1], [])


BEST_IN_PRINT = [
    ["R_nat->fgsm 12", "R_nat->fgsm 56", "R_nat->pgd 56"],
    ["R_fgsm->fgsm 12", "R_fgsm->fgsm 56", "R_pgd->pgd 12", "R_pgd->pgd 56"],
]
"""The best rows of the paper's figure 3, between its white lines."""


def test_the_best_rows_are_found_in_the_numbers():
    values = {(row, column): value for row, value in zip("abcde", (9, 1, 5, 7, 3), strict=True) for column in "xy"}
    panel = {"title": "", "row_blocks": [["a"]], "best": {"count": 2, "row_blocks": [["b", "c"], ["e"], ["d", "b"]]}}
    (axis,) = panel_axes(drawn(values, [panel], [["x", "y"]]))
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "c", "d"]
    assert white_lines(axis)[0] == [1, 2]


@pytest.mark.parametrize("name", ["fig2", "fig3", "fig4", "fig5"])
def test_davchevs_figures_of_the_printed_numbers(name):
    printed, panels = published_table("davchev", "table1"), figure_panels()[name]
    figure = drawn(printed, panels, [["clean"], ["BB-FGSM", "BB-PGD"], ["WB-FGSM", "WB-PGD"]])
    if name == "fig3":
        panels = [panels[0] | {"row_blocks": panels[0]["row_blocks"] + BEST_IN_PRINT}]
    for axis, panel in zip(panel_axes(figure), panels, strict=True):
        rows = [row for block in panel["row_blocks"] for row in block]
        assert len(set(rows)) == len(rows)
        assert [label.get_text() for label in axis.get_yticklabels()] == [label_text(row) for row in rows]
        columns = np.array([[printed[row, column] for column in COLUMNS] for row in rows])
        low, high = columns.min(0), columns.max(0)
        expected = (columns - low) / np.where(high > low, high - low, 1)
        assert [[float(text) for text in line] for line in annotated(axis)] == pytest.approx(expected, abs=0.00501)
        borders = np.cumsum([len(block) for block in panel["row_blocks"]])[:-1].tolist()
        assert white_lines(axis) == (borders, [1, 3])


def test_figure_4_is_complete():
    (panel,) = figure_panels()["fig4"]
    rows = [row for block in panel["row_blocks"] for row in block]
    assert sorted(rows) == sorted({row for row, _ in published_table("davchev", "table1")})
