"""A study in YAML: the nodes it shares with the papers', its tables and figures, and its mistakes."""

import hashlib
import re

import pytest

from robust_transfer.errors import UserError
from robust_transfer.plan.effective import as_lines
from robust_transfer.plan.layers import Layer
from robust_transfer.plan.reading import read_text, read_yaml
from robust_transfer.studies import effective, make_plan
from workspace import REPOSITORY, cells, merged, planned, shipped

PAGE = (REPOSITORY / "docs" / "custom.md").read_text(encoding="utf-8")
WORKFLOW = REPOSITORY / "workflow"
SHORT = {"epochs": 2, "batch_size": 50, "lr": 0.1}
PGD = {"algorithm": "pgd", "eps": 0.25, "steps": 20, "step_size": "eps/4", "random_start": True}
FEATURE = {"algorithm": "feature", "eps": 0.25, "steps": 5, "step_size": "eps/5"}
SECTION = {
    "sources": {"Low": {"data": "digits-low", "network": "resnet", "recipe": {"schedule": SHORT}}},
    "targets": {"High": "digits-high", "Negative": "digits-high-negative"},
    "methods": {
        "Head": {"recipe": {"trainable": "head", "schedule": SHORT}},
        "Scratch": {"start": "none", "recipe": {"network": "resnet", "schedule": SHORT}},
    },
    "attacks": {"PGD-20": PGD},
}


def custom(section=SECTION, *over, **overlay):
    """The plan of a section, with others laid over it."""
    for each in over:
        section = merged(section, each)
    return planned("custom", custom=section, **overlay)


def shown(plan, row, column, product="tables/custom/table1"):
    """The metric and the nodes of a cell."""
    (cell,) = [c for c in cells(plan, product) if (c["row"], c["column"]) == (row, column)]
    return cell["metric"], cell["nodes"]


def values_of(study, **overlay):
    """A paper's plan, and its part of the config with the switches resolved."""
    plan = planned(study, **overlay)
    return plan, plan.origin["config"][study]


# ---- nodes shared with the papers ----------------------------------------------------------------------------------


def test_davchevs_robust_source_is_the_same_node():
    paper, config = values_of("davchev")
    attacks, schedules = config["attacks"], config["schedules"]
    section = {
        "sources": {
            "R_pgd": {
                "data": "digits-low",
                "network": "resnet",
                "recipe": {"inputs": {"attack": attacks["train-PGD"]}, "schedule": schedules["adversarial"]},
            }
        },
        "targets": {"High": "digits-high"},
        "methods": {
            "R_pgd->nat 12": {"recipe": {"trainable": config["depths"]["12"], "schedule": schedules["transfer"]}},
            "R_pgd->pgd 56": {
                "recipe": {"inputs": {"attack": attacks["train-PGD"]}, "schedule": schedules["transfer"]}
            },
            "R_nat": {"start": "none", "recipe": {"network": "resnet", "schedule": schedules["natural"]}},
            "substitute": {"start": "none", "recipe": {"network": "densenet", "schedule": schedules["substitute"]}},
        },
        "attacks": {"WB-PGD": attacks["WB-PGD"], "BB-FGSM": {"by": "substitute", "attack": attacks["BB-FGSM"]}},
    }
    plan = custom(section)
    for row in ("R_pgd->nat 12", "R_pgd->pgd 56", "R_nat"):
        for column in ("clean", "WB-PGD", "BB-FGSM"):
            assert shown(plan, row, column) == shown(paper, row, column, "tables/davchev/table1")


def feature_attack(config):
    """The paper's attack on neuron 0, written out."""
    own = {key: value for key, value in config["attack"].items() if key != "steps_per_eps"}
    in_pixels = config["attack"]["space"] == "pixels"
    eps = config["eps"] / 2 if in_pixels else config["eps"]  # the network's normalisation divides by 0.5
    return own | {"algorithm": "feature", "eps": eps, "step_size": "eps/10"}


