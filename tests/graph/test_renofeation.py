"""The Renofeation study's plan: what is shared, what is chosen, what its tables and figures show."""

from collections import Counter
from functools import partial

import pytest

import workspace
from robust_transfer.errors import UserError
from robust_transfer.plan.published import published_table
from robust_transfer.plan.specs import Normalise
from robust_transfer.studies.base import is_ours
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
    on_features = {node.id: node for node in crafts if node.spec["attack"]["algorithm"] == "feature"}
    assert len(on_features) == 2 * 2 * 4, "a set for each neuron"
    distinct = {(*n.parents.values(), n.spec["attack"]["neuron"]) for n in on_features.values()}
    assert len(distinct) == len(on_features)
    used = Counter(
        n.parents["examples"] for n in plan.nodes.values() if n.kind == "evaluate" and "examples" in n.parents
    )
    # Of the first network every method, every lambda and every share is shown the same set; of the second just three.
    assert sorted(used[i] for i in on_features) == [3] * 8 + [26] * 8
    for node in on_features.values():
        assert plan.nodes[node.parents["model"]].kind == "pretrain"
    sources = {outcome["nodes"]["outcomes"] for outcome in cells(plan, "tables/renofeation/sources")}
    of_sources = {plan.nodes[i].parents.get("examples") for i in sources}
    white = [node for node in crafts if node.id not in on_features and node.id not in of_sources]
    assert len(white) == 3 * 2 and all(used[node.id] == 1 for node in white), "the methods of table 4, by themselves"


def test_every_table_and_figure_of_the_paper_and_the_choices(plan):
    tables = {
        f"tables/renofeation/{name}" for name in (*(f"table{n}" for n in range(1, 7)), "choices", "neurons", "sources")
    }
    figures = {f"figures/renofeation/fig{n}" for n in (*range(1, 7), "3_published", "5_published")}
    assert set(plan.products) == tables | figures | {"claims/renofeation", "claims"}


@pytest.mark.parametrize("table", [f"table{n}" for n in range(1, 7)])
def test_at_paper_scale_rows_columns_and_numbers_are_the_papers(paper, table):
    printed = published_table("renofeation", table)
    theirs = (cell for cell in cells(paper, f"tables/renofeation/{table}") if not is_ours(cell))
    found = {(cell["row"], cell["column"]): cell["published"] for cell in theirs}
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


@pytest.mark.parametrize("scale", ["digits", "cifar", "paper"])
def test_one_eps_gives_all_three_budgets_and_the_codes_clip_cuts(scale):
    found, trained, unit, reach = {}, {}, set(), set()
    for protocol in ("paper", "code", "corrected"):
        plan = planned(scale=scale, protocol=protocol)
        networks = plan.origin["config"]["networks"]
        used = [each["network"] for each in plan.origin["config"]["renofeation"]["networks"].values()]
        normalisations = [Normalise.model_validate(networks[name].get("normalise", {})) for name in used]
        unit |= {each.unit for each in normalisations}
        reach |= {each.reach for each in normalisations}
        attacks = [n.spec["attack"] for n in plan.nodes.values() if n.kind == "craft"]
        found[protocol] = next(attack for attack in attacks if attack["algorithm"] == "feature")
        inputs = (n.spec.get("inputs", {}) for n in plan.nodes.values() if n.kind == "transfer")
        (trained[protocol],) = {each["attack"]["eps"] for each in inputs if "attack" in each}
    (unit,), (reach,) = unit, reach
    eps = {protocol: attack["eps"] for protocol, attack in found.items()}
    assert eps["code"] == eps["paper"] and eps["corrected"] == pytest.approx(eps["paper"] * unit)
    assert all(attack["step_size"] == pytest.approx(attack["eps"] / 10) for attack in found.values())
    assert [attack.get("space", "pixels") for attack in found.values()] == ["pixels", "normalised", "pixels"]
    assert found["code"]["clip"] < reach
    assert trained == {"paper": eps["paper"], "code": eps["corrected"], "corrected": eps["corrected"]}


def test_the_table_of_choices_says_how_good_they_were_and_how_many_others(plan):
    found = {c["column"]: c["metric"] for c in cells(plan, "tables/renofeation/choices") if c["row"] == "L2-SP High"}
    assert (found["accuracy"], found["others as good"]) == ("choice_accuracy", "choice_ties")


