"""The CARTL study's plan: what is shared, which recipe fills which cell, what its tables and figures show."""

from collections import Counter
from functools import partial

import pytest

import workspace
from robust_transfer.errors import UserError
from robust_transfer.plan.published import published_table
from robust_transfer.studies.base import is_ours
from workspace import cells

ALONE = {"studies": ["cartl"], "main_study": "cartl"}
TABLES = [f"table{n}" for n in range(1, 5)]
planned = partial(workspace.planned, "cartl")


@pytest.fixture(scope="module")
def plan():
    return planned()


@pytest.fixture(scope="module")
def paper():
    return planned(scale="paper")


def models(plan, product):
    """(row, column) -> the node whose accuracy stands there; a column as the table heads it, without `Acc.`."""
    found = [cell for cell in cells(plan, product) if cell["metric"] == "accuracy"]
    outcomes = {(c["row"], c["column"].removesuffix(" Acc.")): plan.nodes[c["nodes"]["outcomes"]] for c in found}
    return {place: plan.nodes[node.parents["model"]] for place, node in outcomes.items()}


def recipes(plan, product):
    return {place: model.spec for place, model in models(plan, product).items()}


def source_of(plan, model):
    return plan.nodes[model.parents["start"]]


# ---- tables and figures --------------------------------------------------------------------------------------------


def test_every_table_and_figure_of_the_paper(plan):
    tables = {f"tables/cartl/{name}" for name in (*TABLES, "sources")}
    figures = {f"figures/cartl/fig{n}" for n in (3, 4, 5)}
    assert set(plan.products) == tables | figures | {"claims/cartl", "claims"}


def test_the_middle_scale_has_them_too(plan, paper):
    middle = planned(scale="cifar")
    assert set(middle.products) == set(plan.products) == set(paper.products)
    shown = {(c["row"], c["column"]) for c in cells(middle, "tables/cartl/table3")}
    assert shown == {(c["row"], c["column"]) for c in cells(paper, "tables/cartl/table3")}


@pytest.mark.parametrize("table", TABLES)
def test_at_paper_scale_rows_columns_and_numbers_are_the_papers(paper, table):
    own = [cell for cell in cells(paper, f"tables/cartl/{table}") if not is_ours(cell)]
    found = {(cell["row"], cell["column"]): cell["published"] for cell in own}
    assert found == published_table("cartl", table)


def test_a_robustness_is_of_examples_made_against_the_model_itself(paper):
    shown = [cell for product in paper.products.values() for cell in product.spec["cells"] if not is_ours(cell)]
    outcomes = [cell for cell in shown if cell["metric"] == "robustness"]
    assert len(outcomes) == len(shown) / 2
    for cell in outcomes:
        outcome = paper.nodes[cell["nodes"]["outcomes"]]
        examples = paper.nodes[outcome.parents["examples"]]
        assert examples.parents["model"] == outcome.parents["model"]
        attack = examples.spec["attack"]
        assert (attack["algorithm"], attack["steps"], attack["random_start"]) == ("pgd", 100, True)
        assert attack["eps"] == pytest.approx(8 / 255)
        assert attack["step_size"] == pytest.approx(2 / 255)
        assert examples.spec["split"] == "test"


def test_beside_it_stands_an_attack_that_small_logits_do_not_blunt(paper):
    own = [cell for cell in cells(paper, "tables/cartl/table3") if is_ours(cell)]
    assert len(own) == 3 * 3
    for cell in own:
        outcome = paper.nodes[cell["nodes"]["outcomes"]]
        examples = paper.nodes[outcome.parents["examples"]]
        assert examples.parents["model"] == outcome.parents["model"]
        attack = examples.spec["attack"]
        assert (attack["algorithm"], attack["loss"], attack["steps"]) == ("apgd", "dlr", 100)
        assert attack["eps"] == pytest.approx(8 / 255)
        theirs = paper.nodes[models(paper, "tables/cartl/table3")[cell["row"], cell["column"].split()[0]].id]
        assert theirs.id == outcome.parents["model"]


