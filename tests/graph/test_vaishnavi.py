"""The Vaishnavi study's plan: which models are trained how, what is shared, what its tables and figures show."""

from collections import Counter
from functools import partial

import numpy as np
import pytest

import workspace
from robust_transfer.errors import UserError
from robust_transfer.plan.published import published_table
from robust_transfer.smoothing.results import evenly_spaced
from workspace import Workspace, cells, rules

ALONE = {"studies": ["vaishnavi"], "main_study": "vaishnavi"}
TABLES = ("table2", "table3", "table4", "table5", "standard", "improvements")
FIGURES = ("fig2", "fig2_published", "fig3", "fig3_published")
TARGETS = ["High", "Negative", "Turned", "Coarse", "Low turned", "Few"]
planned = partial(workspace.planned, "vaishnavi")


@pytest.fixture(scope="module")
def plan():
    return planned()


@pytest.fixture(scope="module")
def paper():
    return planned(scale="paper")


def model(plan, table, row, column):
    """The model that a number is of."""
    (cell,) = (c for c in cells(plan, f"tables/vaishnavi/{table}") if (c["row"], c["column"]) == (row, column))
    (node,) = cell["nodes"].values()
    return plan.nodes[plan.nodes[node].parents["model"]]


def learnt(recipe):
    """In a word how a recipe trains."""
    attacked, terms = recipe.get("inputs", {}).get("attack"), recipe.get("terms", {})
    return "AT" if attacked else "CR" if "consistency" in terms else "SimCLR" if "contrastive" in terms else "ST"


# ---- what there is -------------------------------------------------------------------------------------------------


def test_every_table_but_the_one_in_words_and_every_figure_twice(plan):
    wanted = {f"tables/vaishnavi/{name}" for name in (*TABLES, "sources")} | {
        f"figures/vaishnavi/{name}" for name in FIGURES
    }
    assert set(plan.products) == wanted | {"claims/vaishnavi", "claims"}


def test_each_source_is_trained_once_and_serves_all_targets(plan):
    sources = [n for n in plan.nodes.values() if n.kind == "pretrain" and n.slug.startswith("digits-0to4.")]
    assert Counter(learnt(n.spec) for n in sources) == {"ST": 1, "AT": 1, "CR": 1, "SimCLR": 1}
    starts = Counter(
        (learnt(plan.nodes[n.parents["start"]].spec), learnt(n.spec), n.spec.get("trainable", "all"))
        for n in plan.nodes.values()
        if n.kind == "transfer"
    )
    assert starts == {
        ("AT", "AT", "all"): 6,
        ("SimCLR", "AT", "all"): 6,
        ("ST", "AT", "all"): 2,
        ("CR", "CR", "all"): 6,
        ("SimCLR", "CR", "all"): 6,
        ("ST", "CR", "all"): 2,
        ("CR", "ST", "head"): 2,
        ("AT", "ST", "all"): 2,
        ("CR", "ST", "all"): 2,
    }
    random = [n for n in plan.nodes.values() if n.kind == "pretrain" and n not in sources]
    assert Counter(learnt(n.spec) for n in random) == {"AT": 6, "CR": 6}


def test_each_row_and_column_names_its_start(plan):
    def start(*place):
        parents = model(plan, *place).parents
        return learnt(plan.nodes[parents["start"]].spec) if "start" in parents else None

    for table, supervised in (("table2", "AT"), ("table3", "CR")):
        for target in TARGETS:
            found = [
                start(table, target, f"{name} SA")
                for name in ("Random Init.", "Sup. Pre-Training", "Self-Sup. Pre-Training")
            ]
            assert found == [None, supervised, "SimCLR"]
    for name in ("ST", "SimCLR", "AT"):
        assert start("table4", f"Negative {name}", "Empirical Robustness SA") == name
    for name in ("ST", "SimCLR", "CR"):
        assert start("table4", f"Negative {name}", "Certified Robustness SA") == name


