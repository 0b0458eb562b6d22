"""Methods, attacks and targets of one's own in the papers' tables and figures."""

import re

import pytest
import yaml

from robust_transfer.errors import UserError
from robust_transfer.studies import STUDIES
from robust_transfer.studies.extra import Paper
from workspace import REPOSITORY, cells, planned

PAPERS = [name for name, study in STUDIES.items() if issubclass(study, Paper)]
SCHEDULE = {"iterations": 20, "batch_size": 10, "lr": 0.01}
PGD = {"algorithm": "pgd", "eps": 0.1, "steps": 50, "step_size": "eps/4", "random_start": True}
MINE = {"recipe": {"schedule": SCHEDULE, "trainable": {"last": 1, "of": "stages"}}}
EXTRA = {"methods": {"Mine": MINE}, "attacks": {"PGD-50": PGD}, "targets": {"Ours": "digits-high-turned"}}


def extended(study, switches=(), **overlay):
    return planned(study, switches=dict(switches), **{study: {"extra": overlay or EXTRA}})


@pytest.fixture(scope="module")
def plans():
    """Study -> its plan as it is shipped, and with one method, attack and target more."""
    return {study: (planned(study), extended(study)) for study in PAPERS}


def own(plan, product):
    """(row, column) -> the cell, of those that are not the paper's."""
    return {(cell["row"], cell["column"]): cell for cell in cells(plan, product) if cell.get("ours")}


def node(plan, cell, role="outcomes"):
    return plan.nodes[cell["nodes"][role]]


def model(plan, cell):
    """The target model that a cell is about."""
    return plan.nodes[node(plan, cell).parents["model"]]


# ---- what holds for all studies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", PAPERS)
def test_the_papers_cells_stay_as_they_are_and_come_first(plans, study):
    shipped, more = plans[study]
    assert shipped.nodes.keys() < more.nodes.keys()
    assert list(shipped.products) == list(more.products)
    for stem, product in more.products.items():
        if product.kind == "claim":  # it has the cells of several tables
            continue
        there = [cell for cell in cells(shipped, stem) if not cell.get("ours")]
        assert product.spec["cells"][: len(there)] == there, stem
        assert all(cell["ours"] is True for cell in product.spec["cells"][len(there) :])
        assert not any("ours" in cell for cell in there)
        places = [(cell["row"], cell["column"], cell["metric"]) for cell in product.spec["cells"]]
        assert len(places) == len(set(places)), stem


def test_a_target_that_has_a_name_of_another_scale_has_no_published_numbers():
    plan = extended("renofeation", targets={"Dog": "digits-high-turned"})
    found = own(plan, "tables/renofeation/table2")
    assert ("DELTA ASR", "Dog") in found
    assert all(cell["published"] is None for cell in found.values())


@pytest.mark.parametrize("study", PAPERS)
def test_nothing_changes_without_extras(plans, study):
    same = planned(study, **{study: {"extra": {"methods": {}, "attacks": {}, "targets": {}}}})
    assert {stem: product.spec for stem, product in same.products.items()} == {
        stem: product.spec for stem, product in plans[study][0].products.items()
    }


@pytest.mark.parametrize("study", PAPERS)
def test_captions_tell_what_is_not_the_papers(plans, study):
    for stem, product in plans[study][1].products.items():
        if product.kind == "claim":
            continue
        extra = own(plans[study][1], stem).values()
        if product.kind == "figure":
            assert ("* ours, not in the paper" in product.spec["measured"]) == bool(extra), stem
        attacked = any(cell["metric"].endswith(" under PGD-50") for cell in extra)
        assert ("PGD-50 is pgd50-linf-0.1" in product.spec["measured"]) == attacked, stem


# ---- where they stand ------------------------------------------------------------------------------------------------


