"""The Renofeation study's plan: what is shared, what is chosen, what its tables and figures show."""

from collections import Counter
from functools import partial

import pytest

import workspace
from robust_transfer.errors import UserError
from robust_transfer.plan.published import published_table
from workspace import cells

planned = partial(workspace.planned, "renofeation")


@pytest.fixture(scope="module")
def plan():
    return planned()


@pytest.fixture(scope="module")
def paper():
    return planned(scale="paper")


def test_one_adversarial_set_a_network_and_target_serves_all_methods(plan):
    crafts = [node for node in plan.nodes.values() if node.kind == "craft"]
    assert len(crafts) == 2 * 2
    used = Counter(
        n.parents["examples"] for n in plan.nodes.values() if n.kind == "evaluate" and "examples" in n.parents
    )
    assert set(used) == {node.id for node in crafts}
    # Of the first network every method, every lambda and every share is shown the same set; of the second just three.
    assert sorted(used.values()) == [3, 3, 25, 25]
    for node in crafts:
        assert plan.nodes[node.parents["model"]].kind == "pretrain"
        assert node.spec["attack"]["algorithm"] == "feature"


def test_every_table_and_figure_of_the_paper_and_the_choices(plan):
    tables = {f"tables/renofeation/table{n}" for n in range(1, 7)} | {"tables/renofeation/choices"}
    figures = {f"figures/renofeation/fig{n}" for n in range(1, 7)}
    assert set(plan.products) == tables | figures | {"claims/renofeation", "claims"}


@pytest.mark.parametrize("table", [f"table{n}" for n in range(1, 7)])
def test_at_paper_scale_rows_columns_and_numbers_are_the_papers(paper, table):
    printed = published_table("renofeation", table)
    found = {(cell["row"], cell["column"]): cell["published"] for cell in cells(paper, f"tables/renofeation/{table}")}
    assert {place: number for place, number in found.items() if number is not None} == printed
    # The paper leaves the average of clean accuracies out; every other cell it prints.
    missing = [place for place, number in found.items() if number is None]
    assert all(table == "table6" and row.endswith("clean") and column == "Average" for row, column in missing)


def test_the_grid_has_eight_points_and_regularisers_start_from_its_choice(plan):
    chosen = [node for node in plan.nodes.values() if node.kind == "choose"]
    sizes = Counter(len(node.spec["candidates"]) for node in chosen)
    assert sizes == {8: 4, 3: 4, 5: 2}  # linear and fine-tuning, L2-SP and DELTA, DELTA-R, on each of two targets
    for node in chosen:
        assert node.spec["split"] == "validation"
        for place, values in enumerate(node.spec["candidates"]):
            candidate = plan.nodes[node.parents[f"candidate{place}"]]
            recipe = candidate.spec
            tried = recipe["schedule"] | recipe.get("terms", {})
            # A value that is the default is left out of a spec: SGD's momentum 0.9, no weight decay.
            assert all(tried.get(name, {"momentum": 0.9}.get(name, 0.0)) == value for name, value in values.items())
            if len(node.spec["candidates"]) == 3:
                tuned = plan.nodes[candidate.parents["tuned"]]
                assert candidate.spec["tuned"] == ["lr", "momentum", "weight_decay"]
                assert len(tuned.spec["candidates"]) == 8


def test_renofeation_is_dropout_then_averaging_with_one_lambda(plan):
    places = {(c["row"], c["column"]): c["nodes"] for c in cells(plan, "tables/renofeation/table3")}
    model = {row: plan.nodes[plan.nodes[nodes["outcomes"]].parents["model"]]
             for (row, column), nodes in places.items() if row.endswith("clean") and column == "High"}  # fmt: skip
    last = model["Renofeation clean"]
    first = plan.nodes[last.parents["start"]]
    assert first.id == model["DELTA-R + dropout clean"].id
    assert plan.nodes[model["DELTA-R + SWA clean"].parents["start"]].id == model["DELTA-R clean"].id
    assert (last.spec["dropout"], last.spec["head"], last.spec["averaging"]) == (0.1, "keep", {"every": 10})
    assert last.parents["tuned"] == first.parents["tuned"] == model["DELTA-R clean"].id
    assert last.parents["teacher"] == first.parents["teacher"]
    assert "start" not in first.parents, "random weights"
    assert first.spec["initialisation"] == "pytorch"


