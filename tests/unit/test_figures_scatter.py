"""Points against distances: where they stand, what their colours and marks say, and the printed correlations."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy.stats import pearsonr, spearmanr
from test_figures_cells import ABOUT, frame_of

from robust_transfer.figures.scatter import correlations, scatter

SPEC = {
    **ABOUT,
    "y": {"metric": "asr", "label": "ASR (%)"},
    "x": [{"metric": "weight", "label": "Weight distance"}, {"metric": "feature", "label": "Feature distance"}],
}
POINTS = {  # (method, data set): ASR, weight distance, feature distance
    ("DELTA", "Dog"): (96, 1, 0.70),
    ("DELTA", "Bird"): (59, 7, 1.48),
    ("L2-SP", "Dog"): (94, 12, 0.4),
    ("L2-SP", "Bird"): (50, 300, 0.9),
    ("Re-training", "Dog"): (6, 900, 2.5),
    ("Re-training", "Bird"): (5, 1100, 2.1),
}


def drawn(points=POINTS):
    values = {}
    for place, (asr, weight, feature) in points.items():
        values |= {(*place, "asr"): (asr, asr - 2, asr + 1), (*place, "weight"): weight}
        values |= {(*place, "feature"): (feature, feature - 0.1, feature + 0.1)}
    return scatter(frame_of(values), SPEC, {})


def key(figure):
    """(colour -> method, marker -> data set), as the legend tells."""
    (legend,) = figure.subfigs[0].legends
    names = [text.get_text() for text in legend.get_texts()]
    signs = dict(zip(names, legend.legend_handles, strict=True))
    half = names.index("Data set")
    assert names[0] == "Method"
    methods = {to_hex(signs[name].get_markerfacecolor()): name for name in names[1:half]}
    return methods, {signs[name].get_marker(): name for name in names[half + 1 :]}


def read(figure, axis):
    methods, sets = key(figure)
    return {
        (methods[to_hex(line.get_color())], sets[line.get_marker()]): (line.get_xdata()[0], line.get_ydata()[0])
        for line in axis.lines
        if line.get_marker() in sets
    }


def test_points_stand_where_they_belong_under_the_legends_names():
    figure = drawn()
    for axis, which in zip(figure.axes, (1, 2), strict=True):
        assert read(figure, axis) == {place: (about[which], about[0]) for place, about in POINTS.items()}
    assert [axis.get_xlabel() for axis in figure.axes] == ["Weight distance", "Feature distance"]
    assert figure.axes[0].get_ylabel() == "ASR (%)"


def test_intervals_are_drawn_both_ways_where_there_are_any():
    weight, feature = drawn().axes
    sides = [[lines.get_segments() for lines in axis.containers[0].lines[2]] for axis in (weight, feature)]
    assert [(segment[0][1], segment[1][1]) for segment in sides[0][-1]] == [(94, 97), (57, 60)]
    assert sides[1][0][0][:, 0] == pytest.approx([0.6, 0.8])


def test_the_correlations_of_the_points_are_printed():
    for axis, which in zip(drawn().axes, (1, 2), strict=True):
        asr, x = (np.array([about[i] for about in POINTS.values()]) for i in (0, which))
        pearson, spearman = pearsonr(x, asr).statistic, spearmanr(x, asr).statistic
        log = f" (of log x {pearsonr(np.log10(x), asr).statistic:.2f})" if which == 1 else ""
        expected = f"Pearson r {pearson:.2f}{log}\nSpearman ρ {spearman:.2f}, n = 6"
        assert axis.get_title() == expected.replace("-", "−")


def test_correlations_that_one_can_reckon():
    x = np.array([1.0, 2, 3, 4, np.nan])
    assert correlations(x, 5 - 2 * x, False) == "Pearson r −1.00\nSpearman ρ −1.00, n = 4"
    assert correlations(10**x, x, True) == "Pearson r 0.82 (of log x 1.00)\nSpearman ρ 1.00, n = 4"
    assert correlations(x, np.array([2.0, 1, 4, 3, 9]), False) == "Pearson r 0.60\nSpearman ρ 0.60, n = 4"


@pytest.mark.parametrize("x", [[1.0, 2.0, np.nan], [3.0, 3.0, 3.0], [np.nan] * 3])
def test_a_correlation_that_is_not_defined_is_called_so(x):
    assert correlations(np.array(x), np.array([1.0, 2, 3]), False).startswith("correlation not defined (n = ")


def test_the_axis_is_logarithmic_only_where_values_span_over_two_decades():
    assert [axis.get_xscale() for axis in drawn().axes] == ["log", "linear"]
    tame = {place: (asr, min(weight, 100), feature) for place, (asr, weight, feature) in POINTS.items()}
    assert drawn(tame).axes[0].get_xscale() == "linear"


def test_zeros_stay_on_an_otherwise_logarithmic_axis():
    figure = drawn(POINTS | {("Linear", "Dog"): (97, 0, 0), ("Linear", "Bird"): (96, 0, 0)})
    assert figure.axes[0].get_xscale() == "symlog"
    assert "log x" not in figure.axes[0].get_title()
    assert read(figure, figure.axes[0])["Linear", "Dog"] == (0, 97)
    left, right = figure.axes[0].get_xlim()
    assert left < 0 < right


def test_points_without_a_value_are_left_out_and_not_counted():
    figure = drawn(POINTS | {("DELTA", "Dog"): (np.nan, 1, 0.7)})
    for axis in figure.axes:
        assert axis.get_title().endswith("n = 5")
        assert np.isnan(read(figure, axis)["DELTA", "Dog"][1])
    assert figure.axes[0].get_title() != drawn().axes[0].get_title()