def test_davchev(plans):
    plan = plans["davchev"][1]
    found = own(plan, "tables/davchev/table1")
    columns = ["clean", "BB-FGSM", "BB-PGD", "WB-FGSM", "WB-PGD", "PGD-50"]
    paper = list(dict.fromkeys(cell["row"] for cell in cells(planned("davchev"), "tables/davchev/table1")))
    rows = list(dict.fromkeys(row for row, _ in found))
    assert rows == [*paper, "Mine", *(f"{row} on Ours" for row in (*paper, "Mine"))]
    assert found.keys() == {(row, "PGD-50") for row in rows} | {(row, c) for row in rows[24:] for c in columns}
    mine = model(plan, found["Mine", "clean"])
    assert plan.nodes[mine.parents["start"]].slug == "digits-0to4.resnet8w16.nat"
    assert mine.spec["trainable"] == {"last": 1, "of": "stages"}
    # The black box of a further target is trained on that target.
    box = plan.nodes[node(plan, found["R_nat on Ours", "BB-PGD"]).parents["examples"]]
    assert plan.nodes[box.parents["model"]].slug == "digits-5to9-quarter-turn.densenet16k12.nat"
    figure = plan.products["figures/davchev/fig4"].spec
    assert figure["column_blocks"][-1] == ["PGD-50"]
    assert figure["panels"][0]["row_blocks"][-1] == ["Mine"]
    assert figure["panels"][1]["title"] == "on Ours" and len(figure["panels"]) == 2
    assert ("Mine", "PGD-50") in own(plan, "figures/davchev/fig4")


def test_renofeation(plans):
    plan = plans["renofeation"][1]
    found = own(plan, "tables/renofeation/table2")
    asr = found["DELTA ASR (PGD-50)", "High"]
    crafted = plan.nodes[node(plan, asr, "adversarial").parents["examples"]]
    assert crafted.parents["model"] == node(plan, asr, "adversarial").parents["model"], "a white box"
    assert crafted.spec["attack"]["steps"] == 50
    rows = {row for row, column in found if column == "High"}
    assert {"Mine clean", "Mine ASR", "Mine ASR (PGD-50)", "L2-SP ASR (PGD-50)"} <= rows
    assert {column for _, column in found} == {"High", "Negative", "Ours"}
    examples = plan.nodes[node(plan, found["Mine ASR", "High"], "neuron0").parents["examples"]]
    assert plan.nodes[examples.parents["model"]].kind == "pretrain", "the paper's attack is on the pretrained network"
    assert ("Mine feature loss", "High") in own(plan, "tables/renofeation/table3")
    parts = own(plan, "tables/renofeation/table5")
    part = plan.nodes[node(plan, parts["33% Mine clean", "High"]).parents["model"]]
    assert part.spec["inputs"]["share"] == 0.33
    networks = own(plan, "tables/renofeation/table6")
    assert {("ResNet-8 Mine clean", "Average"), ("DenseNet-16 Mine clean", "Ours")} <= networks.keys()
    average = networks["ResNet-8 DELTA ASR (PGD-50)", "Average"]
    assert average["metric"] == "mean_attack_success_rate under PGD-50"
    assert len(average["nodes"]) == 2 * 2, "the mean is of the paper's targets"
    assert ("Ours", "classes") in own(plan, "tables/renofeation/table1")
    assert ("DELTA Ours", "lr") in own(plan, "tables/renofeation/choices")
    assert ("Mine", "Ours") in own(plan, "figures/renofeation/fig5")
    assert plan.products["figures/renofeation/fig5"].spec["metrics"][2]["metric"] == "attack_success_rate under PGD-50"
    assert not own(plan, "figures/renofeation/fig1")