def test_neuron_0_alone_or_several_of_the_seed():
    def neurons(plan):
        attacks = (n.spec["attack"] for n in plan.nodes.values() if n.kind == "craft")
        return {attack.get("neuron", 0) for attack in attacks if attack["algorithm"] == "feature"}

    for protocol in ("paper", "code"):
        assert neurons(planned(protocol=protocol)) == {0}
    assert neurons(planned(renofeation={"neurons": [5, 0]})) == {0, 5}
    one, other = neurons(planned()), neurons(planned(seed=1))
    assert one != other
    roles = {tuple(c["nodes"]) for c in cells(planned(), "tables/renofeation/table2") if c["row"] == "DELTA ASR"}
    assert roles == {("clean", *(f"neuron{place}" for place in range(4)))}, "the same with every seed"


def test_the_table_of_neurons_has_mean_worst_and_each(plan):
    found = {c["column"]: c for c in cells(plan, "tables/renofeation/neurons") if c["row"] == "DELTA High"}
    assert list(found) == ["mean", "worst", *(f"neuron {place} of 4" for place in range(1, 5))]
    rows = [c for c in cells(plan, "tables/renofeation/table2") if c["row"] == "DELTA ASR"]
    (nodes,) = [cell["nodes"] for cell in rows if cell["column"] == "High"]
    assert found["mean"]["nodes"] == found["worst"]["nodes"] == nodes
    each = [cell["nodes"]["adversarial"] for column, cell in found.items() if column.startswith("neuron")]
    assert each == [nodes[f"neuron{place}"] for place in range(4)]


def test_what_the_paper_argues_with_but_does_not_print_is_ours(plan):
    for table, row in (
        ("table2", "DELTA adversarial accuracy"),
        ("table3", "DELTA-R + label smoothing feature loss"),
        ("table4", "Renofeation white-box ASR"),
        ("table6", "DenseNet-16 Renofeation adversarial accuracy"),
    ):
        found = [c for c in cells(plan, f"tables/renofeation/{table}") if c["row"] == row]
        assert found and all(is_ours(cell) for cell in found), row
    model = next(
        plan.nodes[c["nodes"]["distances"]].parents["model"]
        for c in cells(plan, "tables/renofeation/table3")
        if c["row"] == "DELTA-R + label smoothing feature loss"
    )
    assert plan.nodes[model].spec["terms"] == {"head_penalty": 0.01, "label_smoothing": 0.1}
    assert plan.nodes[model].spec["tuned"] == ["feature_distillation"]


@pytest.mark.parametrize("number", [3, 5])
def test_figures_of_the_printed_numbers_show_what_the_measured_ones_do(plan, paper, number):
    def places(of, metric):
        return [(c["row"], c["column"]) for c in of if c["metric"] == metric]

    measured = cells(paper, f"figures/renofeation/fig{number}")
    printed = cells(plan, f"figures/renofeation/fig{number}_published")
    assert places(printed, "published clean") == places(measured, "accuracy")
    assert places(printed, "published ASR") == places(measured, "attack_success_rate")
    values = {(c["row"], c["column"], c["metric"]): c["published"] for c in printed}
    assert values["DELTA", "Dog", "published clean"] == 84.39
    assert values["Re-training", "Flower", "published ASR"] == 3.0
    assert {c["metric"] for c in printed} == {"published clean", "published ASR"}


def averaging_nodes(**overlay):
    return [n.spec for n in planned(**overlay).nodes.values() if n.spec.get("averaging")]


def test_dropout_in_the_pass_for_statistics_is_no_other_node_where_nothing_is_dropped():
    specs = averaging_nodes(switches={"D3": "code"})
    assert any(spec["averaging"].get("dropout") for spec in specs)
    assert all(spec.get("dropout") for spec in specs if spec["averaging"].get("dropout"))
    assert sum(not spec.get("dropout") for spec in specs) == 3 * 2, "DELTA, DELTA-R and re-training on two targets"


def test_l2_sp_in_the_code_pulls_the_head_too_and_has_no_weight_decay():
    for choice, term, tuned in (
        ("code", {"weight": 0.01, "head": True}, ["lr", "momentum"]),
        ("paper", 0.01, ["lr", "momentum", "weight_decay"]),
    ):
        plan = planned(switches={"D19": choice})
        terms = [n.spec for n in plan.nodes.values() if "start_distance" in n.spec.get("terms", {})]
        assert term in [spec["terms"]["start_distance"] for spec in terms]
        assert all(spec["tuned"] == tuned and "weight_decay" not in spec["schedule"] for spec in terms)


