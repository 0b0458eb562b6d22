"""The Shafahi study's plan: which recipe fills which cell, what is shared, what its tables and figures show."""

from collections import Counter
from functools import partial

import pytest

import workspace
from robust_transfer.data.splits import chosen_classes
from robust_transfer.errors import UserError
from robust_transfer.plan.published import published_table
from robust_transfer.stages.node import KINDS
from robust_transfer.studies.shafahi import printed_number
from workspace import cells

ALONE = {"studies": ["shafahi"], "main_study": "shafahi"}
TABLES = [f"table{n}" for n in range(1, 8)]
planned = partial(workspace.planned, "shafahi")


@pytest.fixture(scope="module")
def plan():
    return planned()


@pytest.fixture(scope="module")
def paper():
    return planned(scale="paper")


def models(plan, product, metric="accuracy"):
    """row (of a figure: row and column) -> the node whose accuracy stands there."""
    table = product.startswith("tables")
    found = [cell for cell in cells(plan, product) if cell["metric"] == metric]
    outcomes = {c["row"] if table else (c["row"], c["column"]): plan.nodes[c["nodes"]["outcomes"]] for c in found}
    return {place: plan.nodes[node.parents["model"]] for place, node in outcomes.items()}


def parent(plan, node, role):
    return plan.nodes[node.parents[role]]


def slug(plan, node, role):
    return parent(plan, node, role).slug


# ---- tables --------------------------------------------------------------------------------------------------------


def test_every_table_and_figure_that_holds_results(plan):
    figures = {f"figures/shafahi/fig{n}" for n in (1, 3, 4, 5, 7)}
    tables = {f"tables/shafahi/{name}" for name in (*TABLES, "text", "sources")}
    assert set(plan.products) == tables | figures | {"claims/shafahi", "claims"}


@pytest.mark.parametrize("table", TABLES)
def test_at_paper_scale_rows_columns_and_numbers_are_the_papers(paper, table):
    found = {(cell["row"], cell["column"]): cell["published"] for cell in cells(paper, f"tables/shafahi/{table}")}
    printed = published_table("shafahi", table)
    assert {place: number for place, number in found.items() if number is not None} == printed
    # Of the two u-ResNet-50 the paper's text gives robustness alone.
    missing = {place for place, number in found.items() if number is None}
    assert missing == {(row, "val.") for row, _ in printed if row.startswith("Robust u-ResNet-50")}


def test_lambdas_are_written_as_the_paper_prints_them():
    assert [printed_number(v) for v in (0.1, 0.0025, 0.001, 5e-4, 5e-5, 1e-7, 2.5e-4, 1)] == [
        "0.1", "0.0025", "0.001", "5e-4", "5e-5", "1e-7", "2.5e-4", "1"
    ]  # fmt: skip


def test_robustness_is_of_examples_made_against_the_model_itself(paper):
    for name, eps in ((1, 8), (2, 8), (3, 5), (4, 8), (6, 8)):
        for cell in cells(paper, f"tables/shafahi/table{name}"):
            if cell["metric"] == "robustness":
                outcome = paper.nodes[cell["nodes"]["outcomes"]]
                examples = parent(paper, outcome, "examples")
                assert examples.parents["model"] == outcome.parents["model"]
                attack = examples.spec["attack"]
                assert (attack["algorithm"], attack["steps"], attack["random_start"]) == ("pgd", 20, True)
                assert (attack["eps"], attack["step_size"]) == pytest.approx((eps / 255, 2 / 255))
                assert "loss" not in attack, "the cross entropy"
                assert examples.spec["split"] == "test"


def test_robust_sources_see_adversarial_images_alone(paper):
    found = models(paper, "tables/shafahi/table1")
    for name, data in (("CIFAR-10+", "cifar10"), ("CIFAR-100+", "cifar100")):
        natural, robust = found[f"{name} natural"], found[f"{name} robust"]
        assert "inputs" not in natural.spec
        assert robust.spec["inputs"]["clean_weight"] == 0
        attack = robust.spec["inputs"]["attack"]
        assert (attack["steps"], attack["eps"], attack["step_size"]) == pytest.approx((7, 8 / 255, 2 / 255))
        assert natural.spec["schedule"] == robust.spec["schedule"]
        assert slug(paper, natural, "data") == slug(paper, robust, "data") == data
        network = robust.spec["network"]
        assert (network["depth"], network["widen"], network["shortcut"], network["normalise"]) == (
            32, 10, "pad", "per-image"
        )  # fmt: skip


