"""Rows and columns that are not the paper's, in tables and figures."""

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from matplotlib.container import BarContainer
from test_figures_cells import ABOUT, frame_of

from robust_transfer.figures.bars import bars
from robust_transfer.figures.curves import curves
from robust_transfer.figures.heatmap import normalised_heatmap
from robust_transfer.figures.regression import regression
from robust_transfer.figures.scatter import scatter
from robust_transfer.figures.tradeoff import tradeoff
from robust_transfer.tables.layout import markdown, ours, wide
from robust_transfer.tables.metrics import METRICS, metric
from robust_transfer.tables.tidy import COLUMNS, tidy


def with_ours(values, rows=(), columns=()):
    """The tidy frame of some values; rows, columns: those that are not the paper's."""
    frame = frame_of(values)
    one = {
        "seeds": 1,
        "sd_seeds": np.nan,
        "replicates": [[v] for v in frame.value],
        "published": np.nan,
        "n": 10,
    }
    return frame.assign(ours=frame.row.isin(rows) | frame.column.isin(columns), **one)


VALUES = {(row, column, "accuracy"): 10.0 * i + j for i, row in enumerate("abc") for j, column in enumerate("xyz")}


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_the_tidy_frame_says_what_is_ours(tmp_path):
    pd.DataFrame({"index": [0], "label": [1], "prediction": [1]}).to_parquet(tmp_path / "outcomes")
    cells = [
        {"row": "a", "column": "x", "metric": "accuracy", "nodes": {"outcomes": "1"}},
        {"row": "a", "column": "y", "metric": "accuracy under y", "nodes": {"outcomes": "1"}, "ours": True},
    ]
    frame = tidy("study", "table1", cells, lambda node: tmp_path / "outcomes")
    assert list(frame.columns) == list(COLUMNS)
    assert frame.ours.tolist() == [False, True] and frame.ours.dtype == bool
    assert frame.value.tolist() == [100.0, 100.0]


def test_a_metric_goes_by_its_name_without_the_attack():
    assert metric("attack_success_rate under PGD under water") is METRICS["attack_success_rate"]
    assert metric("mean_accuracy") is METRICS["mean_accuracy"]


def test_a_row_or_column_is_ours_if_all_of_it_is():
    frame = with_ours(VALUES, rows=["c"], columns=["z"])
    assert (ours(frame, "row"), ours(frame, "column")) == (["c"], ["z"])
    assert ours(frame.drop(columns="ours"), "row") == []


def test_markdown_has_a_rule_above_our_rows_and_marks_our_columns():
    spec = {"title": "T", "corner": "Net", "measured": "M", "texts": {"Kind": {"a": "plain"}}}
    text = markdown(with_ours(VALUES, rows=["c"], columns=["z"]), spec)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert lines[0] == ["Net", "Kind", "x", "y", "z (ours)"]
    assert [line[0] for line in lines[2:]] == ["a", "b", "**ours**", "c"]
    assert lines[4] == ["**ours**", "", "", "", ""]
    assert lines[2][1:] == ["plain", "0.0", "1.0", "2.0"]
    assert "rows under **ours**" in text
    assert "ours" not in markdown(with_ours(VALUES), spec)


def test_the_csv_has_plain_names():
    assert list(wide(with_ours(VALUES, rows=["c"], columns=["z"]), "Net").columns) == ["Net", "x", "y", "z"]


# ---- figures ---------------------------------------------------------------------------------------------------------


def legend_of(figure):
    (key,) = figure.subfigs[0].legends
    handles = key.legend_handles
    return dict(zip((text.get_text() for text in key.texts), handles, strict=True))


def is_open(line):
    return matplotlib.colors.same_color(line.get_markerfacecolor(), "white")


def test_our_bars_are_hatched_and_starred():
    metrics = [{"metric": "accuracy", "label": "A"}]
    figure = bars(with_ours(VALUES, rows=["c"], columns=["z"]), {**ABOUT, "metrics": metrics}, {})
    (axis,) = figure.axes
    solid = [container for container in axis.containers if isinstance(container, BarContainer)]
    assert [bool(container.patches[0].get_hatch()) for container in solid] == [False, False, True]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["x", "y", "z *"]
    assert list(legend_of(figure)) == ["a", "b", "c *"]