def renofeation(config):
    """Most of the paper's methods, for its first network."""
    schedules, grid, lambdas = config["schedules"], config["grid"], config["lambdas"]
    penalty = {"head_penalty": config["head_penalty"]}
    random = {"initialisation": "pytorch", "terms": penalty, "schedule": schedules["re_training"]}
    distilled = {"teacher": True, "tuned_by": "DELTA-R"}
    tuned = {"tuned": ["feature_distillation"]}
    averaging = {"head": "keep", "terms": penalty, "averaging": config["averaging"]}
    averaging["schedule"] = schedules["averaging"]
    return {
        "sources": {
            "ResNet-8": {"data": "digits-low", "network": "resnet", "recipe": {"schedule": schedules["source"]}}
        },
        "targets": config["targets"],
        "methods": {
            "Fine-tuning": {"recipe": {"terms": penalty, "schedule": schedules["fine_tuning"]}, "grid": grid},
            "DELTA": {
                "teacher": True,
                "tuned_by": "Fine-tuning",
                "recipe": {"terms": penalty, "schedule": schedules["fine_tuning"], "tuned": list(grid)},
                "grid": {"feature_distillation": lambdas["delta"]},
            },
            "Re-training": {"start": "none", "recipe": random | {"network": "resnet"}},
            "DELTA-R": {
                "start": "none",
                "teacher": True,
                "recipe": random,
                "grid": {"feature_distillation": lambdas["delta_r"]},
            },
            "DELTA-R + dropout": distilled | {"start": "none", "recipe": random | tuned | {"dropout": 0.1}},
            "Renofeation": distilled | {"after": "DELTA-R + dropout", "recipe": averaging | tuned | {"dropout": 0.1}},
            "Re-training + SWA": {"after": "Re-training", "recipe": averaging},
        },
        "attacks": {"features": {"by": "source", "attack": feature_attack(config)}},
        "tables": {"table1": {"columns": ["clean", "features ASR"]}},
    }


def test_renofeations_methods_are_the_same_nodes():
    paper, config = values_of("renofeation", renofeation={"neurons": [0]})
    section = renofeation(config)
    plan = custom(section)
    places = {"tables/renofeation/table2": ["Fine-tuning", "DELTA", "Re-training"]}
    places["tables/renofeation/table3"] = ["DELTA-R", "DELTA-R + dropout", "Renofeation"]
    for product, rows in places.items():
        for row in rows:
            for target in section["targets"]:
                for column, theirs in (("clean", "clean"), ("features ASR", "ASR")):
                    ours = shown(plan, row, f"{target} {column}")
                    assert ours == shown(paper, f"{row} {theirs}", target, product)
    figure6 = [c for c in cells(paper, "figures/renofeation/fig6") if c["row"] == "Re-training + SWA"]
    assert shown(plan, "Re-training + SWA", "High clean")[1] in [cell["nodes"] for cell in figure6]
    assert {node.id for node in plan.nodes.values()} <= set(paper.nodes)


def test_the_normalisation_of_an_attack_in_that_space_is_that_of_the_attacked_source():
    paper = planned("renofeation", switches={"D1": "code"}, renofeation={"neurons": [0]})
    plan = custom(renofeation(paper.origin["config"]["renofeation"]))
    ours = shown(plan, "DELTA", "High features ASR")
    assert ours == shown(paper, "DELTA ASR", "High", "tables/renofeation/table2")


def test_cartls_forgetting_is_the_same_node():
    paper, config = values_of("cartl", switches={"D4d": "paper"})
    robust = {"inputs": {"attack": config["adversarial_training"], "clean_weight": 0}}
    lwf = {"terms": {"similarity": {"weight": config["lwf"]["weight"], "norm": config["lwf"]["norm"]}}}
    lwf |= {key: config["lwf"][key] for key in ("affine", "trained_statistics")}
    section = {
        "sources": {
            "Low": {
                "data": "digits-low",
                "network": read_yaml(WORKFLOW / "scales" / "digits.yaml")["networks"]["wide"],
                "recipe": robust | {"schedule": config["schedules"]["source"]},
            }
        },
        "targets": {"Negative": "digits-high-negative"},
        "methods": {"LwF": {"features": True, "recipe": lwf | {"schedule": config["lwf"]["schedule"]}}},
        "attacks": {"Rob.": config["attack"]},
    }
    plan = custom(section)
    row = next(c["row"] for c in cells(paper, "tables/cartl/table4") if c["row"].startswith("Low Negative"))
    assert shown(plan, "LwF", "clean")[1] == shown(paper, row, "LwF Acc.", "tables/cartl/table4")[1]
    assert shown(plan, "LwF", "Rob.")[1] == shown(paper, row, "LwF Rob.", "tables/cartl/table4")[1]