def test_shafahi(plans):
    plan = plans["shafahi"][1]
    third = own(plan, "tables/shafahi/table3")
    large = "ResNet-8 High"
    rows = [f"{large} Low Mine", f"{large} Low turned Mine", f"{large} Ours natural"]
    rows += [
        f"{large} Ours robust (eps = 0.15)",
        "Robust u-ResNet-8 (eps = 0.15) for Ours",
        f"{large} Ours Mine",
    ]
    assert {row for row, column in third if column == "val."} == set(rows)
    assert {column for _, column in third} == {"val.", "PGD-20", "PGD-50"}
    assert {row for row, _ in own(plan, "tables/shafahi/table4")} > {"High -> Low Mine"}
    mine = model(plan, own(plan, "tables/shafahi/table4")["High -> Low Mine", "val."])
    assert mine.id == model(plan, own(plan, "tables/shafahi/table2")["High Low Mine", "val."]).id
    assert plan.nodes[mine.parents["start"]].slug.endswith("pgd"), "the robust source, unless another is named"
    assert {column for _, column in own(plan, "tables/shafahi/table5")} == {"PGD-50"}
    assert {("Mine", "all"), ("Mine", "20"), ("Mine", "5")} <= own(plan, "figures/shafahi/fig3").keys()


def test_cartl(plans):
    plan = plans["cartl"][1]
    found = own(plan, "tables/cartl/table4")
    row, own_row = "Low Negative WRN 16-1 (k = 4)", "Low Ours WRN 16-1 (k = 4)"
    columns = {f"Mine {what}" for what in ("Acc.", "Rob.", "PGD-50")}
    assert {column for r, column in found if r == row} == columns | {
        f"{method} PGD-50" for method in ("LwF", "Vanilla", "CARTL")
    }
    whole = {
        f"{method} {what}" for method in ("LwF", "Vanilla", "CARTL", "Mine") for what in ("Acc.", "Rob.", "PGD-50")
    }
    assert {column for r, column in found if r == own_row} == whole
    assert {column.split()[-1] for _, column in own(plan, "tables/cartl/table2")} == {"PGD-50"}
    assert own(plan, "figures/cartl/fig4").keys() == {("Mine", "Mine")}
    assert {("Mine", "10%"), ("Mine", "100%")} <= own(plan, "figures/cartl/fig5").keys()


def test_vaishnavi(plans):
    plan = plans["vaishnavi"][1]
    second = own(plan, "tables/vaishnavi/table2")
    columns = {column for row, column in second if row == "High"}
    assert columns == {"Mine SA", "Mine RA", "Mine PGD-50"} | {
        f"{start} PGD-50" for start in ("Random Init.", "Sup. Pre-Training", "Self-Sup. Pre-Training")
    }
    mine = model(plan, second["High", "Mine SA"])
    assert mine.spec["inputs"] == {"per_class": 40}, "as many images as the study's methods have"
    assert plan.nodes[mine.parents["start"]].slug.endswith("pgd")
    assert ("Ours", "Mine SA") in second and ("Ours", "Random Init. SA") in second
    assert not any("Mine" in column for _, column in own(plan, "tables/vaishnavi/table3"))
    noisy = extended("vaishnavi", methods={"Noisy": {"recipe": {"schedule": SCHEDULE, "inputs": {"noise": 0.5}}}})
    found = own(noisy, "tables/vaishnavi/table3")
    assert {column for _, column in found} == {"Noisy SA", "Noisy RA", "Noisy ACR"}
    assert not own(noisy, "tables/vaishnavi/table2")
    rows = {row for row, _ in own(plan, "tables/vaishnavi/table4")}
    assert {"High Mine", "Ours ST", "Ours Mine"} <= rows
    means = own(plan, "tables/vaishnavi/improvements")
    assert {("Empirical Mine", "SA"), ("Empirical Sup. Pre-Training", "PGD-50")} <= means.keys()
    assert len(means["Empirical Mine", "SA"]["nodes"]) == 2 * 6, "the mean is over the paper's targets"
    titles = [panel["title"] for panel in plan.products["figures/vaishnavi/fig2"].spec["panels"]]
    assert titles == ["AT", "AT", "SimCLR", "SimCLR", "Mine *", "Mine *"]


# ---- ready models ----------------------------------------------------------------------------------------------------