def test_a_number_that_stands_in_two_tables_is_made_once(plan):
    kinds = Counter(node.kind for node in plan.nodes.values())
    # Empirical: 6 tasks from 3 starts and 2 from ST; certified: likewise, and 2 of which the last layer alone trained;
    # and of both 2 by standard training. The sources: 3.
    assert (kinds["craft"], kinds["certify"], kinds["evaluate"]) == (22 + 3, 24, 46 + 2 * 3)
    assert model(plan, "table4", "High AT", "Empirical Robustness RA") is model(
        plan, "table2", "High", "Sup. Pre-Training RA"
    )
    assert model(plan, "table4", "Negative CR", "Certified Robustness ACR") is model(
        plan, "table3", "Negative", "Sup. Pre-Training ACR"
    )


@pytest.mark.parametrize("scale", ["digits", "mnist", "cifar"])
def test_the_source_of_standard_training_is_davchevs(scale):
    others = planned(scale=scale, studies=["davchev"], main_study="davchev").nodes
    sources = [n for n in planned(scale=scale).nodes.values() if n.kind == "pretrain" and learnt(n.spec) == "ST"]
    assert len(sources) == 1
    assert sources[0].id in others


@pytest.mark.parametrize("table", [name for name in TABLES if name != "standard"])
def test_at_paper_scale_rows_columns_and_numbers_are_the_papers(paper, table):
    printed = published_table("vaishnavi", table)
    found = {(cell["row"], cell["column"]): cell["published"] for cell in cells(paper, f"tables/vaishnavi/{table}")}
    own = {place for place in found if place[0] == "Certified Last Layer alone"}
    assert {place: number for place, number in found.items() if place not in own} == printed
    assert bool(own) == (table == "improvements")
    assert list(dict.fromkeys(row for row, _ in found if (row, "SA") not in own)) == list(
        dict.fromkeys(row for row, _ in printed)
    )


@pytest.mark.parametrize("scale", ["digits", "mnist", "cifar", "paper"])
@pytest.mark.parametrize("protocol", ["paper", "code", "corrected"])
def test_every_scale_and_protocol_plans(scale, protocol):
    plan = planned(scale=scale, protocol=protocol)
    assert all(i in plan.nodes for product in plan.products.values() for i in product.nodes)


def test_the_paper_scale_as_snakemake_sees_it(tmp_path):
    clone = Workspace(tmp_path / "clone")
    clone.lay(ALONE | {"scale": "paper"})
    wanted = Counter(n.kind for n in planned(scale="paper").nodes.values()) + Counter(tabulate=7, draw=4)
    found = rules(clone.planned())
    assert {rule: count for rule, count in found.items() if rule in wanted} == dict(wanted)
    assert sum(wanted.values()) == 292, "and 12 sets twice: whole, and without validation images (D9)"


# ---- how it is trained and measured --------------------------------------------------------------------------------


def test_training_is_the_papers(paper):
    adversarial = model(paper, "table2", "Food", "Sup. Pre-Training RA").spec["inputs"]
    attack = adversarial["attack"]
    assert (attack["norm"], attack["eps"], attack["steps"], attack["random_start"]) == ("l2", 0.5, 3, True)
    assert attack["step_size"] == pytest.approx(2 * 0.5 / 3)
    assert adversarial["clean_weight"] == 0
    consistent = model(paper, "table3", "Food", "Random Init. SA").spec
    assert consistent["inputs"] == {"noise": 0.5}
    assert consistent["terms"]["consistency"] == {"weight": 5, "entropy": 0.5}  # and copies: 2, the default
    certify = next(n for n in paper.nodes.values() if n.kind == "certify").spec["smoothing"]
    assert certify == {"sigma": 0.5}, "n0 100, n 100,000, alpha 0.001 and 500 images are the defaults"
    (source,) = (n for n in paper.nodes.values() if n.kind == "bring")
    assert source.spec["weights"] == "IMAGENET1K_V1"


def test_certification_says_its_own_n(plan):
    measured = plan.products["tables/vaishnavi/table3"].spec["measured"]
    smoothing = next(n for n in plan.nodes.values() if n.kind == "certify").spec["smoothing"]
    assert f"n {smoothing['n']:,}" in measured
    assert f"about {smoothing['images']} evenly spaced images" in measured


