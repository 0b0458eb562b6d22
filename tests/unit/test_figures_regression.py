"""Improvements against each other: the paper's R² from its tables, the fitted line, the names beside the points."""

import re

import numpy as np
import pytest
from test_figures_cells import ABOUT, frame_of

from robust_transfer.figures.regression import improvement, interval, r_squared, regression
from robust_transfer.plan.published import published_table


def panel(start, metric):
    return {
        "title": start,
        "x": ["Random Init. SA", f"{start} SA"],
        "y": [f"Random Init. {metric}", f"{start} {metric}"],
        "x_label": "Improvement of SA (%)",
        "y_label": f"Improvement of {metric} (%)",
    }


def drawn(values, panels):
    frame = frame_of({(row, column, "accuracy"): value for (row, column), value in values.items()})
    figure = regression(frame, {**ABOUT, "panels": panels}, {})
    return figure, figure.axes


SUPERVISED, SELF = "Sup. Pre-Training", "Self-Sup. Pre-Training"
PRINTED = [  # Figures 2 and 3 of the paper
    ("table2", SUPERVISED, "RA", 0.98),
    ("table2", SELF, "RA", 0.94),
    ("table3", SUPERVISED, "RA", 0.92),
    ("table3", SELF, "RA", 0.89),
    ("table3", SUPERVISED, "ACR", 0.94),
    ("table3", SELF, "ACR", 0.86),
]


@pytest.mark.parametrize("table", ["table2", "table3"])
def test_the_papers_r_squared_come_out_of_its_tables(table):
    wanted = [printed for printed in PRINTED if printed[0] == table]
    values = published_table("vaishnavi", table)
    figure, axes = drawn(values, [panel(start, metric) for _, start, metric, _ in wanted])
    assert len(axes) == len(wanted)
    for axis, (_, start, metric, r2) in zip(axes, wanted, strict=True):
        name, said = axis.get_title().split("\n")
        found = re.fullmatch(r"rising, \$R\^2\$ = ([\d.]+) \(([\d.]+) to ([\d.]+)\), n = 12", said)
        assert name == start and float(found[1]) == r2
        assert float(found[2]) < r2 < float(found[3]) <= 1
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("Improvement of SA (%)", f"Improvement of {metric} (%)")
        for text in axis.texts:  # the point that a name stands for is its task's
            x, y = (
                100 * (values[text.get_text(), f"{start} {what}"] / values[text.get_text(), f"Random Init. {what}"] - 1)
                for what in ("SA", metric)
            )
            assert text.xy == pytest.approx((x, y))
        assert len(axis.texts) == 12
        named_once_and_apart(figure, axis)


def named_once_and_apart(figure, axis):
    """No name covers another, or a point, or sticks out of the panel."""
    figure.draw_without_rendering()
    boxes = [text.get_window_extent().padded(-1) for text in axis.texts]
    points = axis.transData.transform([text.xy for text in axis.texts])
    assert not any(box.contains(*point) for box in boxes for point in points)
    frame = axis.bbox.padded(2)
    for place, box in enumerate(boxes):
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        for other, text in zip(boxes[:place], axis.texts, strict=False):
            assert not box.overlaps(other), (axis.texts[place].get_text(), text.get_text())


BEFORE, AFTER = "Random Init. SA", f"{SUPERVISED} SA"
RA = ["Random Init. RA", f"{SUPERVISED} RA"]


def four(ys, xs=(10, 20, 30, 40)):
    """Tasks whose SA improves by xs and whose RA improves by ys per cent."""
    values = {}
    for place, (x, y) in enumerate(zip(xs, ys, strict=True)):
        task = f"task {place}"
        values |= {(task, BEFORE): 50, (task, AFTER): 50 * (1 + x / 100)}
        values |= {(task, RA[0]): 20, (task, RA[1]): 20 * (1 + y / 100)}
    return values


def red_line(axis):
    (line,) = [line for line in axis.lines if line.get_color() == "#EE6677"]
    return np.array(line.get_data()).T


def test_the_line_is_the_least_squares_fit_over_the_points_span():
    _, (axis,) = drawn(four([5, 15, 5, 15]), [panel(SUPERVISED, "RA")])
    slope, intercept = np.polyfit([10, 20, 30, 40], [5, 15, 5, 15], 1)
    assert red_line(axis) == pytest.approx(np.array([[10, intercept + 10 * slope], [40, intercept + 40 * slope]]))
    assert "rising, $R^2$ = 0.20 (" in axis.get_title()


def test_a_falling_line_says_so():
    _, (axis,) = drawn(four([15, 10, 5, 0]), [panel(SUPERVISED, "RA")])
    assert "falling, $R^2$ = 1.00 (1.00 to 1.00), n = 4" in axis.get_title()


def test_the_interval_is_a_bootstrap_over_tasks():
    random = np.random.default_rng(1)
    x = random.normal(size=40)
    y = x + random.normal(size=40)
    low, high = interval(np.append(x, np.nan), np.append(y, 0))
    drawn = random.integers(40, size=(3000, 40))
    expected = np.percentile([np.corrcoef(x[some], y[some])[0, 1] ** 2 for some in drawn], [2.5, 97.5])
    assert (low, high) == pytest.approx(tuple(expected), abs=0.03)


def test_points_are_improvements_in_per_cent():
    _, (axis,) = drawn(four([5, 15, -5, 25]), [panel(SUPERVISED, "RA")])
    (points,) = [line for line in axis.lines if line.get_marker() == "o"]
    assert np.array(points.get_data()) == pytest.approx(np.array([[10, 20, 30, 40], [5, 15, -5, 25]]))


def test_a_task_without_a_value_is_no_point_and_not_counted():
    _, (axis,) = drawn(four([5, 15, np.nan, 15]), [panel(SUPERVISED, "RA")])
    assert axis.get_title().endswith("n = 3")
    assert [text.get_text() for text in axis.texts] == ["task 0", "task 1", "task 3"]


def test_too_few_tasks_have_no_r_squared_and_no_line():
    _, (axis,) = drawn(four([5, np.nan, np.nan, 15]), [panel(SUPERVISED, "RA")])
    assert axis.get_title().endswith("$R^2$ not defined, n = 2")
    assert np.isnan(red_line(axis)).all()


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [([1, 2, 3], [3, 2, 1], 1), ([1, 2, 3, 4], [1, -1, -1, 1], 0), ([1, 2, 3, np.nan], [1, 3, 2, 99], 0.25)],
)
def test_r_squared(x, y, expected):
    assert r_squared(np.array(x, float), np.array(y, float)) == pytest.approx(expected)


@pytest.mark.parametrize("y", [[1, np.nan, 2], [4, 4, 4]])
def test_r_squared_is_nan_where_it_is_not_defined(y):
    assert np.isnan(r_squared(np.array([1.0, 2, 3]), np.array(y, float)))


def test_errors_of_both_values_reach_the_improvement():
    values = {("task", BEFORE, "m"): (50, 45, 55), ("task", AFTER, "m"): (60, 57, 63)}
    wide = frame_of(values).pivot(index="row", columns="column")
    better, reach = improvement(wide, BEFORE, AFTER)
    assert better == pytest.approx([20])
    assert reach == pytest.approx([120 * np.hypot(0.1, 0.05)])