OF_TARGET = {
    "davchev": "digits-high",
    "renofeation": "High",
    "shafahi": "digits-low",
    "cartl": "High",
    "vaishnavi": "High",
}
SHOWN = {
    "davchev": {"tables/davchev/table1", "figures/davchev/fig4"},
    "renofeation": {f"tables/renofeation/table{n}" for n in (2, 3, 4)}
    | {f"figures/renofeation/fig{n}" for n in (3, 5, 6)},
    "shafahi": {"tables/shafahi/table1", "tables/shafahi/table3"},
    "cartl": {"tables/cartl/table4", "figures/cartl/fig4"},
    "vaishnavi": {"tables/vaishnavi/table2", "tables/vaishnavi/table4"},
}


def ready(target, **more):
    return {"target": target, "network": "resnet", "file": "mine.pt", "sha256": "ab" * 32} | more


def of_ready(plan):
    """Product -> the cells that show a ready model."""
    (node,) = (node for node in plan.nodes.values() if node.kind == "bring" and "data" in node.parents)
    behind = {i: plan.ancestry([i]) for product in plan.products.values() for i in product.nodes}
    return node, {
        stem: found
        for stem, product in plan.products.items()
        if product.kind != "claim"
        and (found := [c for c in cells(plan, stem) if any(node in behind[i] for i in c["nodes"].values())])
    }


@pytest.mark.parametrize("study", PAPERS)
def test_a_ready_model_stands_in_the_papers_tables_under_all_attacks(plans, study):
    plan = extended(study, models={"Mine": ready(OF_TARGET[study])}, attacks={"PGD-50": PGD})
    shipped = plans[study][0]
    node, found = of_ready(plan)
    assert found.keys() == SHOWN[study]
    assert shipped.nodes.keys() < plan.nodes.keys()
    for stem, shown in found.items():
        assert all(cell["ours"] and cell.get("published") is None for cell in shown)
        assert all("Mine" in f"{cell['row']} {cell['column']}" for cell in shown)
        if stem.startswith("tables"):
            assert any("PGD-50" in f"{cell['row']} {cell['column']}" for cell in shown), stem
        places = [(cell["row"], cell["column"], cell["metric"]) for cell in cells(plan, stem)]
        assert len(places) == len(set(places)), stem
    assert {other.kind for other in plan.nodes.values() if node.id in other.parents.values()} <= {
        "craft",
        "evaluate",
        "measure",
    }


def test_ready_models_of_targets_of_ones_own_stand_with_these():
    models = {"Mine": ready("Ours"), "Theirs": ready("digits-high")}
    plan = extended("davchev", models=models, targets=EXTRA["targets"])
    rows = {row for row, _ in own(plan, "tables/davchev/table1")}
    assert {"Theirs", "Mine on Ours"} <= rows and not {"Mine", "Theirs on Ours"} & rows
    panels = plan.products["figures/davchev/fig4"].spec["panels"]
    assert [panel["row_blocks"][-1] for panel in panels] == [["Theirs"], ["Mine on Ours"]]
    plan = extended("shafahi", models={"Mine": ready("Ours")}, targets=EXTRA["targets"])
    assert ("Mine for Ours", "val.") in own(plan, "tables/shafahi/table3")


def test_the_pretrained_networks_examples_are_shown_to_a_ready_model_too():
    plan = extended("renofeation", models={"Mine": ready("High")}, switches={"D22": "code"})
    found = {(c["row"], c["column"]): c for c in cells(plan, "tables/renofeation/table2")}
    mine, delta = (node(plan, found[f"{name} ASR", "High"], "adversarial") for name in ("Mine", "DELTA"))
    assert mine.parents["examples"] == delta.parents["examples"]
    assert not any(row.startswith("Mine") and column != "High" for row, column in found)


# ---- methods and attacks ---------------------------------------------------------------------------------------------


