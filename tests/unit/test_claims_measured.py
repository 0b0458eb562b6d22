"""Verdicts on what was measured: the numbers that are resampled, the tests, and how they are put together."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm

from robust_transfer.claims import spec
from robust_transfer.claims.cells import Cells, Missing, Place, Resamples, Value, measured
from robust_transfer.claims.judge import holm, judge
from robust_transfer.claims.verdicts import (
    HOLDS,
    NOT_TESTABLE,
    REVERSED,
    UNDECIDED,
    counts,
    of_measured,
    page,
    screen,
    short,
)
from robust_transfer.tables.metrics import metric

N = 400


def outcomes(path, right, seed=0, radius=None):
    """Outcomes of N images of 5 classes; right: which are predicted right."""
    label = np.random.default_rng(seed).integers(0, 5, len(right))
    table = pd.DataFrame({"index": range(len(right)), "label": label, "prediction": np.where(right, label, label - 1)})
    if radius is not None:
        table["radius"] = radius
    table.to_parquet(path)
    return path


@pytest.fixture
def files(tmp_path):
    """Node -> its outcomes: shares of the same 400 images that are right, of which the first ones."""

    def made(name, share, **more):
        return outcomes(tmp_path / name, np.arange(N) < share * N, **more)

    return {
        "low": made("low", 0.5),
        "high": made("high", 0.7),
        "higher": made("higher", 0.71),
        "elsewhere": made("elsewhere", 0.52, seed=1),
        "certified": made("certified", 0.5, radius=np.linspace(0, 1, N)),
    }


def cells(metric="accuracy", table="t", **columns):
    """Cells of one row. columns: name -> node."""
    return [
        {"table": table, "row": "r", "column": column, "metric": metric, "nodes": {"outcomes": node}}
        for column, node in columns.items()
    ]


def claims(**predicates):
    """Claims by their predicates."""
    return {
        name: spec.Claim.model_validate({"where": "here", "claim": "so", **(p if "holds" in p else {"holds": p})})
        for name, p in predicates.items()
    }


def verdicts(there, files, **predicates):
    return of_measured(claims(**predicates), there, files.__getitem__)


# ---- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("accuracy", {"outcomes": "high"}),
        ("robustness under PGD-50", {"outcomes": "high"}),
        ("training_accuracy", {"outcomes": "low"}),
        ("accuracy_and_robustness", {"clean": "high", "adversarial": "low"}),
        ("attack_success_rate", {"clean": "high", "adversarial": "low"}),
        ("attack_success_rate", {"clean": "high", "adversarial0": "low", "adversarial1": "higher"}),
        ("adversarial_accuracy", {"adversarial0": "low", "adversarial1": "higher"}),
        ("smoothed_accuracy", {"certificates": "certified"}),
        ("certified_accuracy_0.25", {"certificates": "certified"}),
        ("average_certified_radius", {"certificates": "certified"}),
        ("unsmoothed_average_certified_radius", {"outcomes": "high", "certificates": "certified"}),
    ],
)
def test_a_number_is_the_tables_own_and_its_spread_that_of_the_mean(files, name, nodes):
    paths = {role: files[node] for role, node in nodes.items()}
    estimate = metric(name)(**paths)
    found = Resamples(4000).value(name, paths).numbers
    assert found[0] == pytest.approx(estimate.value, abs=1e-12)
    if np.isnan(estimate.low):  # no estimate
        assert np.ptp(found) == 0
    else:
        half = (estimate.high - estimate.low) / 2
        assert np.std(found[1:]) == pytest.approx(half / norm.ppf(0.975), rel=0.06)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("mean_accuracy", {"outcomes_0": "low", "outcomes_1": "high"}),
        (
            "mean_attack_success_rate",
            {"clean_0": "high", "adversarial_0": "low", "clean_1": "high", "adversarial_1": "high"},
        ),
        ("mean_improvement_accuracy", {"before0": "low", "after0": "high", "before1": "high", "after1": "low"}),
        ("worst_attack_success_rate", {"clean": "high", "adversarial0": "low", "adversarial1": "high"}),
    ],
)
def test_means_are_the_tables_own(files, name, nodes):
    paths = {role: files[node] for role, node in nodes.items()}
    assert Resamples(10).value(name, paths).numbers[0] == pytest.approx(metric(name)(**paths).value)


def test_a_distance_has_the_spread_of_its_mean(tmp_path):
    path = tmp_path / "distances.json"
    content = {"feature_distance": 2.0, "feature_distance_sd": 3.0, "n": 900, "weight_distance": 5.0}
    path.write_text(json.dumps(content), encoding="utf-8")
    found = Resamples(4000).value("stage_distance", {"distances": path}).numbers
    assert found[0] == 2.0 and np.std(found[1:]) == pytest.approx(0.1, rel=0.06)
    assert Resamples(10).value("weight_distance", {"distances": path}).is_exact


def test_what_the_same_images_share_cancels(files):
    there = measured(cells(a="high", b="higher", c="elsewhere"), files.__getitem__, 2000)
    a, b, c = (there[Place("t", "r", column, "")].numbers[1:] for column in "abc")
    # Four of 400 images tell a and b apart; other images tell nothing of them.
    assert np.std(b - a) == pytest.approx(100 * np.sqrt(0.01 * 0.99 / N), rel=0.1)
    assert np.std(c - a) == pytest.approx(np.hypot(np.std(a), np.std(c)), rel=0.1)


def test_the_spread_over_seeds_is_that_of_their_mean():
    numbers = [np.full(4001, value) for value in (1.0, 2.0, 6.0)]
    found = Resamples(4000).over_seeds(numbers)
    assert found[0] == 3.0
    assert np.var(found[1:]) == pytest.approx(np.var([1, 2, 6], ddof=1) / 3, rel=0.06)


def test_replicates_take_the_place_of_the_nodes(files):
    (cell,) = cells(a="low")
    cell["replicates"] = [{"outcomes": node} for node in ("low", "high")]
    value = measured([cell], files.__getitem__, 10)[Place("t", "r", "a", "accuracy")]
    assert value.numbers[0] == pytest.approx(60) and value.images is None


# ---- tests ---------------------------------------------------------------------------------------------------------


def test_two_shares_of_the_same_images_are_compared_by_mcnemars_exact_test(files):
    found = verdicts(cells(a="high", b="higher"), files, X={"less": ["t | r | a", "t | r | b"]})
    assert found.p["X"] == pytest.approx(2 * 0.5**4)  # right on four more images, and wrong on none
    assert (found.measured["X"], found.k["X"], found.n["X"]) == (UNDECIDED, 1, 1)


def test_a_share_and_a_number_are_compared_by_the_binomial_test(files):
    found = verdicts(cells(a="high"), files, X={"at_most": ["t | r | a", 65]})
    assert found.p["X"] == pytest.approx(2 * binom.sf(279, N, 0.65))
    assert found.measured["X"] == REVERSED and found.against["X"] == "70 against 65"


def test_what_else_is_compared_by_the_normal_distribution(files):
    there = cells(a="high", b="elsewhere")
    found = verdicts(there, files, X={"greater": ["t | r | a", "t | r | b"]})
    error = 100 * np.sqrt(0.7 * 0.3 / N + 0.52 * 0.48 / N)
    assert norm.isf(found.p["X"] / 2) == pytest.approx(18 / error, rel=0.06)
    margin = verdicts(there, files, X={"at_most": [{"distance": ["t | r | a", "t | r | b"]}, {"ours": 30}]})
    assert norm.isf(margin.p["X"] / 2) == pytest.approx(12 / error, rel=0.06) and margin.measured["X"] == HOLDS


def test_a_ratio_to_what_is_nothing_in_some_draws_is_judged_by_how_many_draws_agree(tmp_path):
    """10 % against one image of 400, or none: the ratio is infinite in about every third draw."""
    files = {name: outcomes(tmp_path / name, np.arange(N) >= N - n) for name, n in (("some", 40), ("one", 1))}
    there, over = cells(a="some", b="one"), {"ratio": ["t | r | a", "t | r | b"]}
    sure, unsure = verdicts(there, files, X={"greater": [over, 2]}), verdicts(there, files, X={"greater": [over, 39]})
    assert sure.p["X"] == pytest.approx(2 / 1001) and sure.measured["X"] == HOLDS
    assert 0.3 < unsure.p["X"] <= 1 and unsure.measured["X"] == UNDECIDED


def test_draws_that_have_no_value_speak_for_nothing():
    numbers = np.array([1.0, *[np.nan] * 500, *[1.0] * 500])
    there = Cells([(Place("t", "r", "c", ""), lambda: Value(numbers))])
    found = judge(claims(X={"greater": ["t | r | c", 0]})["X"], there)
    assert found.whole.p_holds == pytest.approx(501 / 1001) and found.whole.p_reversed == 1


@pytest.mark.parametrize(
    ("combination", "verdict"),
    [("all", REVERSED), ("most", HOLDS), ("any", HOLDS)],
)
def test_all_most_or_any_of_several(files, combination, verdict):
    holds, reversed_ = ({"less": [f"t | r | {x}", f"t | r | {y}"]} for x, y in ("ab", "ba"))
    found = verdicts(cells(a="low", b="high"), files, X={combination: [holds, holds, reversed_]})
    assert found.measured["X"] == verdict


def test_a_claim_of_all_instances_is_as_sure_as_the_least_sure_of_them(files):
    there = cells(a="low", b="high", c="higher")
    sure, unsure = {"less": ["t | r | a", "t | r | b"]}, {"less": ["t | r | b", "t | r | c"]}
    found = verdicts(there, files, U=unsure, B={"all": [sure, unsure]}, S=sure)
    assert found.p["S"] < 1e-10
    # Holm: the smallest of three counts thrice, the next ones twice and no less than those before.
    assert found.p["U"] == found.p["B"] == pytest.approx(2 * 2 * 0.5**4)
    chained = verdicts(there, files, X={"less": ["t | r | a", "t | r | b", "t | r | c"]})
    assert chained.p["X"] == pytest.approx(2 * 0.5**4)


def test_that_one_of_n_instances_is_otherwise_must_be_sure_n_fold(files):
    there = cells(a="low", b="high", c="higher")
    sure, otherwise = {"less": ["t | r | a", "t | r | b"]}, {"greater": ["t | r | b", "t | r | c"]}
    found = verdicts(there, files, X={"all": [sure, sure, otherwise]})
    assert found.p["X"] == pytest.approx(2 * 3 * 0.5**4) and found.against["X"] == "70 against 71"


def test_holms_adjustment():
    assert holm([0.01, 0.04, np.nan, 0.03]) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_equal_numbers(files):
    there = cells(a="low", b="low", c="high")
    found = verdicts(there, files, A={"equal": ["t | r | a", "t | r | b"]}, B={"equal": ["t | r | a", "t | r | c"]})
    assert list(found.measured) == [HOLDS, REVERSED]


# ---- what variables range over ---------------------------------------------------------------------------------------


def exact(table):
    """Exact numbers: (row, column) -> number, of a table t."""
    return Cells((Place("t", *place, ""), lambda x=x: Value(np.array([float(x)]))) for place, x in table.items())


def judged(table, **claim):
    return judge(spec.Claim.model_validate({"where": "", "claim": "", **claim}), exact(table))


def test_a_variable_ranges_over_what_is_there():
    table = {("A x", "c"): 2, ("A y", "c"): 1, ("B x", "c"): 1, ("B y", "c"): 3, ("C x", "c"): 9}
    found = judged(table, each={"m": "any"}, holds={"greater": ["t | {m} x | c", "t | {m} y | c"]})
    assert (found.k, found.n, found.against) == (1, 2, ("B: 1 against 3",))
    named = judged(table, each={"m": ["A", "C"]}, holds={"greater": ["t | {m} x | c", "t | {m} y | c"]})
    assert (named.k, named.n) == (1, 1)
    but = judged(table, each={"m": {"except": ["B"]}}, holds={"greater": ["t | {m} x | c", "t | {m} y | c"]})
    assert (but.k, but.n) == (1, 1)
    assert judged(table, holds={"greater": ["t | D x | c", 0]}).whole is None


def test_numbers_are_in_rising_order_and_words_are_none():
    table = {("l 10", "c"): 3, ("l 1e-3", "c"): 1, ("l 2", "c"): 2, ("l NA", "c"): 0}
    assert judged(table, holds={"less": [{"over": {"l": "number"}, "of": "t | l {l} | c"}]}).whole.holds
    trend = {"trend": [{"over": {"l": "number"}, "of": "t | l {l} | c"}]}
    assert judged(table, holds={"equal": [trend, 1]}).whole.holds


def test_a_variable_that_stands_twice_in_a_label_is_one():
    table = {("A to A", "c"): 1, ("A to B", "c"): 0}
    found = judged(table, each={"h": "any"}, holds={"greater": ["t | {h} to {h} | c", 0]})
    assert (found.k, found.n) == (1, 1)


def test_what_is_ours_is_in_no_range(files):
    there = cells(a="low", b="high")
    there[1]["ours"] = True
    every = {"each": {"c": "any"}, "holds": {"greater": ["t | r | {c}", 10]}}
    found = verdicts(there, files, X=every, Y={"greater": ["t | r | b", 10]})
    assert list(found.n) == [1, 1]


def test_what_is_ours_is_there_by_its_name(files):
    there = [*cells(a="high", b="high"), *({**cell, "row": "own", "ours": True} for cell in cells(a="low", c="low"))]
    both = {"each": {"c": "any"}, "holds": {"less": ["t | own | {c}", "t | r | {c}"]}}
    found = verdicts(there, files, X=both)
    assert (found.k["X"], found.n["X"]) == (1, 1)


@pytest.mark.parametrize(
    ("operation", "value"),
    [
        ({"sum": [1, 2, 3]}, 6),
        ({"difference": [7, 2, 1]}, 4),
        ({"product": [2, 3]}, 6),
        ({"ratio": [6, 4]}, 1.5),
        ({"distance": [2, 5]}, 3),
        ({"mean": [1, 2, 6]}, 3),
        ({"highest": [1, 5, 2]}, 5),
        ({"lowest": [3, 1, 2]}, 1),
        ({"first": [3, 1]}, 3),
        ({"last": [3, 1]}, 1),
        ({"lowest": [{"steps": [4, 6, 1]}]}, -5),
        ({"trend": [1, 3, 2]}, 0.5),
        ({"spearman": [1, 2, 3, 10, 30, 20]}, 0.5),
        ({"r2": [1, 2, 3, 1, 3, 2]}, 0.25),
    ],
)
def test_operations(operation, value):
    assert judged({}, holds={"equal": [operation, value]}).whole.holds
    assert not judged({}, holds={"equal": [operation, value + 0.01]}).whole.holds


def test_a_number_in_two_metrics_must_be_told_apart():
    there = Cells((Place("f", "r", "c", name), lambda: Value(np.array([1.0]))) for name in ("accuracy", "robustness"))
    assert there[Place("f", "r", "c", "robustness")].numbers == [1]
    with pytest.raises(Missing):
        there[Place("f", "r", "c", "")]


# ---- for readers -----------------------------------------------------------------------------------------------------


def test_verdicts_are_told_study_by_study(files):
    found = verdicts(
        cells(a="low", b="high"),
        files,
        X={"less": ["t | r | a", "t | r | b"]},
        Y={"less": ["t | r | b", "t | r | a"]},
        Z={"less": ["t | s | b", "t | s | a"]},
    )
    assert counts(found.measured) == "1 holds, 1 reversed, 1 not testable"
    assert found.reason["Z"] == "this scale has no such rows or columns" and found.measured["Z"] == NOT_TESTABLE
    about = {"study": "s", "where": "here", "claim": "so", "predicate": "", "ours": "", "printed": HOLDS}
    frame = found.assign(**about, printed_k=1, printed_n=1, printed_against="").reset_index(names="id")
    said = screen(frame, "results/claims")
    assert said == ["s: 1 holds, 1 reversed, 1 not testable (printed: 3 holds)", "  reversed Y: so"]
    many = pd.concat([frame.assign(measured=REVERSED)] * 20)
    assert screen(many, "there")[-1] == "  and 32 more: there/s.md" and len(screen(many, "there")) == 30
    rows = short(frame, "Measured at scale x").splitlines()
    assert rows[0] == "### s" and rows[-1] == "Measured at scale x."
    assert [cell.strip() for cell in rows[7].split("|")[1:5]] == ["Y", "so", "holds 1/1", "reversed 0/1"]
    text = page(frame, "Measured at scale x")
    assert "- Measured, Y: 70 against 50." in text and "- Measured at scale x.\n" in text
