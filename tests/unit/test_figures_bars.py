"""Bars: heights, intervals, colours, gaps and the room that they take."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.container import BarContainer, ErrorbarContainer
from test_figures_cells import ABOUT, frame_of

from robust_transfer.figures.bars import bars

METRICS = [{"metric": "clean", "label": "Clean accuracy (%)"}, {"metric": "asr", "label": "ASR (%)"}]
VALUES = {
    ("DELTA", "Dog", "clean"): (84, 82, 85),
    ("DELTA", "Bird", "clean"): (79, 76, 81),
    ("Re-training", "Dog", "clean"): (71, 70, 73),
    ("Re-training", "Bird", "clean"): (70, 68, 71),
    ("DELTA", "Dog", "asr"): (96, 94, 97),
    ("DELTA", "Bird", "asr"): (59, 57, 62),
    ("Re-training", "Dog", "asr"): (np.nan, np.nan, np.nan),
    ("Re-training", "Bird", "asr"): (0, 0, 1),
}


def drawn(values, metrics=METRICS, **spec):
    return bars(frame_of(values), {**ABOUT, "metrics": metrics, **spec}, {})


def read(figure, metrics=METRICS):
    """{(method, data set, metric): (height, low end, high end of its error bar)}, as a reader finds them."""
    (key,) = figure.subfigs[0].legends
    method_of = {
        patch.get_facecolor(): text.get_text() for patch, text in zip(key.get_patches(), key.texts, strict=True)
    }
    found = {}
    for axis, about in zip(figure.axes, metrics, strict=True):
        groups = [label.get_text() for label in axis.get_xticklabels()]
        solid = [container for container in axis.containers if isinstance(container, BarContainer)]
        thin = [container for container in axis.containers if isinstance(container, ErrorbarContainer)]
        for rectangles, errors in zip(solid, thin, strict=True):
            for rectangle, segment in zip(rectangles, errors.lines[2][0].get_segments(), strict=True):
                middle = rectangle.get_x() + rectangle.get_width() / 2
                place = method_of[rectangle.get_facecolor()], groups[round(middle)], about["metric"]
                ends = segment[:, 1] if len(segment) else (np.nan, np.nan)
                found[place] = (rectangle.get_height(), *ends)
                assert len(segment) == 0 or segment[:, 0] == pytest.approx(middle)
    return found


def test_every_value_and_interval_stands_where_legend_and_axis_say():
    found = read(drawn(VALUES))
    assert found.keys() == VALUES.keys()
    for place, value in VALUES.items():
        assert found[place] == pytest.approx(value, nan_ok=True), place


def test_panels_carry_their_metrics_labels_and_go_from_0_to_100():
    figure = drawn(VALUES, x="training images a class")
    assert [axis.get_ylabel() for axis in figure.axes] == ["Clean accuracy (%)", "ASR (%)"]
    assert {axis.get_ylim() for axis in figure.axes} == {(0, 100)}
    assert {axis.get_xlabel() for axis in figure.axes} == {"training images a class"}


def test_limits_can_be_told():
    figure = drawn(VALUES, [METRICS[0] | {"limits": [0, 90]}])
    assert figure.axes[0].get_ylim() == (0, 90)


def test_a_gap_is_marked_and_a_zero_is_not():
    clean, asr = drawn(VALUES).axes
    assert [text.get_text().strip() for text in clean.texts] == []
    (gap,) = asr.texts
    assert gap.get_text().strip() == "n/a"
    assert 0 < gap.get_position()[0] < 0.5, "right of the middle of the first group, where Re-training would stand"


def test_bars_of_a_group_stand_side_by_side():
    (axis, _) = drawn(VALUES).axes
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axis.patches)
    assert all(right <= left for (_, right), (left, _) in pairwise(edges))


def places(figure):
    return [(round(axis.get_position().x0, 2), round(axis.get_position().y0, 2)) for axis in figure.axes]


def many(methods, columns):
    return {
        (f"method {m}", column, metric): m + 1.0
        for m in range(methods)
        for column in columns
        for metric in ("clean", "asr")
    }


def test_wide_panels_stand_one_below_the_other():
    (x0, y0), (x1, y1) = places(drawn(many(2, ["Dog", "Bird"])))
    assert y0 == y1 and x0 < x1
    (x0, y0), (x1, y1) = places(drawn(many(10, [f"data set {i}" for i in range(12)])))
    assert x0 == x1 and y0 > y1


def test_names_that_are_too_long_for_their_place_are_slanted():
    short = drawn(many(2, ["Dog", "Bird"])).axes[0].get_xticklabels()
    long = drawn(many(2, [f"a very long data set {i}" for i in range(6)])).axes[0].get_xticklabels()
    assert {label.get_rotation() for label in short} == {0}
    assert {label.get_rotation() for label in long} == {35}


def test_the_eleventh_method_is_told_from_the_first_by_hatches():
    axis = drawn(many(11, ["Dog"])).axes[0]
    assert axis.patches[0].get_facecolor() == axis.patches[10].get_facecolor()
    assert axis.patches[0].get_hatch() != axis.patches[10].get_hatch()