def test_a_method_of_another_study_is_the_same_nodes():
    delta_r = {"schedule": {"iterations": 600, "batch_size": 50, "lr": 0.01, "weight_decay": 0.005, "decay": "cosine"}}
    delta_r |= {"initialisation": "pytorch", "terms": {"feature_distillation": 1, "head_penalty": 0.01}}
    plan = extended("davchev", methods={"DELTA-R": {"start": "none", "teacher": True, "recipe": delta_r}})
    mine = model(plan, own(plan, "tables/davchev/table1")["DELTA-R", "clean"])
    assert mine.parents.keys() == {"data", "teacher"}
    assert mine.id in planned("renofeation", switches={"D18": "paper"}).nodes  # all images train there, too


def test_an_attack_of_the_papers_is_the_same_nodes():
    same = PGD | {"eps": 0.25, "steps": 20}
    plan = extended("davchev", attacks={"White": same, "Black": same | {"by": "substitute"}})
    (row,) = [{c["column"]: c for c in cells(plan, "tables/davchev/table1") if c["row"] == "R_nat->nat 1"}]
    assert row["White"]["nodes"] == row["WB-PGD"]["nodes"]
    assert row["Black"]["nodes"] == row["BB-PGD"]["nodes"]
    assert plan.nodes.keys() == planned("davchev").nodes.keys()


def test_the_pretrained_network_as_attacker():
    attack = {"algorithm": "feature", "eps": 0.25, "steps": 40, "step_size": "eps/10", "by": "pretrained"}
    plan = extended("renofeation", attacks={"Same": attack}, switches={"D22": "code"})
    found = {(c["row"], c["column"]): c for c in cells(plan, "tables/renofeation/table2")}
    assert found["DELTA ASR (Same)", "High"]["nodes"] == found["DELTA ASR", "High"]["nodes"]


@pytest.mark.parametrize("network", ["wide", {"family": "cifar-resnet", "depth_per_stage": [1, 1], "width": 4}])
def test_a_random_start_of_a_network_by_name_or_mapping(network):
    recipe = {"schedule": SCHEDULE, "network": network}
    plan = extended("renofeation", methods={"Fresh": {"start": "none", "recipe": recipe}})
    fresh = model(
        plan,
        {"nodes": {"outcomes": own(plan, "tables/renofeation/table2")["Fresh clean", "High"]["nodes"]["outcomes"]}},
    )
    assert fresh.kind == "pretrain" and fresh.parents.keys() == {"data"}
    assert fresh.spec["network"]["family"] == ("wide-resnet" if network == "wide" else "cifar-resnet")
    # There is no distance from a network of another form.
    assert not any(row == "Fresh feature loss" for row, _ in own(plan, "tables/renofeation/table3"))
    assert not any(row == "Fresh" for row, _ in own(plan, "figures/renofeation/fig2"))


def test_a_method_with_a_start_of_its_own_stands_where_that_is_what_is_transferred():
    plan = extended("cartl", methods={"Mine": MINE | {"start": "High"}})
    assert {row.split()[0] for row, _ in own(plan, "tables/cartl/table4")} == {"High"}
    plan = extended("renofeation", methods={"Mine": MINE | {"start": "DenseNet-16"}})
    rows = [row.split() for row, _ in own(plan, "tables/renofeation/table6")]
    assert {network for network, method, *_ in rows if method == "Mine"} == {"DenseNet-16"}
    assert not any(row.startswith("Mine") for row, _ in own(plan, "tables/renofeation/table2"))


def test_a_method_that_keeps_its_starts_features():
    recipe = {"schedule": SCHEDULE, "terms": {"similarity": {"weight": 0.1}}}
    plan = extended("davchev", methods={"LwF": {"start": "pgd", "features": True, "recipe": recipe}})
    mine = model(plan, own(plan, "tables/davchev/table1")["LwF", "clean"])
    assert mine.parents.keys() == {"data", "start", "features"}


