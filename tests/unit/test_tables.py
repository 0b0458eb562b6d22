"""Tables: the numbers, their intervals, the papers' layouts, and the papers' own numbers."""

import csv
import json
import math
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from robust_transfer import cli, store
from robust_transfer.errors import UserError
from robust_transfer.estimates import Estimate, Z, exactly, mean_of, over_seeds, proportion
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.published import published_table
from robust_transfer.run import products
from robust_transfer.run.products import table_files
from robust_transfer.stages.node import KINDS
from robust_transfer.tables.layout import latex, markdown, numbers, text, wide
from robust_transfer.tables.metrics import METRICS, accuracy, attack_success_rate, metric
from robust_transfer.tables.tidy import COLUMNS, tidy
from workspace import planned

# ---- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998, table I, method 3: Wilson's interval without continuity correction.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_as_printed_by_newcombe(successes, n, low, high):
    found = proportion(successes, n)
    assert found.value == pytest.approx(100 * successes / n)
    assert (found.low, found.high) == pytest.approx((100 * low, 100 * high), abs=0.005)
    assert found.n == n


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (7, 7), (1, 1), (250, 500), (9999, 10000)])
def test_wilsons_interval_by_its_formula(successes, n):
    z, share = 1.959963984540054, successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    found = proportion(successes, n)
    assert (found.low, found.high) == pytest.approx((100 * (centre - half), 100 * (centre + half)), abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 100


def outcomes(labels, predictions):
    columns = {"index": range(len(labels)), "label": labels, "prediction": predictions}
    return pd.DataFrame(columns | {"confidence": [0.5] * len(labels)})


def written(path, labels, predictions):
    outcomes(labels, predictions).to_parquet(path, index=False)
    return path


def test_accuracy_is_the_share_of_right_predictions_in_per_cent(tmp_path):
    found = accuracy(written(tmp_path / "outcomes", [0, 1, 2, 2, 1], [0, 2, 2, 2, 0]))
    assert found == proportion(3, 5)
    assert (found.value, found.n) == (60.0, 5)


def test_attack_success_rate_counts_what_was_right_before(tmp_path):
    labels = [0, 0, 0, 0, 1, 1]
    clean = written(tmp_path / "clean", labels, [0, 0, 0, 1, 1, 0])  # four are right
    adversarial = written(tmp_path / "adversarial", labels, [0, 1, 1, 0, 1, 0])  # of these, two are wrong now
    found = attack_success_rate(clean, adversarial=adversarial)
    assert found == proportion(2, 4)
    assert (found.value, found.n) == (50.0, 4)


def test_the_effect_on_a_rate_is_paired_image_by_image(tmp_path):
    labels = [0] * 10
    clean = written(tmp_path / "clean", labels, [0] * 8 + [1] * 2)
    one = written(tmp_path / "one", labels, [1] * 4 + [0] * 4 + [1] * 2)  # of the eight, four are wrong now
    other = written(tmp_path / "other", labels, [1] * 5 + [0] * 3 + [1] * 2)  # and here one more
    files = {"before_clean": clean, "before_adversarial": one, "after_clean": clean, "after_adversarial": other}
    found = metric("effect on attack_success_rate")(**files)
    assert found.value == 12.5
    moved = 100 / 0.8 * np.array([1 - 0.125] + [-0.125] * 7 + [0] * 2)  # each image, over the share of the right ones
    assert found.high - found.value == pytest.approx(Z * moved.std(ddof=1) / 10**0.5)
    assert found.n == 10
    same = files | {"after_adversarial": one}
    assert metric("effect on attack_success_rate")(**same)[:3] == (0, 0, 0)
    assert metric("effect on robustness under MI-FGSM")(before_outcomes=one, after_outcomes=one)[:3] == (0, 0, 0)
    of_sets = {f"{role}_{number}": path for role, path in same.items() for number in (0, 1)}
    assert metric("effect on mean_attack_success_rate")(**of_sets)[:3] == (0, 0, 0)
    halved = {f"{role}_{number}": path for number, each in enumerate((same, files)) for role, path in each.items()}
    mean = metric("effect on mean_attack_success_rate")(**halved)
    assert (mean.value, mean.high - mean.value) == (6.25, pytest.approx((found.high - found.value) / 2))


def test_the_effect_on_what_other_images_say_is_not_paired(tmp_path):
    one, other = written(tmp_path / "one", [0, 0, 1], [0, 0, 1]), written(tmp_path / "other", [0, 1, 1], [0, 0, 1])
    found = metric("effect on accuracy")(before_outcomes=one, after_outcomes=other)
    sd = 100 * np.std([1, 0, 1], ddof=1)  # of the second; of the first all are right
    assert found == pytest.approx((-100 / 3, -100 / 3 - Z * sd / 3**0.5, -100 / 3 + Z * sd / 3**0.5, 6))


def test_no_right_prediction_has_no_attack_success_rate(tmp_path):
    path = written(tmp_path / "outcomes", [0, 0], [1, 1])
    found = attack_success_rate(path, adversarial=path)
    assert math.isnan(found.value)
    assert found.n == 0


def test_outcomes_of_different_images_are_not_compared(tmp_path):
    one, other = written(tmp_path / "one", [0, 1], [0, 1]), written(tmp_path / "other", [1, 0], [0, 1])
    with pytest.raises(ValueError, match="different images"):
        attack_success_rate(one, adversarial=other)


def test_the_mean_of_estimates_and_its_interval():
    found = mean_of([Estimate(10.0, 7.0, 13.0, 100), Estimate(30.0, 26.0, 34.0, 50)])
    assert found == Estimate(20.0, 20 - 2.5, 20 + 2.5, 150)  # half of sqrt(3^2 + 4^2)


def test_the_mean_attack_success_rate_pairs_its_roles(tmp_path):
    clean = written(tmp_path / "clean", [0, 0, 0, 0], [0, 0, 0, 0])
    hit = {half: written(tmp_path / f"hit{half}", [0] * 4, [1] * half + [0] * (4 - half)) for half in (1, 3)}
    paired = {"clean_0": clean, "adversarial_0": hit[1], "clean_1": clean, "adversarial_1": hit[3]}
    assert METRICS["mean_attack_success_rate"](**paired).value == 50.0
    assert METRICS["mean_accuracy"](outcomes_0=clean, outcomes_1=hit[3]).value == 62.5
    assert METRICS["mean_adversarial_accuracy"](neuron0_0=hit[1], neuron1_0=hit[3], neuron0_1=hit[1]).value == 62.5


def test_rates_under_several_attacks_are_means_over_them_and_the_worst(tmp_path):
    clean = written(tmp_path / "clean", [0, 0, 0, 0, 0], [0, 0, 0, 0, 1])  # the last is wrong already
    once = written(tmp_path / "once", [0] * 5, [1, 0, 0, 0, 0])
    thrice = written(tmp_path / "thrice", [0] * 5, [1, 1, 1, 0, 1])
    found = attack_success_rate(clean, neuron0=once, neuron1=thrice)
    assert (found.value, found.n) == (50.0, 4)
    spread = 100 * np.std([1, 0.5, 0.5, 0], ddof=1) / 2  # over images, each its share of the attacks
    assert found.high - found.value == pytest.approx(1.96 * spread, rel=1e-3)
    worst = METRICS["worst_attack_success_rate"](clean, neuron0=once, neuron1=thrice)
    assert worst == proportion(3, 4)
    assert METRICS["adversarial_accuracy"](neuron0=once, neuron1=thrice).value == 50.0
    assert METRICS["adversarial_accuracy"](adversarial=once) == proportion(4, 5)
    # Attacks that agree on every image are as one: no image fooled is no certainty.
    assert attack_success_rate(clean, neuron0=clean, neuron1=clean) == proportion(0, 4)


def test_distances_from_the_source(tmp_path):
    path = tmp_path / "distances.json"
    path.write_text(json.dumps({"weight_distance": 3.5, "feature_distance": 2.0, "feature_distance_sd": 0.5, "n": 25}))
    found = METRICS["stage_distance"](path)
    assert (found.value, found.n) == (2.0, 25)
    assert found.high - found.value == pytest.approx(1.96 * 0.5 / 5, abs=1e-4)
    weights = METRICS["weight_distance"](path)
    assert weights.value == 3.5
    assert math.isnan(weights.low)


# ---- a table of four cells -----------------------------------------------------------------------------------------

RIGHT = {("zeta", "clean"): 9, ("zeta", "attack"): 2, ("alpha", "clean"): 8, ("alpha", "attack"): 0}
"""Of ten images; neither rows nor columns are in alphabetical order."""


SHOWN = {"title": "A title", "measured": "Measured here", "published": "Printed there", "corner": "Net"}


def study(results):
    """A plan with one table and one figure over four evaluations, and their outcomes on disk."""
    plan = Plan({"config": {}})
    cells = []
    for (row, column), right in RIGHT.items():
        node = plan.add("evaluate", f"{row}.{column}", {"split": "test"})
        folder = results / node.folder
        folder.mkdir(parents=True)
        frame = outcomes([1] * 10, [1] * right + [0] * (10 - right))
        frame.to_parquet(results / node.artifact, index=False)
        card = {"id": node.id, "kind": node.kind, "version": KINDS[node.kind].version, "spec": node.spec}
        card |= {"parents": node.parents, "outputs": {"outcomes.parquet": store.describe(results / node.artifact)}}
        store.write_card(folder / store.CARD, card)
        published = None if row == "alpha" and column == "attack" else 100.0 - right
        cell = {"row": row, "column": column, "metric": "accuracy", "nodes": {"outcomes": node.id}}
        cells.append(cell | {"published": published})
    plan.add_product("table", "a_study", "table7", SHOWN | {"cells": cells})
    blocks = {"panels": [{"title": "", "row_blocks": [["zeta"], ["alpha"]]}], "column_blocks": [["clean"], ["attack"]]}
    plan.add_product(
        "figure",
        "a_study",
        "fig7",
        {"draw": "normalised_heatmap", "title": "T", "measured": "M", "cells": cells} | blocks,
    )
    return plan


def frame_of(results):
    plan = study(results)
    cells = plan.products["tables/a_study/table7"].spec["cells"]
    return tidy("a_study", "table7", cells, lambda node: results / plan.nodes[node].artifact), cells


def test_tidy_results(tmp_path):
    frame, cells = frame_of(tmp_path)
    assert list(frame.columns) == list(COLUMNS)
    assert list(zip(frame.row, frame.column, strict=True)) == list(RIGHT)
    assert frame.value.tolist() == [90.0, 20.0, 80.0, 0.0]
    assert frame.n.tolist() == [10] * 4
    assert frame.nodes.tolist() == [cell["nodes"]["outcomes"] for cell in cells]
    assert frame.published.tolist()[:3] == [91.0, 98.0, 92.0]
    assert math.isnan(frame.published[3])
    assert frame.ci_low[1] == proportion(2, 10).low
    assert frame.ci_high[1] == proportion(2, 10).high
    assert set(frame.study) == {"a_study"}
    assert set(frame.table) == {"table7"}
    assert set(frame.metric) == {"accuracy"}


def test_no_published_number_at_all_is_still_a_number_column(tmp_path):
    frame, cells = frame_of(tmp_path)
    without = [{key: value for key, value in cell.items() if key != "published"} for cell in cells]
    path = tmp_path / "outcomes.parquet"
    outcomes([1], [1]).to_parquet(path)
    frame = tidy("a_study", "table7", without, lambda node: path)
    assert frame.published.dtype == "float64"
    assert frame.published.isna().all()
    assert "published" not in markdown(frame, SHOWN)


def test_rows_and_columns_stand_as_given(tmp_path):
    table = wide(frame_of(tmp_path)[0], "Net")
    assert list(table.columns) == ["Net", "clean", "attack"]
    assert table.Net.tolist() == ["zeta", "alpha"]
    assert table[["clean", "attack"]].to_numpy().tolist() == [[90.0, 20.0], [80.0, 0.0]]


def lines_of(page):
    """The cells of the tables in a page, line by line."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]


def test_markdown_shows_measured_and_published(tmp_path):
    text = markdown(frame_of(tmp_path)[0], SHOWN)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert text.startswith("# A title\n")
    assert lines[0] == ["Net", "clean", "clean, published", "attack", "attack, published"]
    assert lines[2] == ["zeta", "90.0 ± 19.3", "91.0", "20.0 ± 22.7", "98.0"]
    assert lines[3] == ["alpha", "80.0 ± 22.7", "92.0", "0.0 ± 13.9", ""]
    assert "- Measured here.\n- Published: Printed there.\n" in text
    assert "± is half of the 95 % interval, over n = 10 images." in text


def test_decimals_words_and_numbers_of_any_size(tmp_path):
    frame = frame_of(tmp_path)[0]
    texts = {"Kind": {"zeta": "a plain one", "alpha": "another"}}
    text = markdown(frame, SHOWN | {"decimals": 2, "texts": texts})
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert lines[0] == ["Net", "Kind", "clean", "clean, published", "attack", "attack, published"]
    assert lines[2] == ["zeta", "a plain one", "90.00 ± 19.31", "91.00", "20.00 ± 22.66", "98.00"]
    values = {"value": [0.0001, 250.0, math.nan, 1.0], "replicates": [[0.0001], [250.0], [math.nan], [1.0]]}
    small = frame.assign(**values, published=math.nan, ci_low=math.nan, ci_high=math.nan)
    text = markdown(small, SHOWN | {"general": True, "published": None})
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert lines[2:] == [["zeta", "0.0001", "250"], ["alpha", "-", "1"]]
    assert "95 %" not in text and "Published" not in text
    table_files(small, SHOWN | {"general": True, "published": None, "warnings": []})[".csv"](tmp_path / "t.csv")
    assert pd.read_csv(tmp_path / "t.csv").set_index("Net").loc["zeta"].tolist() == [0.0001, 250]


# ---- several seeds ---------------------------------------------------------------------------------------------------


def test_the_mean_over_seeds_is_for_other_images_and_other_seeds():
    one, two, three = Estimate(80.0, 77.0, 82.0, 100), Estimate(84.0, 79.0, 88.0, 90), Estimate(88.0, 87.0, 91.0, 95)
    found = over_seeds([one, two, three])
    of_seeds = 4.302653 * 4 / math.sqrt(3)  # Student's 97.5 % quantile of 2 degrees of freedom; the deviation is 4
    assert found.value == 84.0
    assert found.value - found.low == pytest.approx(math.hypot((3 + 5 + 1) / 3, of_seeds), abs=1e-4)
    assert found.high - found.value == pytest.approx(math.hypot((2 + 4 + 3) / 3, of_seeds), abs=1e-4)
    assert found.n == 90
    assert over_seeds([one]) == one


def test_numbers_that_are_no_estimates_vary_over_seeds_alone():
    found = over_seeds([exactly(1.0), exactly(3.0)])
    assert found.value == 2.0
    assert found.high - found.value == pytest.approx(12.7062, abs=1e-4), "Student's 97.5 % quantile of one degree"


def of_two_seeds(folder):
    """The tidy frame of an accuracy that two seeds change, and of one that none does."""
    right = {"0": 9, "1": 7}
    paths = {name: written(folder / name, [1] * 10, [1] * n + [0] * (10 - n)) for name, n in right.items()}
    cell = {"column": "x", "metric": "accuracy", "nodes": {"outcomes": "0"}}
    cells = [cell | {"row": "a", "replicates": [{"outcomes": name} for name in paths]}, cell | {"row": "b"}]
    return tidy("s", "t", cells, paths.get)


def test_a_cell_of_several_seeds_has_each_value_and_both_sources_of_variance(tmp_path):
    frame = of_two_seeds(tmp_path)
    assert frame.value.tolist() == [80.0, 90.0]
    assert frame.replicates.map(list).tolist() == [[90.0, 70.0], [90.0]]
    assert frame.seeds.tolist() == [2, 1]
    assert frame.sd_seeds[0] == pytest.approx(20 / math.sqrt(2)) and math.isnan(frame.sd_seeds[1])
    half = [(each.high - each.low) / 2 for each in (proportion(9, 10), proportion(7, 10))]
    assert frame.se_images[0] == pytest.approx(sum(half) / 2 / 1.959964)
    assert frame.nodes.tolist() == ["0 1", "0"]


def test_tables_of_several_seeds_show_their_spread(tmp_path):
    frame = of_two_seeds(tmp_path)
    assert text(frame, {"corner": "Net"}).x.tolist() == ["80.0 ± 14.1", "90.0"]
    assert numbers(frame, {"corner": "Net"})["x ±"].round(1).tolist()[0] == 14.1
    assert "± is the standard deviation over 2 seeds." in markdown(frame, SHOWN)


def test_what_is_chosen_is_no_mean_of_choices(tmp_path):
    for name, value in {"0": 0.1, "1": 10.0, "2": 10.0}.items():
        save_file({"w": torch.zeros(1)}, tmp_path / name, {"about": json.dumps({"chosen": {"lr": value}})})
    replicates = [{"choice": name} for name in "012"]
    cells = [{"row": "a", "column": "x", "metric": "chosen_lr", "nodes": replicates[0], "replicates": replicates}]
    frame = tidy("s", "t", cells, tmp_path.joinpath)
    assert frame.value.tolist() == [10.0]
    assert text(frame, {"corner": "Net", "general": True}).x.tolist() == ["0.1 / 10 / 10"]


# ---- files -----------------------------------------------------------------------------------------------------------


def made(results):
    """Both products made; what lies in their folders."""
    plan = study(results)
    for product in plan.products.values():
        products.make(product, plan, "0123456789ab", results)
    return {path.name: path for kind in ("tables", "figures") for path in (results / kind / "a_study").iterdir()}


def test_the_files_of_a_table(tmp_path):
    found = made(tmp_path)
    assert sorted(found) == sorted(
        ["table7.csv", "table7.parquet", "table7.md", "table7.json", "fig7.png", "fig7.svg", "fig7.json"]
    )
    assert found["table7.csv"].read_text(encoding="utf-8").splitlines() == [
        "Net,clean,attack,clean ±,attack ±,clean published,attack published",
        "zeta,90.00,20.00,19.31,22.66,91.00,98.00",
        "alpha,80.00,0.00,22.66,13.88,92.00,",
    ]
    parquet = pd.read_parquet(found["table7.parquet"])
    assert list(parquet.columns) == list(COLUMNS)
    kinds = {name: parquet[name].dtype.kind for name in COLUMNS}
    numbers = {"value": "f", "ci_low": "f", "ci_high": "f", "n": "i", "published": "f"}
    numbers |= {"seeds": "i", "sd_seeds": "f", "se_images": "f"}
    assert {name: kind for name, kind in kinds.items() if kind in "fiu"} == numbers
    assert parquet.explode("replicates").replicates.tolist() == [90.0, 20.0, 80.0, 0.0]
    assert found["table7.md"].read_text(encoding="utf-8").startswith("# A title\n")
    for name in ("table7", "fig7"):
        card = json.loads(found[f"{name}.json"].read_text(encoding="utf-8"))
        assert card["plan"] == "0123456789ab"
        assert store.damage(found[f"{name}.json"].parent, card) == []
        assert card["outputs"].keys() == {n for n in found if n.startswith(name)} - {f"{name}.json"}


def test_csv_is_numeric_and_without_blanks(tmp_path):
    table = pd.read_csv(made(tmp_path)["table7.csv"], index_col=0)
    assert table.index.name == "Net"
    assert (table.dtypes == "float64").all()
    assert table.isna().sum().sum() == 1, "what the paper does not print"


def test_the_same_outcomes_give_the_same_bytes(tmp_path):
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    for name in ("table7.csv", "table7.md", "table7.parquet", "fig7.svg", "fig7.png"):
        assert one[name].read_bytes() == other[name].read_bytes(), name


def test_a_table_over_edited_outcomes_is_not_made(tmp_path):
    plan = study(tmp_path)
    path = tmp_path / next(iter(plan.nodes.values())).artifact
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"outcomes\.parquet was edited"):
        products.make(plan.products["tables/a_study/table7"], plan, "0123456789ab", tmp_path)
    assert not (tmp_path / "tables").exists()


# ---- the papers' numbers -------------------------------------------------------------------------------------------


def test_davchevs_table_1_as_printed():
    text = files("robust_transfer").joinpath("published", "davchev", "table1.csv").read_text(encoding="utf-8")
    header, *rows = csv.reader(text.splitlines())
    assert header == ["row", "clean", "BB-FGSM", "BB-PGD", "WB-FGSM", "WB-PGD"]
    assert len(rows) == 24
    assert all(len(row) == 6 and 0 <= float(value) <= 100 for row in rows for value in row[1:])
    printed = published_table("davchev", "table1")
    assert len(printed) == 24 * 5
    for row, values in {
        "R_nat": (92.5, 34.7, 12.6, 20.0, 0.0),
        "R_nat->nat 12": (91.2, 41.1, 24.6, 18.4, 0.0),
        "R_fgsm": (87.1, 81.5, 82.2, 78.6, 13.5),
        "R_nat->fgsm 56": (88.1, 69.3, 71.3, 78.4, 1.8),
        "R_fgsm->fgsm 1": (66.6, 56.2, 60.0, 42.7, 0.2),
        "R_pgd": (83.9, 81.1, 82.1, 45.4, 36.1),
        "R_pgd->nat 1": (64.9, 62.6, 63.0, 18.0, 12.0),
        "R_pgd->pgd 56": (82.6, 80.1, 80.9, 47.7, 41.3),
    }.items():
        assert tuple(printed[row, column] for column in header[1:]) == values
    # The caption: robust weights and adversarial examples win 5.2 points over R_pgd under the white-box PGD.
    assert printed["R_pgd->pgd 56", "WB-PGD"] - printed["R_pgd", "WB-PGD"] == pytest.approx(5.2)


def test_the_plans_table_1_has_the_papers_rows_columns_and_numbers():
    printed = planned("davchev", scale="paper").products["tables/davchev/table1"].spec["cells"]
    cells = {(cell["row"], cell["column"]): cell["published"] for cell in printed}
    assert list(cells) == list(published_table("davchev", "table1")), "in the paper's order"
    assert cells == published_table("davchev", "table1")


def test_the_papers_table_stands_whole_where_some_of_it_is_not_reproduced(tmp_path):
    frame = frame_of(tmp_path)[0]
    spec = SHOWN | {"on": "large images", "whole": [["Net", "clean"], ["zeta", "91.0"], ["eta", ""]]}
    page = markdown(frame, spec)
    assert "- Published: Printed there: large images." in page
    columns = ["clean", "clean, published (large images)", "attack", "attack, published (large images)"]
    assert lines_of(page)[0] == ["Net", *columns]
    whole = lines_of(page.partition("## As published: Printed there: large images\n")[2])
    assert [whole[0], *whole[2:]] == [["Net", "clean"], ["zeta", "91.0"], ["eta", ""]]
    other = markdown(frame.assign(published=math.nan), spec)
    assert "- Published" not in other and "clean, published" not in other
    assert "## As published" not in markdown(frame, SHOWN)


def test_latex(tmp_path):
    frame = frame_of(tmp_path)[0]
    own = frame.assign(row=frame.row.replace("zeta", "R_nat->nat"), ours=frame.row == "alpha", published=math.nan)
    text = latex(own, SHOWN | {"title": "95 % of A_b"})
    assert text.splitlines() == [
        r"\begin{table}",
        r"\caption{95 \% of A\_b. Measured here.}",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"Net & clean & attack \\",
        r"\midrule",
        r"R\_nat$\to$nat & 90.0 $\pm$ 19.3 & 20.0 $\pm$ 22.7 \\",
        r"\emph{ours} &  &  \\",
        r"alpha & 80.0 $\pm$ 22.7 & 0.0 $\pm$ 13.9 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_the_command_prints_a_table_that_was_made(tmp_path, capsys, monkeypatch):
    made(tmp_path)
    monkeypatch.chdir(tmp_path)  # where no config asks for another table

    def printed(*words):
        monkeypatch.setattr("sys.argv", ["robust-transfer", "--results", str(tmp_path), "table", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().out

    assert printed("a_study/table7") == (0, (tmp_path / "tables/a_study/table7.md").read_text(encoding="utf-8") + "\n")
    assert printed("a_study/table7", "--latex")[1].startswith("\\begin{table}")
    missing = tmp_path / "tables/a_study/table8"
    wanted = f"there is no {missing} yet; make it with `snakemake --cores all {missing}.csv`"
    assert printed("a_study/table8") == (wanted, "")


def test_the_mean_of_stored_distances(tmp_path):
    save_file({"distances": torch.tensor([1.0, 2.0, 6.0])}, tmp_path / "distances.safetensors")
    found = metric("mean_distance")(tmp_path / "distances.safetensors")
    half = 1.959964 * np.std([1, 2, 6]) / np.sqrt(3)
    assert found == pytest.approx((3, 3 - half, 3 + half, 3), rel=1e-6)


def test_how_many_times_as_long_a_node_took_is_read_from_the_cards(tmp_path):
    for name, seconds in (("long", 7.5), ("short", 3.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(json.dumps({"seconds": seconds}))
    longer, shorter = (tmp_path / name / "model.safetensors" for name in ("long", "short"))
    assert metric("ratio_of_seconds")(longer=longer, shorter=shorter).value == 2.5