def test_frozen_features_get_a_new_head_alone(paper):
    sources = models(paper, "tables/shafahi/table1")
    for row, model in models(paper, "tables/shafahi/table2").items():
        assert model.spec["trainable"] == "head"
        assert not {"head", "reset", "frozen_statistics", "inputs", "terms"} & set(model.spec), "a new linear one"
        start = parent(paper, model, "start")
        assert ("inputs" in start.spec) == row.endswith("robust")
        if row.startswith("CIFAR-100 CIFAR-10 "):
            assert start.id == sources[f"CIFAR-100+ {row.rsplit(' ', 1)[1]}"].id


def test_halves_share_no_class_and_are_drawn_by_a_seed(paper):
    drawn = {}
    for row, model in models(paper, "tables/shafahi/table2").items():
        if "50%" in row:
            source = parent(paper, parent(paper, model, "start"), "data")
            target = parent(paper, model, "data")
            one, other = (
                set(chosen_classes(KINDS["prepare"].parse(node.spec), range(100))) for node in (source, target)
            )
            assert len(one) == len(other) == 50
            assert (one == other) if "same" in row else not one & other
            drawn[row] = one
    assert len(drawn) == 4
    reseeded = {name: {"halves_seed": 1} for name in ("cifar100-one-half", "cifar100-other-half")}
    again = planned(scale="paper", datasets=reseeded)
    for row, model in models(again, "tables/shafahi/table2").items():
        if row in drawn:
            source = parent(again, parent(again, model, "start"), "data")
            assert set(chosen_classes(KINDS["prepare"].parse(source.spec), range(100))) != drawn[row]


def test_the_large_sources_are_brought_and_trained_for_free(paper):
    found = models(paper, "tables/shafahi/table3")
    for name in ("CIFAR-10+", "CIFAR-100+"):
        natural, robust = (found[f"ResNet-50 ImageNet {name} {k}"] for k in ("natural", "robust (eps = 5)"))
        assert parent(paper, natural, "start").kind == "bring"
        source = parent(paper, robust, "start")
        assert slug(paper, source, "data") == "imagenet"
        scratch = found[f"Robust u-ResNet-50 (eps = 5) for {name}"]
        for node in (source, scratch):
            attack = node.spec["inputs"]["attack"]
            assert (attack["algorithm"], attack["replay"]) == ("free", 4)
            assert attack["eps"] == pytest.approx(5 / 255)
            assert node.spec["inputs"]["clean_weight"] == 0
        assert scratch.kind == "pretrain"
        assert natural.parents["data"] == robust.parents["data"] == scratch.parents["data"]
        assert parent(paper, scratch, "data").spec["size"] == 224
        assert natural.spec == robust.spec
        assert natural.spec["trainable"] == "head"


@pytest.mark.parametrize(
    ("table", "source", "target"),
    [
        ("table4", "CIFAR-100+ robust", "cifar10"),
        ("table5", "CIFAR-100+ robust", "cifar100"),
        ("table7", "CIFAR-10+ robust", "cifar10"),
        ("table6", None, "cifar100-second-half"),
    ],
)
def test_what_is_not_forgotten_are_the_robust_sources_features(paper, table, source, target):
    robust = models(paper, "tables/shafahi/table1")
    for row, model in models(paper, f"tables/shafahi/{table}").items():
        weight = row.rsplit(" ", 1)[1]
        if weight == "NA":
            assert "terms" not in model.spec
            continue
        start = parent(paper, model, "start")
        assert start.id == robust[source].id if source else slug(paper, start, "data") == "cifar100-first-half"
        assert parent(paper, model, "features").parents == {"model": start.id, "data": model.parents["data"]}
        assert slug(paper, model, "data") == target
        assert model.spec["terms"] == {"similarity": {"weight": float(weight), "norm": "l1"}}
        assert model.spec["trained_statistics"] == "hold"
        assert not {"trainable", "head"} & set(model.spec), "all of the network, with a new head"
        schedule = model.spec["schedule"]
        assert schedule["head_first"] == schedule["iterations"] / 2
        assert not {"crop_padding", "flip", "rotation"} & set(schedule)