def test_a_method_with_its_own_part_of_the_images_is_in_no_sweep_over_parts():
    recipe = {"schedule": SCHEDULE, "inputs": {"per_class": 7}}
    plan = extended("shafahi", methods={"Mine": {"recipe": recipe}})
    assert not own(plan, "figures/shafahi/fig3")
    assert model(plan, own(plan, "tables/shafahi/table4")["High -> Low Mine", "val."]).spec["inputs"] == {
        "per_class": 7
    }


# ---- mistakes --------------------------------------------------------------------------------------------------------


def method(start=None, teacher=False, features=False, **recipe):
    given = {"teacher": teacher, "features": features} | ({"start": start} if start else {})
    return {"methods": {"X": given | {"recipe": {"schedule": SCHEDULE} | recipe}}}


NORMALISED = {"algorithm": "feature", "eps": 0.1, "steps": 5, "step_size": 0.1, "space": "normalised"}


@pytest.mark.parametrize(
    ("study", "extra", "words"),
    [
        ("davchev", {"methods": {"R_nat->nat 1": MINE}}, "extra.methods.R_nat->nat 1: this is a name of the paper's"),
        ("davchev", {"attacks": {"WB-PGD": PGD}}, "extra.attacks.WB-PGD: this is a name of the paper's"),
        ("renofeation", {"targets": {"High": "digits-low"}}, "extra.targets.High: this is a name of the paper's"),
        ("renofeation", {"methods": {"DELTA-R + SWA": MINE}}, "extra.methods.DELTA-R + SWA: this is a name of"),
        ("cartl", {"methods": {"LwF": MINE}}, "extra.methods.LwF: this is a name of the paper's"),
        ("shafahi", {"targets": {"Low": "digits-low"}}, "extra.targets.Low: this is a name of the paper's"),
        ("vaishnavi", {"targets": {"Few": "digits-low"}}, "extra.targets.Few: this is a name of the paper's"),
        (
            "davchev",
            {"methods": {"X": MINE}, "models": {"X": ready("digits-high")}},
            "extra.models.X: a method has this name; write another",
        ),
        ("cartl", {"models": {"LwF": ready("Negative")}}, "extra.models.LwF: this is a name of the paper's; write"),
        ("cartl", {"models": {"X": ready("Nega")}}, "extra.models.X.target: unknown target 'Nega'; write one of"),
        ("davchev", {"methods": {"A|B": MINE}}, "extra.methods.A|B: a name is printed in tables and figures; write it"),
        ("vaishnavi", {"targets": {"T": "digits-hihg"}}, "extra.targets.T: unknown data set 'digits-hihg'"),
        ("davchev", method(start="natt"), "X.start: unknown source 'natt'; write one of nat, fgsm, pgd, none (did"),
        ("cartl", method(start="nat"), "X.start: unknown source 'nat'; write one of Low, High, none"),
        ("davchev", method(start="none", network="resnt"), "X.recipe.network: unknown network 'resnt'"),
        (
            "davchev",
            method(network="resnet"),
            "X.recipe.network: the start has its own; leave it out, or set start: none",
        ),
        ("davchev", method(start="none", normalise="per-image"), "X.recipe.normalise: start: none has no network"),
        ("davchev", method(teacher=True), "X.teacher: recipe.terms.feature_distillation is its weight; set it"),
        (
            "davchev",
            method(terms={"feature_distillation": 1}),
            "X.recipe.terms.feature_distillation: the run has no teacher; write teacher: true",
        ),
        ("davchev", method(features=True), "X.features: recipe.terms.similarity keeps them; set it"),
        (
            "davchev",
            method(terms={"similarity": {"weight": 1}}),
            "X.recipe.terms.similarity: the run has no features; write features: true",
        ),
        (
            "davchev",
            method(start="none", terms={"start_distance": 1}),
            "X.recipe.terms.start_distance: the run has no start; name one",
        ),
        ("davchev", method(tuned=["lr"]), "X.recipe.tuned: there is no choice to take values from; write the values"),
        ("davchev", method(inputs={"share": 0.5, "per_class": 3}), "X.recipe.inputs.share: give either share or"),
        ("davchev", method(trainable={"last": 9, "of": "stages"}), "X.recipe.trainable: the last 9 stages are wanted"),
        ("davchev", method(spectral={"units": 9, "beta": 0.5}), "X.recipe.spectral: the last 9 units are wanted"),
        (
            "davchev",
            method(start="none", network="densenet", spectral={"units": 1, "beta": 0.5}),
            "X.recipe.spectral: non-expansive fine-tuning averages in residual blocks, which cifar-densenet has not",
        ),
        (
            "davchev",
            method(start="none", teacher=True, network="wide", terms={"feature_distillation": 1}),
            "X.recipe.network: the teacher's stages are those of another network",
        ),
        (
            "davchev",
            {"attacks": {"X": PGD | {"by": "me"}}},
            "X.by: unknown attacker 'me'; write one of model, substitute",
        ),
        (
            "cartl",
            {"attacks": {"X": PGD | {"by": "substitute"}}},
            "X.by: unknown attacker 'substitute'; write one of model",
        ),
        ("renofeation", {"attacks": {"X": PGD | {"by": "pretrained"}}}, "X.by: the pretrained network has none of the"),
        ("davchev", {"attacks": {"X": PGD | {"stepz": 1}}}, "extra.attacks.X.stepz: unknown key (did you mean steps?)"),
        ("davchev", {"attacks": {"X": {"algorithm": "free"}}}, "extra.attacks.X.algorithm: 'free' is unknown"),
        (
            "shafahi",
            {"attacks": {"X": NORMALISED}},
            "extra.attacks.X.space: the network wrn14x1w8 normalises each image",
        ),
    ],
)
def test_mistakes_are_told_in_clear_words(study, extra, words):
    with pytest.raises(UserError) as error:
        extended(study, **extra)
    (line,) = str(error.value).splitlines()[1:]
    assert line.startswith(f"  - {study}.extra.")
    assert words in line