def test_a_caption_says_which_radius_another_n_than_the_papers_allows(plan, paper):
    def said(plan):
        return plan.products["tables/vaishnavi/table3"].spec["measured"]

    assert "n 500 (so that no radius is over 1.103; 1.906 in the paper), alpha" in said(plan)
    assert "n 100,000, alpha" in said(paper)


def test_a_table_says_which_switches_are_set_apart(plan):
    def said(plan):
        return plan.products["tables/vaishnavi/table5"].spec["measured"].rpartition(", ")[2]

    assert said(plan) == "protocol corrected"
    assert said(with_switch("D11", "code")) == "protocol corrected but for D11: code"
    assert said(with_switch("D11", "corrected")) == "protocol corrected"


def test_table_5_is_smoothed_and_plain_on_one_model(plan):
    last = model(plan, "table5", "High", "sigma = 0.5 SA")
    assert (last.spec["trainable"], learnt(last.spec), learnt(plan.nodes[last.parents["start"]].spec)) == (
        "head",
        "ST",
        "CR",
    )
    found = {c["column"]: c for c in cells(plan, "tables/vaishnavi/table5") if c["row"] == "High"}
    for what in ("SA", "RA", "ACR"):
        smoothed, plain = (found[f"sigma = {sigma} {what}"]["nodes"] for sigma in (0.5, 0.0))
        assert list(smoothed) == ["certificates"]
        assert plain["certificates"] == smoothed["certificates"], "which say the images that both are of"
        outcomes = plan.nodes[plain["outcomes"]]
        assert "examples" not in outcomes.parents
        assert plan.nodes[outcomes.parents["model"]] is last


def test_the_whole_network_by_standard_training_has_a_robust_source(plan):
    for column, source in (("Empirical Robustness RA", "AT"), ("Certified Robustness ACR", "CR")):
        found = model(plan, "standard", "Negative", column)
        start = learnt(plan.nodes[found.parents["start"]].spec)
        assert (found.spec.get("trainable", "all"), learnt(found.spec), start) == ("all", "ST", source)
        last = model(plan, "table5", "Negative", "sigma = 0.5 SA")
        assert found.spec["schedule"] == last.spec["schedule"]
    assert plan.products["tables/vaishnavi/standard"].spec["published"] is None


def test_improvements_pair_each_target_with_its_random_start(plan):
    (cell,) = (
        c
        for c in cells(plan, "tables/vaishnavi/improvements")
        if (c["row"], c["column"]) == ("Certified Self-Sup. Pre-Training", "ACR")
    )
    assert cell["metric"] == "mean_improvement_average_certified_radius"
    table = {(c["row"], c["column"]): c["nodes"]["certificates"] for c in cells(plan, "tables/vaishnavi/table3")}
    for place, target in enumerate(TARGETS):
        assert cell["nodes"][f"before{place}"] == table[target, "Random Init. ACR"]
        assert cell["nodes"][f"after{place}"] == table[target, "Self-Sup. Pre-Training ACR"]
    assert len(cell["nodes"]) == 2 * len(TARGETS)


@pytest.mark.parametrize(
    ("figure", "r2"), [("fig2_published", [0.98, 0.94]), ("fig3_published", [0.92, 0.94, 0.89, 0.86])]
)
def test_the_published_figures_have_the_papers_r_squared(plan, figure, r2):
    spec = plan.products[f"figures/vaishnavi/{figure}"].spec
    values = {(cell["row"], cell["column"]): cell["published"] for cell in spec["cells"]}
    assert all(cell["metric"] == "published" and cell["nodes"] == {} for cell in spec["cells"])
    tasks = list(dict.fromkeys(row for row, _ in values))
    assert len(tasks) == 12
    found = []
    for panel in spec["panels"]:
        x, y = ([values[task, panel[side][1]] / values[task, panel[side][0]] for task in tasks] for side in ("x", "y"))
        found.append(np.corrcoef(x, y)[0, 1] ** 2)
    assert found == pytest.approx(r2, abs=0.00501)