def test_what_stands_below_is_what_stands_elsewhere(paper):
    one, two = (models(paper, f"tables/shafahi/table{n}") for n in (1, 2))
    four, five, six, seven = (models(paper, f"tables/shafahi/table{n}") for n in (4, 5, 6, 7))
    for kind in ("natural", "robust"):
        assert four[f"CIFAR-100+ -> CIFAR-10+ {kind} lambda_d NA"].id == two[f"CIFAR-100 CIFAR-10 {kind}"].id
        other = two[f"CIFAR-100 (50% of classes) CIFAR-100 (other 50% of classes) {kind}"]
        assert six[f"CIFAR-100+ (1/2) -> CIFAR-100+ (other 1/2) {kind} lambda_d NA"].id == other.id
    assert five["CIFAR-100+ robust lambda_d NA"].id == one["CIFAR-100+ robust"].id
    assert seven["CIFAR-10+ robust lambda_d NA"].id == one["CIFAR-10+ robust"].id


# ---- figures -------------------------------------------------------------------------------------------------------


def test_the_last_k_units_are_begun_anew_and_trained(paper):
    found = models(paper, "figures/shafahi/fig1", "robustness")
    robust = models(paper, "tables/shafahi/table1")
    assert Counter(row for row, _ in found) == {"CIFAR-10": 18, "CIFAR-100": 18}
    for (row, k), model in found.items():
        if k == "untouched":
            assert model.id == robust[f"{row}+ robust"].id
            continue
        last = {"last": int(k), "of": "units"}
        assert model.spec["reset"] == model.spec["trainable"] == last
        assert model.spec["head"] == "keep", "the reset begins it anew"
        assert parent(paper, model, "start").id == robust[f"{row}+ robust"].id
        assert model.parents["data"] == parent(paper, model, "start").parents["data"]
        assert "inputs" not in model.spec, "natural images"
    assert paper.products["figures/shafahi/fig1"].spec["reference"]["column"] == "untouched"


def test_chosen_depths(plan):
    few = planned(shafahi={"depths": [1, 4]})
    assert {column for _, column in models(few, "figures/shafahi/fig1", "robustness")} == {"1", "4", "untouched"}
    assert len(models(plan, "figures/shafahi/fig1", "robustness")) == 2 * (8 + 1)


def test_three_ways_with_fewer_images(paper):
    found = models(paper, "figures/shafahi/fig3")
    assert Counter(column for _, column in found) == dict.fromkeys(("all", "250", "100", "50", "25"), 3)
    table = models(paper, "tables/shafahi/table3")
    assert found["Transferred", "all"].id == table["ResNet-50 ImageNet CIFAR-100+ robust (eps = 5)"].id
    assert found["Free training", "all"].id == table["Robust u-ResNet-50 (eps = 5) for CIFAR-100+"].id
    for (row, column), model in found.items():
        inputs = model.spec.get("inputs", {})
        assert inputs.get("per_class", "all") == (column if column == "all" else int(column))
        whole = dict(found[row, "all"].spec.get("inputs", {}))
        assert {k: v for k, v in inputs.items() if k != "per_class"} == whole, "all else the same"
        if row == "Fine-tuned with AT":
            attack = inputs["attack"]
            assert (attack["steps"], attack["eps"], attack["step_size"]) == pytest.approx((3, 5 / 255, 3 / 255))
            assert "trainable" not in model.spec, "all"
            assert model.parents["start"] == found["Transferred", column].parents["start"]
    for cell in cells(paper, "figures/shafahi/fig3"):
        if cell["metric"] == "accuracy_and_robustness":
            clean, adversarial = (paper.nodes[cell["nodes"][role]] for role in ("clean", "adversarial"))
            assert clean.parents["model"] == adversarial.parents["model"]
            assert "examples" in adversarial.parents and "examples" not in clean.parents


def test_d23_is_what_adversarial_fine_tuning_trains():
    for choice, part in (("paper", "head"), ("code", "head"), ("corrected", None)):
        found = models(planned(scale="paper", switches={"D23": choice}), "figures/shafahi/fig3")
        assert found["Fine-tuned with AT", "all"].spec.get("trainable") == part
        assert found["Transferred", "all"].spec["trainable"] == "head"