def test_a_validation_split_that_a_method_needs():
    with pytest.raises(UserError, match=r"extra\.methods\.X\.recipe\.schedule\.select: a validation split is wanted"):
        planned(
            "davchev",
            datasets={"digits-high-turned": {"validation": 0}},
            davchev={
                "extra": method(schedule=SCHEDULE | {"select": "best_validation"})
                | {"targets": {"T": "digits-high-turned"}},
                "schedules": {
                    name: {"select": "last"} for name in ("natural", "adversarial", "substitute", "transfer")
                },
            },
        )


@pytest.mark.parametrize("study", ["davchev", "renofeation"])
def test_an_attack_that_needs_more_classes_than_there_are(study):
    two = {"reader": "sklearn-digits", "classes": [5, 6], "validation": 0.15, "test": 0.35}
    extra = {"attacks": {"AA": {"algorithm": "autoattack", "eps": 0.1}}, "targets": {"Two": "two"}}
    with pytest.raises(UserError) as error:
        planned(study, datasets={"two": two}, **{study: {"extra": extra}})
    (line,) = str(error.value).splitlines()[1:]
    expected = rf"  - {study}\.extra\.attacks\.AA: apgdt100-linf-0\.1 needs 4 classes, and there are 2; write pgd"
    assert re.match(expected, line)


# ---- the page --------------------------------------------------------------------------------------------------------


def test_every_example_of_the_page_is_planned():
    text = (REPOSITORY / "docs" / "extra.md").read_text(encoding="utf-8")
    examples = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]
    shown = [(study, values) for example in examples for study, values in example.items()]
    assert {study for study, _ in shown} == set(PAPERS)
    for study, values in shown:
        for model in values["extra"].get("models", {}).values():
            model["sha256"] = "ab" * 32  # there is no such file here
        plan = planned(study, **{study: values})
        names = {name for of_kind in values["extra"].values() for name in of_kind}
        places = " ".join(" ".join(place) for stem in plan.products for place in own(plan, stem))
        assert all(name in places for name in names), study