def test_another_network_takes_the_values_chosen_for_the_first(plan):
    found = {(c["row"], c["column"]): plan.nodes[c["nodes"]["outcomes"]] for c in
             cells(plan, "tables/renofeation/table6") if c["metric"] == "accuracy"}  # fmt: skip
    other = plan.nodes[found["DenseNet-16 DELTA clean", "High"].parents["model"]]
    main = plan.nodes[found["ResNet-8 DELTA clean", "High"].parents["model"]]
    assert main.kind == "choose"
    assert other.parents["tuned"] == main.id
    assert other.parents["start"] != plan.nodes[main.parents["candidate0"]].parents["start"]


def test_the_protocols_set_the_attack_and_the_choice():
    attack = {}
    for protocol in ("paper", "code", "corrected"):
        plan = planned(scale="paper", protocol=protocol)
        attack[protocol] = next(n.spec["attack"] for n in plan.nodes.values() if n.kind == "craft")
        splits = {n.spec["split"] for n in plan.nodes.values() if n.kind == "choose"}
        assert splits == {"validation" if protocol == "corrected" else "test"}
    assert attack["paper"]["eps"] == 0.1 and "space" not in attack["paper"]
    code = attack["code"]
    assert (code["space"], code["clip"], code["loss"]) == ("normalised", 2.2, "mean_rest")
    assert (code["mean"], code["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert attack["corrected"]["eps"] == pytest.approx(0.1 * (0.229 + 0.224 + 0.225) / 3, abs=1e-4)


def test_in_the_authors_protocol_their_values_are_given_and_not_chosen():
    plan = planned(scale="paper", protocol="code")
    delta = [n for n in plan.nodes.values() if n.kind == "choose" and len(n.spec["candidates"]) == 1]
    assert {n.spec["candidates"][0]["feature_distillation"] for n in delta} == {10, 0.1, 1, 0.5, 5}


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ({"source": None}, "renofeation.networks.ResNet-8.weights: missing"),
        ({"targets": {"High": "digits-hihg"}}, "unknown data set 'digits-hihg'"),
        ({"networks": {"ResNet-8": {"network": "resnt"}}}, "did you mean resnet?"),
        (
            {"given": {"Low": {"lr": 1, "momentum": 0, "weight_decay": 0, "delta": 1, "delta_r": 1}}},
            "given.Low: unknown target 'Low'",
        ),
        (
            {"categories": {"Low": "digits"}},
            "renofeation.categories.Low: unknown target 'Low'; write one of High, Negative",
        ),
        (
            {"networks": {"ResNet-8": {"weights": "IMAGENET1K_V1"}}},
            "renofeation.networks.ResNet-8.weights: torchvision has",
        ),
        ({"attack": {"norm": "l2"}}, "renofeation.attack.norm: the feature attack knows linf only"),
        ({"attack": {"clip": 1.0}}, "renofeation.attack.clip: pixels are cut to [0, 1]"),
        ({"averaging": {"every": 0}}, "renofeation.averaging.every: 0 is not allowed; wanted: at least 1"),
        ({"averaging": {"every": 1000}}, "averaging.every: no average is taken in 200 iterations"),
        ({"shares": {"half": 1.5}}, "renofeation.shares.half: 1.5 is not allowed; wanted: less than 1"),
        ({"schedules": {"averaging": {"select": "best_validation"}}}, "schedule.select must be last"),
        ({"schedules": {"fine_tuning": {"epochs": 3, "iterations": 9}}}, "give either epochs or iterations"),
        ({"grid": {"lr": []}}, "renofeation.grid.lr: [] is not allowed; wanted: 1 or more entries"),
        ({"lambdas": {"delta": [0.1, -1]}}, "renofeation.lambdas.delta[1]: -1 is not allowed"),
    ],
)
def test_mistakes_are_told_in_clear_words(overlay, words):
    with pytest.raises(UserError) as error:
        planned(renofeation=overlay)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("dataset", "key"), [("digits-high-negative", "chosen_on"), ("digits-low", r"schedules\.source\.select")]
)
def test_a_validation_split_that_is_not_there(dataset, key):
    with pytest.raises(
        UserError, match=rf"renofeation\.{key}: a validation split is wanted; set datasets\.{dataset}\."
    ):
        planned(datasets={dataset: {"validation": 0}})