def test_the_measured_figures_show_the_cells_of_their_tables(plan):
    for number, panels in (("2", 2), ("3", 4)):
        figure = plan.products[f"figures/vaishnavi/fig{number}"].spec
        assert [cell | {"published": None} for cell in figure["cells"]] == cells(
            plan, f"tables/vaishnavi/table{number}"
        )
        assert len(figure["panels"]) == panels
        columns = {cell["column"] for cell in figure["cells"]}
        assert all(set(panel["x"] + panel["y"]) <= columns for panel in figure["panels"])


# ---- switches ------------------------------------------------------------------------------------------------------


def with_switch(switch, choice, **overlay):
    return planned(switches={switch: choice}, **overlay)


def test_d8_the_evaluation():
    found = {}
    for choice in ("paper", "code", "corrected"):
        plan = with_switch("D8", choice)
        attack = next(n.spec["attack"] for n in plan.nodes.values() if n.kind == "craft")
        smoothing = next(n.spec["smoothing"] for n in plan.nodes.values() if n.kind == "certify")
        found[choice] = attack.get("restarts", 1), smoothing.get("whole_steps", False)
    assert found == {"paper": (1, False), "code": (5, True), "corrected": (5, False)}


def test_d8_how_many_images_of_a_task_are_certified():
    # Only these step through DTD's 1,880 test images as the code's --skip 4 does: 1,880 // 470.
    for choice, images in (("paper", 500), ("code", 470), ("corrected", 500)):
        plan = with_switch("D8", choice, scale="paper")
        for target in ("DTD", "Food"):
            wanted = images if target == "DTD" else 500
            found = {
                node.spec["smoothing"].get("images", 500)
                for node in plan.nodes.values()
                if node.kind == "certify" and node.slug.startswith({"DTD": "dtd", "Food": "food-101"}[target])
            }
            assert found == {wanted}
    assert len(evenly_spaced(1880, 470, whole_steps=True)) == 470


def test_d9_what_ends_adversarial_training_on_a_target():
    found = {}
    for choice in ("paper", "code", "corrected"):
        plan = with_switch("D9", choice, scale="paper")
        trained = model(plan, "table2", "Food", "Sup. Pre-Training RA")
        schedule, food = trained.spec["schedule"], plan.nodes[trained.parents["data"]].spec
        found[choice] = (
            schedule["decay"],
            schedule.get("watch", "validation"),
            schedule.get("patience"),
            food.get("validation", 0.1),
        )
        certified = model(plan, "table3", "Food", "Sup. Pre-Training RA").spec["schedule"]
        assert (certified["decay"], certified["epochs"], certified["batch_size"]) == ("steps", 150, 32)
    assert found == {
        "paper": ("steps", "validation", None, 0),
        "code": ("plateau", "test", 30, 0),
        "corrected": ("plateau", "validation", 30, 0.1),
    }


def test_d10_normalisation_on_a_target_from_a_source_and_from_random_weights():
    code, corrected = with_switch("D10", "code"), with_switch("D10", "corrected")
    for table, columns in (("table2", ["Sup. Pre-Training RA"]), ("table3", ["Self-Sup. Pre-Training RA"])):
        for column in columns:
            assert model(code, table, "Few", column).spec["normalise"] == {"mean": 0, "std": 1}
            assert "normalise" not in model(corrected, table, "Few", column).spec
    assert model(code, "table5", "High", "sigma = 0.5 SA").spec["normalise"] == {"mean": 0, "std": 1}
    random = [model(plan, "table2", "Few", "Random Init. RA").spec["network"] for plan in (code, corrected)]
    assert random == [random[1] | {"normalise": {"mean": 0, "std": 1}}, random[1]]
    sources = [
        {n.id for n in plan.nodes.values() if n.slug.startswith("digits-0to4.") and n.kind == "pretrain"}
        for plan in (code, corrected)
    ]
    assert sources[0] == sources[1]


def test_d10_cifar_has_numbers_of_its_own():
    plan = with_switch("D10", "code", scale="paper")
    stds = {
        target: model(plan, "table2", target, "Sup. Pre-Training RA").spec["normalise"]["std"]
        for target in ("Food", "CIFAR-10", "CIFAR-100")
    }
    assert stds == {"Food": 1, "CIFAR-10": [0.2023, 0.1994, 0.2010], "CIFAR-100": [0.2675, 0.2565, 0.2761]}