def test_a_sources_of_each_k_and_lambda_and_one_of_none(paper):
    sources = [node for node in paper.nodes.values() if node.kind == "pretrain"]

    def trained_for(node):
        distance = node.spec.get("terms", {}).get("feature_distance", {})
        return paper.nodes[node.parents["data"]].slug, distance.get("units"), distance.get("weight")

    tried = [("cifar100", k, weight) for k in (4, 6, 8) for weight in (0.01, 0.005)]
    others = [("cifar10", 6, 0.005), ("gtsrb-final", 6, 0.005)]
    plain = [(name, None, None) for name in ("cifar100", "cifar10", "gtsrb-final")]
    assert Counter(map(trained_for, sources)) == Counter(tried + others + plain)
    for node in sources:
        inputs = node.spec["inputs"]
        assert inputs["clean_weight"] == 0, "adversarial examples alone"
        assert inputs["attack"]["steps"] == 7
        assert node.spec["network"]["depth"] == (34 if node.slug.startswith("cifar100.") else 28)


def test_cartl_fine_tunes_the_units_that_its_source_was_trained_for(paper):
    seen = set()
    for (row, column), model in models(paper, "tables/cartl/table2").items():
        k, weight, beta = int(row.split()[0].removeprefix("Case-")), float(row.split()[-1]), float(column.split()[-1])
        assert model.spec["trainable"] == {"last": k, "of": "units"}
        assert model.spec["spectral"] == {"units": k, "beta": beta}
        distance = source_of(paper, model).spec["terms"]["feature_distance"]
        assert distance == {"weight": weight, "units": k}
        seen.add((k, weight, beta))
    assert len(seen) == 3 * 2 * 3


def test_the_ablation_takes_the_parts_of_cartl_one_by_one(plan):
    found = models(plan, "tables/cartl/table3")
    cartl = models(plan, "tables/cartl/table2")
    for case, k in (("Case-4", 3), ("Case-6", 4), ("Case-8", 5)):
        tl, neft, whole = (found[row, case] for row in ("AT TL", "AT NEFT", "AT + FDM NEFT"))
        assert "terms" not in source_of(plan, tl).spec
        assert tl.parents["start"] == neft.parents["start"] != whole.parents["start"]
        assert "spectral" not in tl.spec
        assert neft.spec == whole.spec == tl.spec | {"spectral": {"units": k, "beta": 0.4}}
        assert whole.id == cartl[f"{case} lambda = 0.005", "NEFT beta = 0.4"].id


def test_the_four_cases_of_batch_norm(plan):
    for (row, column), recipe in recipes(plan, "tables/cartl/table1").items():
        assert recipe.get("affine", "train") == ("freeze" if row.endswith(" W b") else "train")
        held = column == "mu sigma W b"
        assert recipe.get("frozen_statistics", "hold") == ("hold" if held else "drift")
        assert "trained_statistics" not in recipe, "they move"
        assert "head" not in recipe, "the default: a new one"
        assert recipe["trainable"]["last"] == int(row.split("k = ")[1].split(")")[0])


def test_vanilla_is_one_network_wherever_it_stands(plan):
    case = models(plan, "tables/cartl/table1")["Low -> High (k = 5) W b", "mu sigma W b"]
    assert case.id == models(plan, "tables/cartl/table3")["AT TL", "Case-8"].id
    figure = models(plan, "figures/cartl/fig3")
    assert case.id == figure["Low -> High", "5"].id == models(plan, "figures/cartl/fig4")["Vanilla", "5"].id


def test_what_is_not_forgotten_are_the_robust_sources_features(paper):
    found = {**models(paper, "tables/cartl/table4"), **models(paper, "figures/cartl/fig4")}
    lwf = [model for (row, column), model in found.items() if "LwF" in (row, column)]
    assert len(lwf) == 4 + 4
    for model in lwf:
        features = paper.nodes[model.parents["features"]]
        assert features.parents == {"model": model.parents["start"], "data": model.parents["data"]}
        assert "terms" not in source_of(paper, model).spec, "plain adversarial training"
        assert "trainable" not in model.spec, "all"
        schedule = model.spec["schedule"]
        assert schedule["head_first"] == schedule["iterations"] / 2
        assert not {"crop_padding", "flip", "rotation"} & set(schedule), "the features are of the images as they are"