def test_the_numbers_of_the_text_are_of_what_the_tables_and_figures_show(paper):
    found = {cell["row"]: cell for cell in cells(paper, "tables/shafahi/text")}
    printed = {row: cell["published"] for row, cell in found.items() if cell["published"] is not None}
    assert {(row, "value"): number for row, number in printed.items()} == published_table("shafahi", "text")
    assert len(found) == len(printed) + 2 * 3, "and the other lambda_d of table 6"

    def behind(row, role="outcomes"):
        return paper.nodes[paper.nodes[found[row]["nodes"][role]].parents["model"]]

    source = behind("accuracy of the robust ResNet-50 on ImageNet (%)")
    heads = models(paper, "figures/shafahi/fig4")
    assert source.id == heads["robust", "0"].parents["start"]
    assert behind("accuracy under PGD-20 of the robust ResNet-50 on ImageNet (%)").id == source.id
    assert behind("accuracy of its new head on CIFAR-100's training images (%)").id == heads["robust", "0"].id
    tables = [models(paper, f"tables/shafahi/table{n}") for n in (2, 6)]
    one = tables[0]["CIFAR-100 (50% of classes) CIFAR-100 (same 50% of classes) robust"]
    for words, other in (
        ("new head", tables[0]["CIFAR-100 (50% of classes) CIFAR-100 (other 50% of classes) robust"]),
        ("lambda_d 0.01", next(m for row, m in tables[1].items() if row.endswith("robust lambda_d 0.01"))),
    ):
        for what in ("accuracy (%)", "accuracy under PGD-20 (%)"):
            row = f"both halves of CIFAR-100, the other one by transfer ({words}): mean {what}"
            assert [behind(row, f"outcomes_{i}").id for i in (0, 1)] == [one.id, other.id]
    times = found["seconds of adversarial fine-tuning on CIFAR-100, over those of a new head"]["nodes"]
    ways = models(paper, "figures/shafahi/fig3")
    assert times == {"longer": ways["Fine-tuned with AT", "all"].id, "shorter": ways["Transferred", "all"].id}


def test_the_robust_source_can_be_brought(paper):
    brought = {"file": "free.pt", "sha256": "0" * 64}
    plan = planned(scale="paper", shafahi={"large": {"robust": brought}})
    sources = {node.id for node in plan.nodes.values() if node.spec.get("inputs", {}).get("attack", {}).get("replay")}
    assert all(slug(plan, plan.nodes[i], "data") != "imagenet" for i in sources)
    transferred = models(plan, "figures/shafahi/fig3")["Transferred", "all"]
    assert parent(plan, transferred, "start").spec["file"] == "free.pt"
    rows = {cell["row"] for cell in cells(plan, "tables/shafahi/text")}
    assert not any("ImageNet" in row for row in rows), "it is not there to be evaluated on"


def test_heads_of_several_layers(paper):
    found = models(paper, "figures/shafahi/fig4")
    assert {row: [c for r, c in found if r == row] for row, _ in found} == {
        "natural": ["0", "1", "2", "3"],
        "robust": ["0", "1", "2", "3"],
        "robust, BN": ["1", "2", "3"],
        "robust, DO": ["1", "2", "3"],
        "robust, BN + DO": ["1", "2", "3"],
    }
    table = models(paper, "tables/shafahi/table3")
    assert found["natural", "0"].id == table["ResNet-50 ImageNet CIFAR-100+ natural"].id
    for (row, layers), model in found.items():
        head = {"hidden": [2048] * int(layers)} if layers != "0" else None
        if head:
            head |= {"batch_norm": True} if "BN" in row else {}
            head |= {"dropout": 0.25} if "DO" in row else {}
        assert model.spec.get("head") == head
        assert model.spec["trainable"] == "head"
    for metric, split, loss in (
        ("training_accuracy", "train", None),
        ("accuracy", "test", None),
        ("robustness", "test", "cross_entropy"),
        ("margin_robustness", "test", "margin"),
    ):
        assert models(paper, "figures/shafahi/fig4", metric) == found
        for cell in (c for c in cells(paper, "figures/shafahi/fig4") if c["metric"] == metric):
            outcome = paper.nodes[cell["nodes"]["outcomes"]]
            if loss:
                outcome = parent(paper, outcome, "examples")
                assert outcome.spec["attack"].get("loss", "cross_entropy") == loss
                assert outcome.spec["attack"]["steps"] == 20
            assert outcome.spec["split"] == split


