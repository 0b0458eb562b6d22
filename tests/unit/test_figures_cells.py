"""What figures read from the tidy frame, and what all of them share. `frame_of` serves the tests of every drawing."""

import inspect
from io import BytesIO

import matplotlib
import numpy as np
import pandas as pd
import pytest

from robust_transfer.figures.cells import cells, numbers
from robust_transfer.figures.drawings import DRAWINGS
from robust_transfer.figures.style import colours

ABOUT = {"title": "A title", "measured": "Measured here -> there"}


def frame_of(values):
    """The tidy frame of {(row, column, metric): value, or (value, low, high)}."""
    rows = [
        [*place, *(value if isinstance(value, tuple) else (value, np.nan, np.nan))] for place, value in values.items()
    ]
    return pd.DataFrame(rows, columns=["row", "column", "metric", "value", "ci_low", "ci_high"])


VALUES = {
    ("b", "z", "clean"): (50, 40, 70),
    ("b", "a", "clean"): (np.nan, 0, 100),
    ("a", "z", "clean"): (0, 0.1, 3),
    ("b", "z", "asr"): (10, 9, 11),
    ("b", "z", "other"): (1, 1, 1),
}


def test_rows_and_columns_keep_the_frames_order_in_every_metric():
    found = cells(frame_of(VALUES), ["asr", "clean"])
    for part in found["asr"], found["clean"]:
        assert (list(part.value.index), list(part.value.columns)) == (["b", "a"], ["z", "a"])
    assert found["clean"].value.loc["b", "z"] == 50
    assert found["asr"].value.isna().to_numpy().tolist() == [[False, True], [True, True]]


def test_intervals_reach_down_and_up_but_never_backwards():
    value, reach = cells(frame_of(VALUES), ["clean"])["clean"].line("b", ["z"])
    assert (value.tolist(), reach.tolist()) == ([50], [[10], [20]])
    assert cells(frame_of(VALUES), ["clean"])["clean"].line("a", ["z"])[1].tolist() == [[0], [3]]


def test_what_has_no_value_has_no_interval():
    found = cells(frame_of(VALUES), ["clean"])["clean"]
    assert np.isnan([found.low.loc["b", "a"], found.high.loc["b", "a"]]).all()


def test_a_metric_that_no_cell_has_is_named():
    with pytest.raises(ValueError, match="nonsense"):
        cells(frame_of(VALUES), ["clean", "nonsense"])


def test_two_cells_in_one_place_are_an_error():
    twice = pd.concat([frame_of(VALUES)] * 2)
    with pytest.raises(ValueError, match="duplicate"):
        cells(twice, ["clean"])


def test_columns_are_numbers_as_they_read_or_as_told():
    assert list(numbers(["10", "9", "frozen", "0.5"], None).items()) == [("0.5", 0.5), ("9", 9), ("10", 10)]
    assert list(numbers(["all", "half"], {"all": 100, "half": 50}).items()) == [("half", 50), ("all", 100)]


def test_drawings_go_by_their_functions_names():
    assert {name: draw.__name__ for name, draw in DRAWINGS.items()} == {name: name for name in DRAWINGS}
    assert {tuple(inspect.signature(draw).parameters) for draw in DRAWINGS.values()} == {("frame", "spec", "tensors")}


def drawn_bars():
    metrics = [{"metric": "clean", "label": "Clean (%)"}]
    return DRAWINGS["bars"](frame_of(VALUES), {**ABOUT, "metrics": metrics}, {})


def test_title_and_measurement_are_on_the_figure():
    figure = drawn_bars()
    assert (figure.get_suptitle(), figure.get_supxlabel()) == ("A title", "Measured here → there")


def png(figure):
    target = BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def drawn_heatmap():
    blocks = {"panels": [{"title": "", "row_blocks": [["a"], ["b"]]}], "column_blocks": [["z"]]}
    frame = frame_of({("a", "z", "clean"): 1, ("b", "z", "clean"): 2})
    return DRAWINGS["normalised_heatmap"](frame, ABOUT | blocks, {})


@pytest.mark.parametrize("draw", [drawn_bars, drawn_heatmap])
def test_a_users_own_settings_change_nothing_and_stay(draw):
    plain = png(draw())
    mine = {"xtick.labelsize": 30, "ytick.labelsize": 30, "ytick.color": "red", "axes.facecolor": "red"}
    with matplotlib.rc_context(mine):
        assert png(draw()) == plain
        assert matplotlib.rcParams["xtick.labelsize"] == 30


def test_ten_names_have_ten_colours():
    assert [len(set(colours(map(str, range(count))).values())) for count in (2, 7, 8, 10, 11)] == [2, 7, 8, 10, 10]
