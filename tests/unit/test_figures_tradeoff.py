"""Trade-offs: lines along a sweep, numbers beside points and the star."""

import numpy as np
import pytest
from test_figures_cells import ABOUT, frame_of
from test_figures_curves import read
from test_figures_regression import named_once_and_apart

from robust_transfer.figures.tradeoff import tradeoff

CLEAN, ROBUST = {"metric": "clean", "label": "Clean (%)"}, {"metric": "robust", "label": "PGD-20 (%)"}
TRADEOFF = {**ABOUT, "x": CLEAN, "y": ROBUST, "sweep": "lambda"}
SWEEP = {  # row: {lambda: (clean, robust)}
    "Dog": {"10": (82, 60), "0.1": (75, 8), "1": (80, 38), "5": (81, 50)},
    "Bird": {"10": (88, 30), "0.1": (84, 4), "1": (87, 14), "5": (87.5, 22)},
}


def swept(rows=SWEEP, **more):
    found = {}
    for row, points in rows.items():
        for column, (clean, robust) in points.items():
            found[row, column, "clean"] = (clean, clean - 0.5, clean + 0.5)
            found[row, column, "robust"] = (robust, robust - 1, robust + 2)
    found |= {(row, "chosen", "chosen"): value for row, value in more.items()}
    return frame_of(found)


def stars(axis):
    return {tuple(np.concatenate(line.get_data())) for line in axis.lines if line.get_marker() == "*"} - {()}


def test_lines_follow_the_sweep_and_each_point_has_its_number():
    figure = tradeoff(swept(), TRADEOFF, {})
    (axis,) = figure.axes
    assert read(figure, axis) == {
        "Dog": ([75, 80, 81, 82], [8, 38, 50, 60]),
        "Bird": ([84, 87, 87.5, 88], [4, 14, 22, 30]),
    }
    written = {tuple(text.xy): text.get_text() for text in axis.texts}
    assert written == {point: number for points in SWEEP.values() for number, point in points.items()}
    inner = axis.figure
    assert (inner.get_supxlabel(), inner.get_supylabel()) == ("Clean (%)", "PGD-20 (%)")
    assert inner.legends[0].get_texts()[-1].get_text() == "numbers: lambda"
    named_once_and_apart(figure, axis)


def test_the_star_stands_at_the_chosen_value():
    (axis,) = tradeoff(swept(Dog=1, Bird=np.nan), TRADEOFF, {}).axes
    assert stars(axis) == {(80, 38)}
    frame = swept(Bird=5.0).replace({"metric": {"chosen": "chosen_lambda"}})
    (axis,) = tradeoff(frame, {**TRADEOFF, "chosen": "chosen_lambda"}, {}).axes
    assert stars(axis) == {(87.5, 22)}


def test_a_choice_outside_the_sweep_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"Dog: 2 is chosen, and is not one of 0\.1, 1, 5, 10"):
        tradeoff(swept(Dog=2), TRADEOFF, {})


def test_intervals_of_both_metrics_are_drawn():
    (axis,) = tradeoff(swept(), TRADEOFF, {}).axes
    across, along = (lines.get_segments()[0] for lines in axis.containers[0].lines[2])
    assert (across.tolist(), along.tolist()) == ([[74.5, 8], [75.5, 8]], [[75, 7], [75, 10]])


def test_a_point_without_a_value_has_no_number_and_breaks_the_line():
    holed = {"Dog": SWEEP["Dog"] | {"1": (80, np.nan)}}
    figure = tradeoff(swept(holed), TRADEOFF, {})
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["0.1", "5", "10"]
    assert np.isnan(read(figure, axis)["Dog"][1]).tolist() == [False, True, False, False]


def test_many_lines_get_a_panel_each():
    rows = {f"data set {i}": SWEEP["Dog"] | {"5": (81 + i / 10, 50)} for i in range(7)}
    figure = tradeoff(swept(rows, **{"data set 3": 5}), TRADEOFF, {})
    assert [axis.get_title() for axis in figure.axes] == list(rows)
    assert [stars(axis) for axis in figure.axes] == [set()] * 3 + [{(81.3, 50)}] + [set()] * 3
    assert len(tradeoff(swept(dict(list(rows.items())[:6])), TRADEOFF, {}).axes) == 1