def test_after_the_choice_everything_can_be_trained_on_all_images():
    usual, plan = planned(), planned(renofeation={"retrain_on_all": True})
    held_out = {n.id: bool(n.spec.get("validation")) for n in plan.nodes.values() if n.kind == "prepare"}
    chosen = [n for n in plan.nodes.values() if n.kind == "choose"]
    assert all(held_out[n.parents["data"]] for n in chosen)
    assert {n.id for n in chosen} == {n.id for n in usual.nodes.values() if n.kind == "choose"}
    shown = [c for c in cells(plan, "tables/renofeation/table2") if c["metric"] == "accuracy"]
    models = {c["row"]: plan.nodes[plan.nodes[c["nodes"]["outcomes"]].parents["model"]] for c in shown}
    assert len(models) == 5 and not any(held_out[n.parents["data"]] for n in models.values())
    tuned = {row: n.spec.get("tuned", []) for row, n in models.items()}
    grid = ["lr", "momentum", "weight_decay"]
    assert tuned["Linear classifier clean"] == tuned["Fine-tuning clean"] == grid
    assert tuned["L2-SP clean"] == [*grid, "start_distance"]
    assert tuned["DELTA clean"] == [*grid, "feature_distillation"]
    assert "and trained with on all images" in plan.products["tables/renofeation/table2"].spec["measured"]
    assert "whose images train nothing" in usual.products["tables/renofeation/table2"].spec["measured"]
    on_test = planned(protocol="code", renofeation={"retrain_on_all": True})
    assert on_test.nodes.keys() == planned(protocol="code").nodes.keys(), "nothing was held out"


def test_mobilenet_has_dropout_before_its_head_in_the_code(paper):
    def heads(plan):
        return Counter(str(n.spec.get("head")) for n in plan.nodes.values() if n.kind in ("transfer", "pretrain"))

    code = planned(scale="paper", switches={"D20": "code"})
    form = str({"dropout": 0.2})
    # DELTA, what Renofeation starts from, and re-training, on five targets; averaging goes on with the same head.
    assert (heads(code)[form], heads(paper)[form]) == (3 * 5, 0)
    assert heads(code)["keep"] == heads(paper)["keep"]


def test_the_feature_loss_is_measured_on_augmented_images_in_the_code():
    for choice, wanted in (("paper", None), ("code", {"crop_padding": 4})):
        plan = planned(scale="cifar", switches={"D21": choice})
        specs = [n.spec for n in plan.nodes.values() if n.kind == "measure"]
        assert all(spec.get("augmentation") == wanted for spec in specs)


def test_the_protocols_set_the_attack_and_the_choice():
    attack = {}
    for protocol in ("paper", "code", "corrected"):
        plan = planned(scale="paper", protocol=protocol)
        attacks = (n.spec["attack"] for n in plan.nodes.values() if n.kind == "craft")
        attack[protocol] = next(each for each in attacks if each["algorithm"] == "feature")
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
            "renofeation.categories.Low: unknown target 'Low'; write one of High, Negative, or Low: null",
        ),
        (
            {"networks": {"ResNet-8": {"weights": "IMAGENET1K_V1"}}},
            "renofeation.networks.ResNet-8.weights: torchvision has",
        ),
        ({"attack": {"eps": 0.1}}, "renofeation.attack.eps: unknown key"),
        ({"attack": {"clip": 0.5}}, "renofeation.attack.clip: pixels are cut to [0, 1]"),
        (
            {"attack": {"clip": 1.0, "space": "normalised"}},
            "renofeation.attack.clip: nothing is cut, as the input of resnet8w16 stays within 1",
        ),
        ({"attack": {"steps": 3}}, "renofeation.attack.steps_per_eps: 3 steps of eps/10 never reach the border"),
        ({"neurons": [3, 3]}, "renofeation.neurons: a neuron stands there twice"),
        ({"neurons": [64]}, "renofeation.neurons: resnet8w16 has 64 features; name others"),
        ({"neurons": 65}, "renofeation.neurons: resnet8w16 has 64 features; take fewer"),
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