def test_along_the_tradeoff_lambda_and_k_are_swept(plan):
    swept = recipes(plan, "figures/cartl/fig4")
    weights = {column: swept[row, column]["terms"]["similarity"]["weight"] for row, column in swept if row == "LwF"}
    assert weights == {"0.1": 0.1, "0.01": 0.01, "0.005": 0.005, "0.001": 0.001}
    for method, row in (("CARTL", "AT + FDM NEFT"), ("Vanilla", "AT TL")):
        for column, case in (("3", "Case-4"), ("4", "Case-6"), ("5", "Case-8")):
            model = models(plan, "figures/cartl/fig4")[method, column]
            assert model.id == models(plan, "tables/cartl/table3")[row, case].id


def test_less_data_is_less_of_every_class_with_all_else_the_same(plan):
    found = recipes(plan, "figures/cartl/fig5")
    for method in ("LwF", "Vanilla", "CARTL"):
        whole = found[method, "100%"]
        for column, share in (("50%", 0.5), ("20%", 0.2), ("10%", 0.1)):
            assert found[method, column] == whole | {"inputs": {"share": share}}
    assert plan.products["figures/cartl/fig5"].spec["values"] == {"50%": 50, "20%": 20, "10%": 10, "100%": 100}
    assert models(plan, "figures/cartl/fig5")["CARTL", "100%"].id == models(plan, "figures/cartl/fig4")["CARTL", "4"].id


def test_only_what_may_be_flipped_is_augmented(paper):
    augmented = set()
    for node in paper.nodes.values():
        if node.kind in ("pretrain", "transfer"):
            schedule, data = node.spec["schedule"], paper.nodes[node.parents["data"]].slug
            wanted = data in ("cifar10", "cifar100") and "features" not in node.parents
            assert (schedule.get("crop_padding"), schedule.get("flip")) == ((4, True) if wanted else (None, None))
            augmented |= {(data, node.kind)} if wanted else set()
    assert augmented == {("cifar100", "pretrain"), ("cifar10", "pretrain"), ("cifar10", "transfer")}


# ---- the protocols -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def protocols(paper):
    return {name: planned(scale="paper", protocol=name) for name in ("paper", "code")} | {"corrected": paper}


ROW = "CIFAR-100 SVHN WRN 34-10 (k = 6)"


def test_d4_is_what_the_authors_do_otherwise_than_shafahi(protocols):
    lwf = {name: recipes(plan, "tables/cartl/table4")[ROW, "LwF"] for name, plan in protocols.items()}
    for name in ("paper", "corrected"):
        assert lwf[name]["trained_statistics"] == "hold"
        assert (lwf[name]["schedule"]["iterations"], lwf[name]["schedule"]["head_first"]) == (20_000, 10_000)
        assert "select" not in lwf[name]["schedule"]
    assert "trained_statistics" not in lwf["code"], "batch norm in training mode"
    schedule = lwf["code"]["schedule"]
    assert (schedule["epochs"], schedule["head_first"], schedule["select"]) == (52, 25, "best_validation")
    assert "iterations" not in schedule, "SVHN's epochs are longer than CIFAR-10's"
    weights = {name: lwf[name]["terms"]["similarity"]["weight"] for name in ("paper", "code")}
    assert weights == {"paper": 0.005, "code": 0.005}


@pytest.mark.parametrize("scale", ["digits", "mnist", "cifar", "paper"])
@pytest.mark.parametrize("protocol", ["paper", "corrected"])
def test_both_studies_forget_by_one_recipe(scale, protocol):
    """But for lambda_d, how it was found, and how much of the data takes part."""
    found = {}
    for study in ("cartl", "shafahi"):
        nodes = workspace.planned(study, scale=scale, protocol=protocol).nodes.values()
        specs = [node.spec for node in nodes if "features" in node.parents]
        found[study] = {str({k: v for k, v in s.items() if k not in ("inputs", "terms", "tuned")}) for s in specs}
        found[study] |= {s["terms"]["similarity"].get("norm", "l2") for s in specs}
    assert found["cartl"] == found["shafahi"] and len(found["cartl"]) == 2