def test_gradients_of_the_natural_and_the_robust_source(plan):
    heads = models(plan, "figures/shafahi/fig4")
    spec = plan.products["figures/shafahi/fig5"].spec
    wanted = {
        "natural": heads["natural", "0"],
        "robust": heads["robust", "0"],
        "robust, 1 hidden layer": heads["robust", "1"],
        "robust, 2 hidden layers": heads["robust", "2"],
    }
    assert [about["label"] for about in spec["networks"]] == list(wanted)
    for name, model in wanted.items():
        (node,) = spec["tensors"][name]["nodes"]
        assert plan.nodes[node].parents["model"] == model.id
        assert plan.nodes[node].spec == {"split": "test", "count": 8}
    assert spec["tensors"]["images"]["count"] == 8
    assert spec["tensors"]["images"]["nodes"] == [heads["natural", "0"].parents["data"]]


def test_how_far_augmentation_moves_the_robust_sources_features(paper):
    spec = paper.products["figures/shafahi/fig7"].spec
    source = models(paper, "tables/shafahi/table1")["CIFAR-100+ robust"]
    assert [panel["title"] for panel in spec["panels"]] == ["CIFAR-10", "CIFAR-100"]
    seen = set()
    for panel in spec["panels"]:
        for series in panel["series"]:
            node = paper.nodes[spec["tensors"][series["tensor"]]["nodes"][0]]
            assert node.parents["model"] == source.id
            assert node.spec["augmentation"] == {"crop_padding": 2, "flip": True}
            seen.add((slug(paper, node, "data"), node.spec["split"]))
    assert seen == {(data, split) for data in ("cifar10", "cifar100") for split in ("train", "test")}


# ---- the protocols -------------------------------------------------------------------------------------------------


def test_d7_is_the_distance_the_rate_and_batch_norm():
    row = "CIFAR-100+ -> CIFAR-10 robust lambda_d 0.01"
    lwf = {}
    for name in ("paper", "code", "corrected"):
        lwf[name] = models(planned(scale="paper", switches={"D7": name}), "tables/shafahi/table4")[row].spec
    assert lwf["code"] == lwf["corrected"]
    assert lwf["paper"]["terms"] == {"similarity": {"weight": 0.01}}, "l2"
    assert lwf["code"]["terms"] == {"similarity": {"weight": 0.01, "norm": "l1"}}
    assert (lwf["paper"]["affine"], lwf["paper"]["schedule"]["lr"]) == ("freeze", 0.01)
    assert ("affine" in lwf["code"], lwf["code"]["schedule"]["lr"]) == (False, 0.001)
    assert lwf["paper"]["trained_statistics"] == lwf["code"]["trained_statistics"] == "hold"


def test_the_frozen_parts_statistics_are_an_axis_of_their_own(plan):
    drifting = planned(shafahi={"frozen_statistics": "update"})
    changed = {plan.nodes[i].kind for i in plan.nodes.keys() - drifting.nodes.keys()}
    assert changed == {"transfer", "craft", "evaluate", "gradients"}
    for name in ("table2", "table3"):
        for model in models(drifting, f"tables/shafahi/{name}").values():
            assert model.kind == "pretrain" or model.spec["frozen_statistics"] == "drift"
    for (_, k), model in models(drifting, "figures/shafahi/fig1", "robustness").items():
        assert k == "untouched" or model.spec["frozen_statistics"] == "drift"
    assert models(drifting, "tables/shafahi/table5") == models(plan, "tables/shafahi/table5")


def test_the_seed_reaches_every_training_and_attack(plan):
    other = planned(seed=1)
    assert {plan.nodes[i].kind for i in plan.nodes.keys() & other.nodes.keys()} == {"prepare"}