def test_our_curves_have_open_markers():
    values = {(row, str(k), "accuracy"): k for row in "ab" for k in (1, 2)}
    spec = ABOUT | {"metrics": [{"metric": "accuracy", "label": "A"}], "x": "k"}
    figure = curves(with_ours(values, rows=["b"]), spec, {})
    assert [is_open(line) for line in figure.axes[0].lines] == [False, True]
    assert {name: is_open(sign) for name, sign in legend_of(figure).items()} == {"a": False, "b *": True}


def test_our_row_without_a_swept_value_is_a_point():
    values = {("a", str(k), metric): k for k in (1, 2) for metric in ("accuracy", "robustness")}
    values |= {("b", "b", metric): 5 for metric in ("accuracy", "robustness")}
    axes = {"x": {"metric": "accuracy", "label": "X"}, "y": {"metric": "robustness", "label": "Y"}}
    figure = tradeoff(with_ours(values, rows=["b"]), ABOUT | axes | {"sweep": "k"}, {})
    points = [line for line in figure.axes[0].lines if line.get_marker() not in ("*", "None", "")]
    assert [(line.get_xdata().tolist(), is_open(line)) for line in points] == [([1, 2], False), ([5], True)]
    assert {text.get_text() for text in figure.axes[0].texts} == {"1", "2"}
    assert "b *" in legend_of(figure)


def test_our_points_do_not_count_in_the_correlations():
    x = {"a": 1, "b": 2, "c": 3, "d": 9}
    values = {(row, "set", "weight_distance"): value for row, value in x.items()}
    values |= {(row, "set", "asr"): {"a": 1, "b": 2, "c": 3, "d": -50}[row] for row in x}
    spec = ABOUT | {"y": {"metric": "asr", "label": "Y"}, "x": [{"metric": "weight_distance", "label": "X"}]}
    (axis,) = scatter(with_ours(values, rows=["d"]), spec, {}).axes
    assert axis.get_title() == "Pearson r 1.00\nSpearman ρ 1.00, n = 3"
    assert [is_open(line) for line in axis.lines if line.get_marker() == "o"] == [False, False, False, True]


def test_our_points_do_not_count_in_the_fit():
    after = {"a": 11, "b": 12, "c": 13, "d": 90}
    values = {(row, column, "accuracy"): 10 for row in after for column in ("SA before", "RA before")}
    values |= {(row, f"{what} after", "accuracy"): after[row] for row in after for what in ("SA", "RA")}
    values["d", "RA after", "accuracy"] = 1
    panel = {"title": "T", "x": ["SA before", "SA after"], "y": ["RA before", "RA after"], "x_label": "", "y_label": ""}
    (axis,) = regression(with_ours(values, rows=["d"]), ABOUT | {"panels": [panel]}, {}).axes
    assert axis.get_title() == "T\nrising, $R^2$ = 1.00 (1.00 to 1.00), n = 3"
    theirs, own = (line for line in axis.lines if line.get_marker() == "o")
    assert (len(theirs.get_xdata()), own.get_xdata().tolist()) == (3, [pytest.approx(800)])
    assert "d *" in {text.get_text() for text in axis.texts}


def test_our_rows_of_a_heatmap_have_the_scale_of_the_papers():
    values = {("a", "x", "m"): 0, ("b", "x", "m"): 10, ("c", "x", "m"): 20}
    spec = {"panels": [{"title": "", "row_blocks": [["a", "b"], ["c"]]}], "column_blocks": [["x"]]}
    figure = normalised_heatmap(with_ours(values, rows=["c"]), ABOUT | spec, {})
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == ["0.00", "1.00", "2.00"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b", "c *"]
    figure = normalised_heatmap(with_ours(values, columns=["x"]), ABOUT | spec, {})
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.00", "0.50", "1.00"], "a panel of ours alone"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["x *"]
