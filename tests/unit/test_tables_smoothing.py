"""Tables of certificates: metrics of smoothed and plain classifiers, improvements, printed numbers, blank places."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from robust_transfer import store
from robust_transfer.estimates import Z, proportion
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.published import PRINTED
from robust_transfer.run import products
from robust_transfer.stages.node import KINDS
from robust_transfer.tables.layout import markdown
from robust_transfer.tables.metrics import METRICS, metric
from robust_transfer.tables.tidy import tidy


def certificates(path, label, prediction, radius):
    columns = {"index": range(len(label)), "label": label, "prediction": prediction, "radius": radius}
    pd.DataFrame(columns).to_parquet(path)
    return path


@pytest.fixture
def certified(tmp_path):
    """Of five images three are right, two of them at radius 0.5 and more; one abstains, one is wrong and far."""
    return certificates(tmp_path / "c.parquet", [1, 1, 1, 1, 1], [1, 1, 1, -1, 0], [0.2, 0.5, 0.9, 0.0, 0.8])


@pytest.fixture
def plain(tmp_path):
    """Outcomes of six images, of which the first, third, fourth and last were certified; two of these are right."""
    path, certified = tmp_path / "o.parquet", tmp_path / "certified.parquet"
    outcomes = pd.DataFrame({"index": range(6), "label": [1, 1, 0, 0, 1, 1], "prediction": [1, 1, 0, 1, 1, 0]})
    outcomes.to_parquet(path)
    pd.DataFrame({"index": [0, 2, 3, 5]}).to_parquet(certified)
    return path, certified


def test_what_certificates_say(certified):
    assert METRICS["smoothed_accuracy"](certified) == proportion(3, 5)
    assert METRICS["certified_accuracy_0.5"](certified) == proportion(2, 5)
    assert metric("certified_accuracy_0.25")(certified) == proportion(2, 5)
    assert metric("certified_accuracy_0.1")(certified) == proportion(3, 5)
    assert metric("accuracy") is METRICS["accuracy"]
    assert METRICS["average_certified_radius"](certified).value == pytest.approx((0.2 + 0.5 + 0.9) / 5)


def test_a_classifier_that_is_not_smoothed_has_no_radius(plain):
    for name in ("unsmoothed_certified_accuracy_0.5", "unsmoothed_average_certified_radius"):
        found = METRICS[name](*plain)
        assert (found.value, found.n) == (0.0, 4)
        assert math.isnan(found.low), "nothing is estimated"


def test_its_accuracy_is_that_of_the_images_that_are_certified(plain):
    assert METRICS["unsmoothed_accuracy"](*plain) == proportion(2, 4)


def test_the_improvement_pairs_what_is_of_the_same_images(tmp_path):
    before = certificates(tmp_path / "before", [1] * 4, [1, 1, 0, 0], [1.0] * 4)
    after = certificates(tmp_path / "after", [1] * 4, [1, 1, 1, 0], [1.0] * 4)
    mean = METRICS["mean_improvement_smoothed_accuracy"]
    found = mean(before0=before, after0=after)
    assert (found.value, found.n) == (50.0, 4)
    # d(after / before): of the third image, which alone differs, 100 / 50 from after; of each, their own shares.
    moves = 100 * (np.array([25, 25, 25, -75]) / 50 - 75 / 50**2 * np.array([50, 50, -50, -50]))
    assert found.high - found.value == pytest.approx(Z * moves.std(ddof=1) / 2)
    assert found.high - found.value == pytest.approx(found.value - found.low)
    assert mean(before0=before, after0=before)[:3] == (0, 0, 0)
    twice = mean(before0=before, after0=after, before1=before, after1=after)
    assert twice == pytest.approx(found), "the same images again say nothing more"
    others = certificates(tmp_path / "others", [0] * 4, [0, 0, 1, 1], [1.0] * 4)
    none = certificates(tmp_path / "none", [0] * 4, [1] * 4, [1.0] * 4)
    assert mean(before0=before, after0=after, before1=others, after1=others).high == pytest.approx(
        25 + (found.high - found.value) / 2
    )
    assert math.isnan(mean(before0=none, after0=others).value)


def test_the_mean_improvement_pairs_its_roles(tmp_path):
    one = certificates(tmp_path / "1", [1] * 4, [1, 1, 0, 0], [1.0] * 4)
    two = certificates(tmp_path / "2", [1] * 4, [1, 1, 1, 0], [1.0] * 4)
    four = certificates(tmp_path / "4", [1] * 4, [1, 1, 1, 1], [2.0] * 4)
    pairs = {"before0": one, "after0": two, "before1": one, "after1": four}
    assert METRICS["mean_improvement_smoothed_accuracy"](**pairs).value == pytest.approx((50 + 100) / 2)
    assert METRICS["mean_improvement_certified_accuracy_0.5"](**pairs).value == pytest.approx((50 + 100) / 2)
    assert METRICS["mean_improvement_average_certified_radius"](**pairs).value == pytest.approx((50 + 300) / 2)
    assert METRICS["mean_improvement_accuracy"](before0=two, after0=one).value == pytest.approx(-100 / 3)


def cell(row, column, metric, node, published=None):
    return {"row": row, "column": column, "metric": metric, "nodes": {"certificates": node}, "published": published}


def test_a_cell_that_shows_the_printed_number():
    cells = [{"row": "Food", "column": "SA", "metric": PRINTED, "nodes": {}, "published": 74.5}]
    frame = tidy("s", "fig2_published", cells, None)
    assert (frame.value[0], frame.published[0], frame.nodes[0], frame.n[0]) == (74.5, 74.5, "", 0)
    assert math.isnan(frame.ci_low[0])


def test_a_place_without_a_cell_is_blank_and_radii_have_their_own_decimals(certified):
    cells = [
        cell("ST", "SA", "smoothed_accuracy", "n"),
        cell("ST", "ACR", "average_certified_radius", "n", 1.584),
        cell("CR", "ACR", "average_certified_radius", "n"),
    ]
    frame = tidy("s", "table4", cells, lambda _: certified)
    spec = {"title": "T", "measured": "M", "published": "P", "corner": "Start"}
    spec |= {"decimals": {"average_certified_radius": 3}}
    lines = [
        [part.strip() for part in line.strip("|").split("|")]
        for line in markdown(frame, spec).splitlines()
        if line[:1] == "|"
    ]
    assert lines[2:] == [["ST", "60.0 ± 32.6", "0.320 ± 0.336", "1.584"], ["CR", "", "0.320 ± 0.336", ""]]


def test_the_csv_keeps_the_decimals_of_the_finest_metric(tmp_path):
    plan = Plan({"config": {}})
    node = plan.add("certify", "some", {"split": "test", "smoothing": {"sigma": 0.5}, "seed": 0})
    (tmp_path / node.folder).mkdir(parents=True)
    certificates(tmp_path / node.artifact, [1] * 3, [1] * 3, [0.1234] * 3)
    card = {"id": node.id, "kind": node.kind, "version": KINDS[node.kind].version, "spec": node.spec}
    card |= {"parents": {}, "outputs": {"certificates.parquet": store.describe(tmp_path / node.artifact)}}
    store.write_card(tmp_path / node.folder / store.CARD, card)
    cells = [cell("ST", "ACR", "average_certified_radius", node.id), cell("CR", "SA", "smoothed_accuracy", node.id)]
    spec = {"title": "T", "measured": "M", "published": None, "corner": "Start", "cells": cells}
    for name, more, text in (
        ("two", {}, "Start,ACR,SA,ACR ±,SA ±\nST,0.12,,0.00,\nCR,,100.00,,28.07\n"),
        (
            "three",
            {"decimals": {"average_certified_radius": 3}},
            "Start,ACR,SA,ACR ±,SA ±\nST,0.123,,0.000,\nCR,,100.000,,28.075\n",
        ),
    ):
        products.make(plan.add_product("table", "s", name, spec | more), plan, "0" * 12, tmp_path)
        assert (tmp_path / f"tables/s/{name}.csv").read_text(encoding="utf-8") == text
        card = json.loads((tmp_path / f"tables/s/{name}.json").read_text(encoding="utf-8"))
        assert card["spec"]["cells"] == cells