# ---- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ({"source": "digits-hihg"}, "shafahi.source: unknown data set 'digits-hihg'"),
        ({"halves": {"one": "digits-halve"}}, "shafahi.halves.one: unknown data set"),
        ({"names": {"digits-lwo": "Low"}}, "shafahi.names.digits-lwo: unknown data set 'digits-lwo'"),
        ({"network": "wide-paded"}, "did you mean wide-padded?"),
        ({"depths": [1, 9]}, "shafahi.depths[1]: the last 9 units are wanted, but the network wrn14x1w8 has 8"),
        ({"depths": []}, "shafahi.depths: [] is not allowed; wanted: 1 or more entries"),
        ({"halves": {"other": "digits-first-half"}}, "shafahi.halves: two data sets that share no class are wanted"),
        ({"halves": {"one": "digits-low"}}, "shafahi.halves: two data sets that share no class are wanted"),
        ({"lwf": {"lambdas": {"source": [0.1, 0]}}}, "shafahi.lwf.lambdas.source[1]: 0 is not allowed"),
        ({"lwf": {"norm": "l3"}}, "shafahi.lwf.norm"),
        ({"augmentation": {"crop": 1}}, "shafahi.augmentation.crop: unknown key"),
        ({"attacks": {"test": {"eps": 8}}}, "shafahi.attacks.test.eps: 8 is over 1"),
        ({"large": {"source": "imagenet"}}, "shafahi.large.source: unknown data set 'imagenet'"),
        ({"large": {"targets": ["digits-lwo"]}}, "shafahi.large.targets[0]: unknown data set"),
        ({"large": {"network": "resnt"}}, "shafahi.large.network: unknown network"),
        ({"large": {"studied": "digits-high"}}, "shafahi.large.studied: unknown target 'digits-high'; write one of"),
        ({"large": {"schedules": {"natural": None}}}, "shafahi.large.weights: missing"),
        ({"large": {"weights": "IMAGENET1K_V1"}}, "shafahi.large.weights: torchvision has weights for its own"),
        ({"large": {"gradients": {"layers": [0, 3]}}}, "shafahi.large.gradients.layers: [3] are not among mlp.layers"),
        ({"large": {"mlp": {"variants": {"DO": {"dropout": 1}}}}}, "shafahi.large.mlp.variants.DO.dropout: 1 is not"),
        ({"large": {"fine_tuned": {"last": 5, "of": "stages"}}}, "shafahi.large.fine_tuned: the last 5 stages"),
        ({"large": {"per_class": []}}, "shafahi.large.per_class: [] is not allowed"),
        ({"lwf": {"schedule": {"epochs": 3, "iterations": 9}}}, "give either epochs or iterations"),
    ],
)
def test_mistakes_are_told_in_clear_words(overlay, words):
    with pytest.raises(UserError) as error:
        planned(shafahi=overlay)
    assert words in str(error.value)


def test_depths_of_a_network_whose_units_planning_does_not_know():
    deep = {"networks": {"deep": {"family": "timm", "name": "resnet10t"}}}
    with pytest.raises(UserError, match=r"shafahi\.depths: missing; the units of timm are counted when it is built"):
        planned(**deep, shafahi={"network": "deep"})
    planned(**deep, shafahi={"network": "deep", "depths": [1, 9]})


def test_halves_by_lists_of_classes():
    halves = {"one": "digits-low", "other": "digits-high-negative"}
    table = models(planned(shafahi={"halves": halves}), "tables/shafahi/table2")
    assert len(table) == 6
    with pytest.raises(UserError, match=r"shafahi\.halves: two data sets that share no class"):
        planned(shafahi={"halves": {"one": "digits-low", "other": "digits-low-turned"}})


def test_halves_of_two_draws():
    with pytest.raises(UserError, match=r"shafahi\.halves: .* in datasets\.digits-first-half and .* all else alike"):
        planned(datasets={"digits-second-half": {"halves_seed": 1}})


@pytest.mark.parametrize(
    ("section", "dataset", "key"),
    [
        ({"evaluated_on": "validation"}, "digits-second-half", "evaluated_on"),
        ({"schedules": {"source": {"select": "best_validation"}}}, "digits-low", r"schedules\.source\.select"),
        ({"large": {"schedules": {"head": {"select": "best_validation"}}}}, "digits-low", r"large\.schedules\.head"),
    ],
)
def test_a_validation_split_that_is_not_there(section, dataset, key):
    with pytest.raises(UserError, match=rf"shafahi\.{key}.*a validation split is wanted.*{dataset}\.validation"):
        planned(shafahi=section, datasets={dataset: {"validation": 0}})


def test_a_dry_run_of_the_paper_scale(workspace):
    workspace.lay(ALONE | {"scale": "paper"})
    jobs = workspace.planned()
    assert len(jobs) == len(workspace.plan().nodes) + len(workspace.plan().products)