def test_corrected_chooses_lambda_d_on_images_that_no_candidate_was_trained_on(paper):
    for scenario, column in ((ROW, "LwF"), ("LwF", "100%"), ("LwF", "10%")):
        product = "figures/cartl/fig5" if scenario == "LwF" else "tables/cartl/table4"
        model = models(paper, product)[scenario, column]
        assert model.spec["tuned"] == ["similarity"]
        choice = paper.nodes[model.parents["tuned"]]
        tried = [{"similarity": weight} for weight in (0.1, 0.01, 0.005, 0.001)]
        assert choice.spec == {"split": "validation", "candidates": tried}
        for place, values in enumerate(tried):
            candidate = paper.nodes[choice.parents[f"candidate{place}"]]
            assert candidate.spec["terms"]["similarity"]["weight"] == values["similarity"]
            assert {k: v for k, v in candidate.spec.items() if k != "terms"} == {
                k: v for k, v in model.spec.items() if k not in ("terms", "inputs", "tuned")
            }
            assert candidate.parents["data"] == choice.parents["data"]
            outcomes = paper.nodes[choice.parents[f"attacked{place}"]]
            examples = paper.nodes[outcomes.parents["examples"]]
            assert (outcomes.parents["model"], examples.spec["split"]) == (candidate.id, "validation")
        shares = [paper.nodes[i].spec["validation"] for i in (choice.parents["data"], model.parents["data"])]
        assert shares == [0.05, 0], "trained on all images in the end"


def test_a_choice_of_lambda_d_wants_a_validation_split():
    with pytest.raises(
        UserError, match=r"cartl\.lwf\.weight: .* set datasets\.digits-high\.validation above 0, or weight"
    ):
        planned(datasets={"digits-high": {"validation": 0}})


def test_d5_is_whether_statistics_drift_under_neft_alone(protocols):
    for name, plan in protocols.items():
        found = recipes(plan, "tables/cartl/table3")
        assert found["AT NEFT", "Case-6"].get("frozen_statistics", "hold") == ("drift" if name == "code" else "hold")
        assert "frozen_statistics" not in found["AT TL", "Case-6"]


@pytest.mark.parametrize("scale", ["cifar", "paper"])
def test_d6_is_head_normalisation_rotation_and_the_epoch_kept(protocols, scale):
    if scale == "cifar":
        protocols = {name: planned(scale=scale, protocol=name) for name in protocols}
    for name, plan in protocols.items():
        code = name == "code"
        parts = recipes(plan, "tables/cartl/table3")
        assert ("head" in parts["AT TL", "Case-6"]) == code
        assert parts["AT NEFT", "Case-6"]["spectral"]["beta"] == (0.6 if code else 0.4)
        assert parts["AT + FDM NEFT", "Case-6"]["spectral"]["beta"] == 0.4
        sources = {n.slug.split(".")[0]: n.spec for n in plan.nodes.values() if n.kind == "pretrain"}
        means = {data: tuple(spec["network"]["normalise"]["mean"]) for data, spec in sources.items()}
        assert len(set(means.values())) == (1 if code else 3)
        assert ("rotation" in sources["cifar10"]["schedule"]) == code
        assert ("select" in sources["cifar10"]["schedule"]) == (name == "corrected")
    head = recipes(protocols["code"], "tables/cartl/table3")["AT TL", "Case-6"]["head"]
    assert head == {"weights": "uniform01"}


