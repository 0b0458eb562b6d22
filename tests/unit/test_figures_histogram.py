"""Histograms: shares, means, bins."""

import numpy as np
import pandas as pd
import pytest
from test_figures_cells import ABOUT

from robust_transfer.figures.histogram import histogram


def test_histograms_show_shares_means_and_share_their_bins():
    given = {"a": np.array([0.0, 1, 1, np.nan]), "b": np.array([[2.0], [4.0]]), "none": np.array([np.nan])}
    spec = {
        **ABOUT,
        "x": "distance",
        "bins": 4,
        "panels": [
            {"title": "P", "series": [{"tensor": "a", "label": "train"}, {"tensor": "b", "label": "test"}]},
            {"title": "Q", "series": [{"tensor": "none", "label": "empty"}]},
        ],
    }
    first, second = histogram(pd.DataFrame(), spec, given).axes
    texts = [text.get_text() for text in first.get_legend().get_texts()]
    assert texts == ["train: mean 0.667, n = 3", "test: mean 3.00, n = 2"]
    assert [text.get_text() for text in second.get_legend().get_texts()] == ["empty: no values"]
    assert [axis.get_legend().get_title().get_text() for axis in (first, second)] == ["P", "Q"]
    lined = [patch.get_xy() for patch in first.patches if not patch.get_fill()]
    assert [corners[1:-1:2, 1].tolist() for corners in lined] == [
        pytest.approx([100 / 3, 200 / 3, 0, 0]),
        [0, 0, 50, 50],
    ]
    assert [sorted(set(corners[:, 0])) for corners in lined] == [[0, 1, 2, 3, 4]] * 2
    assert [line.get_xdata()[0] for line in first.lines] == pytest.approx([2 / 3, 3])
    assert (first.get_xlabel(), first.get_ylabel(), len(second.patches)) == ("distance", "Share of images (%)", 0)