def test_the_seed_of_the_config_is_that_of_all_runs():
    seeds = {
        str(node.spec.get("schedule", {}).get("seed"))
        for node in custom(seed=3).nodes.values()
        if node.kind in ("pretrain", "transfer")
    }
    assert seeds == {"3"}


# ---- rows and columns ----------------------------------------------------------------------------------------------


def test_all_rows_and_columns_by_default():
    more = {
        "sources": {"Turned": SECTION["sources"]["Low"] | {"data": "digits-low-turned"}},
        "methods": {"One": {"sources": ["Turned"], "recipe": {"schedule": SHORT}}},
        "certification": {"sigma 0.25": {"sigma": 0.25, "n": 1000, "radii": [0.25]}},
        "attacks": {"Features": {"by": "source", "attack": FEATURE}},
    }
    plan = custom(SECTION, more)
    found = cells(plan, "tables/custom/table1")
    assert list(dict.fromkeys(c["row"] for c in found)) == ["Low Head", "Turned Head", "Turned One", "Scratch"]
    names = ["clean", "PGD-20", "Features", *(f"sigma 0.25 {what}" for what in
             ("smoothed accuracy", "certified accuracy at 0.25", "ACR"))]  # fmt: skip
    of_head = [c["column"] for c in found if c["row"] == "Low Head"]
    assert of_head == [f"{target} {name}" for target in ("High", "Negative") for name in names]
    # Of two sources none is that of a model without one.
    assert "High Features" not in [c["column"] for c in found if c["row"] == "Scratch"]
    drawn = plan.products["figures/custom/fig1"].spec
    assert drawn["panels"] == [{"title": "", "row_blocks": [["Low Head"], ["Turned Head", "Turned One"], ["Scratch"]]}]
    assert drawn["column_blocks"][0] == [f"High {name}" for name in names[:-1]]


def test_tables_and_figures_of_a_part():
    parts = {
        "tables": {"heads": {"title": "Heads", "rows": ["Head"], "columns": ["PGD-20 ASR", "clean"]}},
        "figures": {"bars": {"draw": "bars", "targets": ["High"]}, "map": {"draw": "normalised_heatmap"}},
    }
    plan = custom(SECTION, parts)
    assert set(plan.products) == {"tables/custom/heads", "figures/custom/bars", "figures/custom/map"}
    assert plan.products["tables/custom/heads"].spec["title"] == "Heads"
    found = [(c["row"], c["column"]) for c in cells(plan, "tables/custom/heads")]
    columns = ["High PGD-20 ASR", "High clean", "Negative PGD-20 ASR", "Negative clean"]
    assert found == [("Head", column) for column in columns]
    assert [c["column"] for c in cells(plan, "figures/custom/bars")] == ["clean", "PGD-20"] * 2
    assert "targets: High" not in plan.products["figures/custom/bars"].spec["measured"]


def test_a_black_box_is_made_against_one_model_and_shown_to_all():
    plan = custom(SECTION, {"attacks": {"BB": {"by": "Scratch", "attack": PGD}}})
    made = {shown(plan, row, "High BB")[1]["outcomes"] for row in ("Head", "Scratch")}
    examples = {plan.nodes[outcomes].parents["examples"] for outcomes in made}
    assert len(made) == 2 and len(examples) == 1
    assert examples == {plan.nodes[shown(plan, "Scratch", "High PGD-20")[1]["outcomes"]].parents["examples"]}