def test_d11_statistics_where_the_last_layer_alone_trains():
    found = {
        choice: model(with_switch("D11", choice), "table5", "High", "sigma = 0.5 SA").spec.get("frozen_statistics")
        for choice in ("paper", "code", "corrected")
    }
    assert found == {"paper": None, "code": "drift", "corrected": None}  # none is the default


# ---- what the config may say ---------------------------------------------------------------------------------------


def test_a_source_can_be_brought_as_a_file():
    file = {"file": "l2_0.5.pt", "sha256": "ab" * 32}
    plan = planned(scale="paper", vaishnavi={"brought": {"AT": file}})
    brought = [n for n in plan.nodes.values() if n.kind == "bring"]
    assert {n.slug for n in brought} == {"resnet50.IMAGENET1K_V1", "resnet50.l2_0-5".replace("_", "-")}
    (node,) = (n for n in brought if "file" in n.spec)
    assert {key: node.spec[key] for key in ("file", "sha256")} == file
    assert model(plan, "table2", "Food", "Sup. Pre-Training RA").parents["start"] == node.id


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ({"network": "resnt"}, "vaishnavi.network: unknown network 'resnt'; write one of"),
        ({"source": "digits-lo"}, "vaishnavi.source: unknown data set 'digits-lo'"),
        ({"source": None}, "vaishnavi.brought.AT: missing; say where the source comes from"),
        ({"targets": {"High": {"data": "digits-hihg"}}}, "vaishnavi.targets.High.data: unknown data set 'digits-hihg'"),
        ({"targets": {"High": {"per_class": 0}}}, "vaishnavi.targets.High.per_class: 0 is not allowed"),
        ({"compared": ["Low"]}, "vaishnavi.compared[0]: unknown target 'Low'; write one of High, Negative"),
        ({"schedules": {"CR": None}}, "vaishnavi.schedules.CR: missing; this source is trained here"),
        ({"contrastive": None}, "vaishnavi.contrastive: missing; SimCLR's source is trained here"),
        (
            {"brought": {"ST": {"weights": "IMAGENET1K_V1"}}},
            "vaishnavi.brought.ST.weights: torchvision has weights for",
        ),
        ({"brought": {"AT": {}}}, "vaishnavi.brought.AT.weights: give either the published name of the weights, or"),
        (
            {"brought": {"AT": {"file": "a.pt"}}},
            "vaishnavi.brought.AT.file: data/weights/a.pt is missing; put the",
        ),
        ({"brought": {"XY": {"weights": "A"}}}, "vaishnavi.brought.XY: unknown key; the keys here are ST, AT, CR"),
        ({"attack": {"algorithm": "feature"}}, "vaishnavi.attack.algorithm: 'feature' is unknown; write one of pgd"),
        ({"smoothing": {"sigma": 0}}, "vaishnavi.smoothing.sigma: 0 is not allowed; wanted: more than 0"),
        ({"consistency": {"copies": 1}}, "vaishnavi.consistency.copies: 1 is not allowed; wanted: at least 2"),
    ],
)
def test_mistakes_are_told_in_clear_words(overlay, words):
    with pytest.raises(UserError) as error:
        planned(vaishnavi=overlay)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("overlay", "key"),
    [({}, "vaishnavi.schedules.empirical.watch"), ({"evaluated_on": "validation"}, "vaishnavi.evaluated_on")],
)
def test_a_validation_split_that_is_not_there(overlay, key):
    with pytest.raises(UserError) as error:
        planned(vaishnavi=overlay, datasets={"digits-high-coarse": {"validation": 0}})
    assert f"{key}: a validation split is wanted; set datasets.digits-high-coarse.validation above 0" in str(
        error.value
    )
    planned(switches={"D9": "code"}, datasets={"digits-high-coarse": {"validation": 0}})


def test_a_source_that_selects_without_a_validation_split():
    with pytest.raises(UserError, match=r"vaishnavi\.schedules\.ST\.select: .* set datasets\.digits-low\.validation"):
        planned(datasets={"digits-low": {"validation": 0}})