# ---- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ({"sources": {"Low": {"data": "digits-lwo"}}}, "cartl.sources.Low.data: unknown data set 'digits-lwo'"),
        ({"sources": {"Low": {"network": "wied"}}}, "did you mean wide?"),
        ({"sources": {"Low": {"network": "densenet"}}}, "non-expansive fine-tuning averages in residual blocks"),
        ({"targets": {"High": "digits-hihg"}}, "cartl.targets.High: unknown data set"),
        ({"main": {"source": "Lwo"}}, "cartl.main.source: unknown source 'Lwo'; write one of Low, High"),
        ({"main": {"target": "Hgih"}}, "cartl.main.target: unknown target 'Hgih'"),
        (
            {"cases": {"Case-8": 9}},
            "cartl.cases.Case-8: the last 9 units are wanted, but the network wrn16x1w8 has 8; lower it",
        ),
        ({"cases": {"Case-8": True}}, "cartl.cases.Case-8: a whole number is wanted, not true or false"),
        ({"less_data": {"k": 10}}, "cartl.less_data.k: the last 10 units are wanted"),
        ({"depths": [{"source": "High", "target": "High", "k": [1, 9]}]}, "cartl.depths[0].k[1]: the last 9 units"),
        ({"batch_norm": [{"source": "Low", "target": "High", "k": 0}]}, "cartl.batch_norm[0].k: 0 is not allowed"),
        ({"batch_norm": [{"source": "Low", "target": "High", "k": 9}]}, "cartl.batch_norm[0].k: the last 9 units"),
        ({"comparison": [{"source": "Low", "target": "Nobody", "k": 4}]}, "cartl.comparison[0].target: unknown target"),
        ({"comparison": []}, "cartl.comparison: [] is not allowed; wanted: 1 or more entries"),
        ({"fdm": {"weights": [0.01, "1e-2"]}}, "cartl.fdm.weights: an entry stands here twice; take one away"),
        (
            {"depths": [{"source": "Low", "target": "High", "k": [1, 1]}]},
            "cartl.depths[0].k: an entry stands here twice",
        ),
        ({"comparison": [{"source": "Low", "target": "High", "k": 1}] * 2}, "cartl.comparison: an entry stands here"),
        ({"neft": {"betas": [1.5]}}, "cartl.neft.betas[0]: 1.5 is not allowed; wanted: at most 1"),
        ({"fdm": {"weight": 0}}, "cartl.fdm.weight: 0 is not allowed; wanted: more than 0"),
        ({"lwf": {"norm": "l3"}}, "cartl.lwf.norm"),
        ({"less_data": {"shares": {"all": 1}}}, "cartl.less_data.shares.all: 1 is not allowed; wanted: less than 1"),
        ({"augmentation": {"digits-hihg": {"flip": True}}}, "cartl.augmentation.digits-hihg: unknown data set"),
        ({"attack": {"restarts": 2, "random_start": False}}, "without random_start every restart is the same"),
        ({"lwf": {"schedule": {"epochs": 3, "iterations": 9}}}, "give either epochs or iterations"),
    ],
)
def test_mistakes_are_told_in_clear_words(overlay, words):
    with pytest.raises(UserError) as error:
        planned(cartl=overlay)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        (
            {"adversarial_training": {"algorithm": "free", "eps": 0.1, "replay": 2}},
            "cartl.adversarial_training.algorithm",
        ),
        ({"attack": {"algorithm": "feature", "eps": 0.1, "steps": 2, "step_size": 0.1}}, "cartl.attack.algorithm"),
    ],
)
def test_attacks_that_do_not_fit(overlay, words):
    with pytest.raises(UserError, match=words):
        planned(cartl=overlay)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ({"algorithm": "square", "eps": 0.1, "queries": 100}, "under SQUARE on"),
        ({"algorithm": "mi-fgsm", "eps": 0.1, "steps": 5, "step_size": 0.05}, "under MI-FGSM-5 on"),
    ],
)
def test_the_caption_names_attacks_that_have_no_steps_or_restarts(attack, words):
    assert words in planned(cartl={"attack": attack}).products["tables/cartl/table4"].spec["measured"]


@pytest.mark.parametrize(
    ("section", "dataset", "key"),
    [
        ({"evaluated_on": "validation"}, "digits-high", r"(evaluated_on|lwf\.weight)"),
        ({"schedules": {"source": {"select": "best_validation"}}}, "digits-low", r"schedules\.source\.select"),
    ],
)
def test_a_validation_split_that_is_not_there(section, dataset, key):
    with pytest.raises(UserError, match=rf"cartl\.{key}: a validation split is wanted; set datasets\.{dataset}\."):
        planned(cartl=section, datasets={dataset: {"validation": 0}})


def test_a_source_that_nothing_is_measured_on_needs_no_validation_split():
    planned(cartl={"evaluated_on": "validation"}, datasets={"digits-low": {"validation": 0}})


def test_the_seed_reaches_every_training_and_attack(plan):
    other = planned(seed=1)
    assert {plan.nodes[i].kind for i in plan.nodes.keys() & other.nodes.keys()} == {"prepare"}
    assert {node.spec["seed"] for node in other.nodes.values() if node.kind == "craft"} == {1}


def test_a_dry_run_of_the_paper_scale(workspace):
    workspace.lay(ALONE | {"scale": "paper"})
    jobs = workspace.planned()
    assert len(jobs) == len(workspace.plan().nodes) + len(workspace.plan().products)