def test_a_ready_model_is_put_under_all_attacks_of_its_target(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.pt").write_bytes(b"weights")
    mine = {"models": {"Mine": {"target": "High", "network": "resnet", "file": "mine.pt"}}}
    plan = custom(SECTION, mine, data_root=str(tmp_path))
    found = [c["column"] for c in cells(plan, "tables/custom/table1") if c["row"] == "Mine"]
    assert found == ["High clean", "High PGD-20"]
    (node,) = [node for node in plan.nodes.values() if node.kind == "bring"]
    assert node.spec["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert plan.nodes[node.parents["data"]].slug == "digits-5to9"

    (tmp_path / "weights" / "mine.pt").write_bytes(b"other weights")
    again = custom(SECTION, mine, data_root=str(tmp_path))
    assert node.id not in again.nodes
    given = {"models": {"Mine": {"sha256": node.spec["sha256"]}}}
    assert node.id in custom(SECTION, mine, given, data_root=str(tmp_path / "nowhere")).nodes


def test_the_printed_config_plans_the_same():
    config = shipped() | {"studies": ["custom"], "main_study": "custom"}
    config["custom"] = renofeation(values_of("renofeation")[1])
    lines = as_lines(effective([Layer("config.yaml", config)], WORKFLOW))
    assert (
        make_plan(read_text("\n".join(lines), "printed"), WORKFLOW).to_json()["nodes"]
        == (make_plan(config, WORKFLOW).to_json()["nodes"])
    )


def test_a_layer_can_change_and_take_away():
    config = shipped() | {"studies": ["custom"], "main_study": "custom"}
    layer = {"targets": {"Negative": None}, "attacks": {"PGD-20": {"algorithm": "fgsm", "eps": 0.1}}}
    layer["methods"] = {"Head": {"recipe": {"schedule": {"iterations": 5}}}}
    plan = make_plan(config | {"custom": SECTION}, WORKFLOW, [Layer("my.yaml", {"custom": layer})])
    slugs = {node.slug for node in plan.nodes.values()}
    assert not any("negative" in slug for slug in slugs) and any("fgsm-linf-0.1" in slug for slug in slugs)


# ---- mistakes ------------------------------------------------------------------------------------------------------

RECIPE = {"schedule": SHORT}
FGSM, FDM, NEFT = {"algorithm": "fgsm", "eps": 0.1}, {"weight": 0.1, "units": 9}, {"beta": 1, "units": 1}
MISTAKES = [
    ({"targets": {"High": "digits-hihg"}}, "targets.High: unknown data set 'digits-hihg'", "did you mean digits-high?"),
    ({"sources": {"Low": {"network": "resnt"}}}, "sources.Low.network: unknown network 'resnt'", "mean resnet?"),
    ({"sources": {"Low": {"data": None}}}, "sources.Low.recipe: ", "has both data and recipe"),
    ({"sources": {"B": {"network": "resnet"}}}, "sources.B.recipe: ", "or a file"),
    ({"sources": {"B": {"network": "resnet", "weights": "X", "sha256": "0" * 64}}}, "sources.B.sha256: ", "give file"),
    ({"sources": {"B": {"network": "resnet", "weights": "X"}}}, "sources.B.weights: ", "for its own networks alone"),
    ({"sources": {"B": {"network": "resnet", "file": "b.pt"}}}, "sources.B.file: ", "b.pt is missing; put the file"),
    ({"sources": {"Low": {"recipe": {"network": "resnet"}}}}, "sources.Low.recipe.network: ", "stands beside"),
    ({"sources": {"Low": {"recipe": {"tuned": ["lr"]}}}}, "sources.Low.recipe.tuned: ", "write the values"),
    (
        {"sources": {"Low": {"recipe": {"terms": {"feature_distillation": 1}}}}},
        "sources.Low.recipe.terms.feature_distillation: ",
        "write teacher: true",
    ),
    ({"sources": {"source": SECTION["sources"]["Low"]}}, "sources.source: ", "choose another name"),
    ({"sources": {"Head": SECTION["sources"]["Low"], "Low": None}}, "methods.Head: ", "is a source already"),
    ({"methods": {"Head": {"sources": ["Lw"]}}}, "methods.Head.sources[0]: unknown source 'Lw'", "mean Low?"),
    ({"methods": {"Head": {"after": "Scrtch"}}}, "methods.Head.after: unknown method", "did you mean Scratch?"),
    ({"methods": {"Head": {"after": "Head"}}}, "methods.Head.after: ", "end the circle"),
    (
        {"methods": {"Head": {"after": "B"}, "B": {"after": "Head", "recipe": RECIPE}}},
        "methods.Head.after: Head comes after B, and B after Head",
        "end the circle",
    ),
    ({"methods": {"Scratch": {"after": "Head"}}}, "methods.Scratch.start: ", "take one of the two"),
    ({"methods": {"Scratch": {"features": True}}}, "methods.Scratch.features: ", "there is no start"),
    ({"methods": {"Scratch": {"recipe": {"network": None}}}}, "methods.Scratch.recipe.network: missing", "name the"),
    (
        {"methods": {"Scratch": {"teacher": True, "recipe": {"network": "densenet"}}}},
        "methods.Scratch.teacher: stages are compared one by one",
        "use its network",
    ),
    ({"methods": {"Scratch": {"recipe": {"normalise": "per-image"}}}}, "methods.Scratch.recipe.nor", "normalise"),
    ({"methods": {"Scratch": {"recipe": {"network": "rsnet"}}}}, "methods.Scratch.recipe.network: unknown", "resnet?"),
    ({"methods": {"Scratch": {"sources": ["Low"]}}}, "methods.Scratch.sources: ", "uses no source"),
    ({"methods": {"Head": {"recipe": {"network": "resnet"}}}}, "methods.Head.recipe.network: ", "its start's network"),
    (
        {"methods": {"Head": {"recipe": {"terms": {"similarity": {"weight": 1}}}}}},
        "methods.Head.recipe.terms.similarity: ",
        "write features: true",
    ),
    ({"methods": {"Head": {"grid": {"feature_distillation": [1]}}}}, "methods.Head.recipe.terms.feature", "teacher"),
    (
        {"methods": {"Scratch": {"recipe": {"terms": {"start_distance": 1}}}}},
        "methods.Scratch.recipe.terms.start_distance: the run has no start",
        "leave the term out",
    ),
    ({"methods": {"Head": {"grid": {"epochs": [1]}}}}, "methods.Head.grid.epochs: unknown key", "keys here are lr"),
    ({"methods": {"Head": {"grid": {"lr": [0.1, -1]}}}}, "methods.Head.grid.lr: -1 is not allowed", "greater than 0"),
    ({"methods": {"Head": {"grid": {"lr": []}}}}, "methods.Head.grid.lr: ", "1 or more entries"),
    ({"methods": {"Head": {"recipe": {"tuned": ["lr"]}}}}, "methods.Head.tuned_by: ", "give both or none"),
    (
        {"methods": {"Head": {"tuned_by": "Scratch", "recipe": {"tuned": ["lr"]}}}},
        "methods.Head.tuned_by: Scratch has no grid",
        "give it one",
    ),
    (
        {
            "methods": {
                "Head": {"tuned_by": "Scratch", "recipe": {"tuned": ["lr"]}},
                "Scratch": {"grid": {"momentum": [0]}},
            }
        },
        "methods.Head.recipe.tuned: Scratch does not choose lr",
        "it chooses momentum",
    ),
    ({"methods": {"Head": {"recipe": {"trainable": {"last": 9, "of": "blocks"}}}}}, "methods.Head.recipe.tr", "has 3"),
    ({"methods": {"Head": {"recipe": {"schedule": {"lr": 0}}}}}, "methods.Head.recipe.schedule.lr: 0", "more than 0"),
    (
        {"methods": {"Head": {"recipe": {"spectral": {"units": 9, "beta": 0.4}}}}},
        "methods.Head.recipe.spectral: the last 9 units are wanted",
        "has 4; lower units",
    ),
    (
        {"sources": {"Low": {"network": "densenet"}}, "methods": {"Head": {"recipe": {"spectral": NEFT}}}},
        "methods.Head.recipe.spectral: non-expansive fine-tuning averages in residual blocks, which cifar-densenet",
        "take it away",
    ),
    (
        {"sources": {"Low": {"recipe": {"inputs": {"attack": FGSM}, "terms": {"feature_distance": FDM}}}}},
        "sources.Low.recipe.terms.feature_distance: the last 9 units are wanted",
        "has 4; lower units",
    ),
    ({"methods": {"a|b": {"recipe": RECIPE}}}, "methods.a|b: ", "write it without $"),
    ({"methods": None}, "methods: missing", "models that are trained already"),
    ({"models": {"Mine": {"network": "resnet", "file": "m.pt"}}}, "models.Mine.target: missing", "add it"),
    ({"models": {"Mine": {"target": "Hgh", "network": "resnet", "file": "m"}}}, "models.Mine.target: unknown", "High?"),
    ({"models": {"Mine": {"target": "High", "network": "resnet"}}}, "models.Mine.weights: give either", "or a file"),
    ({"models": {"Mine": {"target": "High", "network": "resnet", "file": "m.pt"}}}, "models.Mine.file: ", "; put"),
    (
        {"models": {"Head": {"target": "High", "network": "resnet", "file": "m.pt", "sha256": "0" * 64}}},
        "models.Head: 'Head' is a row already",
        "choose another name",
    ),
    ({"attacks": {"clean": PGD}}, "attacks.clean: there would be two columns 'clean'", "choose another name"),
    ({"attacks": {"B": {"by": "Scrach", "attack": PGD}}}, "attacks.B.by: unknown source, row or", "mean Scratch?"),
    ({"attacks": {"B": {"by": "Scratch"}}}, "attacks.B.attack: missing", "add it"),
    (
        {"sources": None, "methods": {"Head": None}, "attacks": {"B": {"by": "source", "attack": FEATURE}}},
        "attacks.B.by: there are no sources",
        "name a method or a model",
    ),
    ({"attacks": {"B": {"by": "Low", "attack": PGD}}}, "attacks.B.by: the source Low is of ", "algorithm: feature"),
    ({"attacks": {"PGD-20": {"steps": 0}}}, "attacks.PGD-20.steps: 0 is not allowed", "at least 1"),
    ({"attacks": {"B": {"by": "Scratch", "attack": PGD | {"step": 1}}}}, "attacks.B.attack.step: unknown", "steps?"),
    (
        {"certification": {"s": {"sigma": 0.1, "n": 100, "radii": [0.5]}}},
        "certification.s.radii: with n: 100 nothing can be certified beyond 0.15",
        "raise n",
    ),
    ({"tables": {"t": {"rows": ["Hed"]}}}, "tables.t.rows[0]: unknown row 'Hed'", "did you mean Head?"),
    ({"tables": {"t": {"columns": ["PGD"]}}}, "tables.t.columns[0]: unknown column 'PGD'", "did you mean PGD-20?"),
    ({"tables": {"my table": {}}}, "tables.my table: ", "text of the form"),
    ({"figures": {"f": {"draw": "pie"}}}, "figures.f.draw: 'pie' is not allowed", "'heatmap'"),
    ({"figures": {"f": {"draw": "bars", "columns": ["clean", "PGD-20 ASR"]}}}, "figures.f.columns: ", "a figure each"),
]  # fmt: skip


@pytest.mark.parametrize(("over", "begins", "words"), MISTAKES, ids=[begins for _, begins, _ in MISTAKES])
def test_a_mistake_is_a_sentence_with_its_place(over, begins, words):
    config = shipped() | {"studies": ["custom"], "main_study": "custom"}
    with pytest.raises(UserError) as error:
        make_plan(config | {"custom": SECTION}, WORKFLOW, [Layer("my.yaml", {"custom": over})])
    heading, *lines = str(error.value).splitlines()
    assert heading.endswith("mistakes:")
    assert any(line.startswith(f"  - custom.{begins}") and words in line for line in lines), lines


# ---- the page ------------------------------------------------------------------------------------------------------


def test_every_block_of_the_page_plans(tmp_path):
    (tmp_path / "weights").mkdir()
    for name in ("linf.pt", "mine.pt"):
        (tmp_path / "weights" / name).write_bytes(b"weights")
    config = shipped() | {"data_root": str(tmp_path)}
    first, *others = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    whole = read_text(first, "the first block")
    for block in others:
        whole = merged(whole, read_text(block, "a block"))
        plan = make_plan(config, WORKFLOW, [Layer("my.yaml", whole)])
        assert any(cells(plan, stem) for stem in plan.products if stem.startswith("tables/custom/"))
    assert set(whole["custom"]) == {"sources", "targets", "methods", "models", "attacks", "certification", "chosen_on",
                                    "tables", "figures", "evaluated_on"}  # fmt: skip
