"""The table of what each switch does: which switches, which nodes, which cells."""

import numpy as np
import pandas as pd
import pytest

from robust_transfer.plan.protocol import PROTOCOLS, SWITCHES, chosen, parts_of, set_apart
from robust_transfer.studies import PAPERS, switch_effects
from robust_transfer.studies.protocols import switches_of
from robust_transfer.tables.metrics import metric
from workspace import REPOSITORY, planned

WORKFLOW = REPOSITORY / "workflow"


def test_davchevs_switches_are_its_own():
    assert switches_of("davchev", WORKFLOW) == ["D12", "D13", "D14", "D15", "D16"]


def test_every_switch_belongs_to_a_study():
    assert {switch for study in PAPERS for switch in switches_of(study, WORKFLOW)} == set(SWITCHES)


@pytest.mark.parametrize("study", PAPERS)
def test_a_row_for_each_switch_and_protocol(study):
    plan = planned(study, compare_protocols=True)
    spec = plan.products[f"tables/{study}/protocols"].spec
    shown: dict[str, list] = {}
    for cell in spec["cells"]:
        shown.setdefault(cell["row"], []).append(cell)
    usual = shown.pop("as configured")
    changing = {row.partition(":")[0] for row in shown}
    assert changing, "no switch does anything"
    nothing = [switch for switch in switches_of(study, WORKFLOW) if switch not in changing]
    said = spec["measured"].partition("; these change nothing here: ")[2]
    assert [switch for switch in said.split(", ") if switch] == nothing
    for row, cells in shown.items():
        switch, choice = row.split(": ")
        assert choice != "corrected" and switch in SWITCHES and choice in PROTOCOLS
        numbers, effects = cells[::2], cells[1::2]
        assert [cell["column"] for cell in numbers] == [cell["column"] for cell in usual]
        assert [cell["nodes"] for cell in numbers] != [cell["nodes"] for cell in usual]
        for before, after, effect in zip(usual, numbers, effects, strict=True):
            assert effect["column"] == f"{after['column']}, effect"
            assert effect["metric"] == f"effect on {after['metric']}"
            compared = [(f"before_{role}", node) for role, node in before["nodes"].items()]
            assert effect["nodes"] == dict(
                compared + [(f"after_{role}", node) for role, node in after["nodes"].items()]
            )
    assert all(node in plan.nodes for cell in spec["cells"] for node in cell["nodes"].values())
    assert all(parent in plan.nodes for node in plan.nodes.values() for parent in node.parents.values())


def test_a_switch_without_an_effect_has_no_row():
    spec = planned("shafahi", compare_protocols=True).products["tables/shafahi/protocols"].spec
    assert not any(cell["row"].startswith("D23") for cell in spec["cells"]), "it changes figure 3 alone"
    assert spec["measured"].endswith("; these change nothing here: D23")


def test_effects_are_compared_seed_by_seed():
    plan = planned("davchev", compare_protocols=True, seeds=[0, 1])
    cells = {(c["row"], c["column"]): c for c in plan.products["tables/davchev/protocols"].spec["cells"]}
    row, column = next(place for place in cells if place[1].endswith(", effect"))
    before, after = cells["as configured", column[:-8]], cells[row, column[:-8]]
    for seed in (0, 1):
        found = cells[row, column]["replicates"][seed]
        assert found["before_outcomes"] == before["replicates"][seed]["outcomes"]
        assert found["after_outcomes"] == after["replicates"][seed]["outcomes"]


def test_the_effect_on_an_accuracy_is_paired_over_the_same_images(tmp_path):
    before, after, other = (tmp_path / f"{name}.parquet" for name in ("before", "after", "other"))
    right = {before: [1, 1, 0, 0, 0, 1, 1, 0], after: [1, 1, 1, 1, 0, 1, 0, 0], other: [1, 1, 1, 1, 0, 1, 0, 0]}
    for path, prediction in right.items():
        index = range(1, 9) if path == other else range(8)
        pd.DataFrame({"index": index, "label": 1, "prediction": prediction}).to_parquet(path)
    found = metric("effect on accuracy")(before_outcomes=before, after_outcomes=after)
    gained = np.array([0, 0, 100, 100, 0, 0, -100, 0])
    half = 1.96 * gained.std(ddof=1) / np.sqrt(8)
    assert (found.value, found.high - found.value) == pytest.approx((12.5, half), rel=1e-4)
    unpaired = metric("effect on accuracy")(before_outcomes=before, after_outcomes=other)
    assert unpaired.value == 12.5 and unpaired.n == 16


def test_what_readme_says_of_a_switch_is_counted_in_plans():
    effects = switch_effects(WORKFLOW)
    assert set(effects) == set(SWITCHES)
    usual, variant = (
        planned("davchev", scale="paper", protocol="paper", switches={"D15": p}) for p in ("paper", "corrected")
    )
    table = "tables/davchev/table1"
    pairs = zip(usual.products[table].spec["cells"], variant.products[table].spec["cells"], strict=True)
    changed = sum(one["nodes"] != other["nodes"] for one, other in pairs)
    assert effects["D15"] == {"corrected": {"davchev": {"table1": changed, "sources": 3}}} and changed == 48
    assert set(effects["D9"]["corrected"]["vaishnavi"]) == {"table2", "table4", "improvements"}, (
        "not certified training"
    )


def test_what_made_the_tables_is_the_code_but_where_a_switch_says_otherwise():
    code, published = (planned("davchev", protocol=protocol) for protocol in ("code", "as_published"))
    labels = {
        plan: {n.spec["inputs"]["attack"].get("labels", "true") for n in plan.nodes.values()
               if n.spec.get("inputs", {}).get("attack", {}).get("algorithm") == "fgsm"}
        for plan in (code, published)
    }  # fmt: skip
    assert (labels[code], labels[published]) == ({"true"}, {"predicted"})
    assert planned("davchev", protocol="code", switches={"D13": "as_published"}).nodes.keys() == published.nodes.keys()
    assert planned("cartl", protocol="as_published").nodes.keys() == planned("cartl", protocol="code").nodes.keys()


def test_d12_is_about_the_batches_of_adversarial_training_alone():
    paper, code = (planned("davchev", scale="paper", switches={"D12": position}) for position in ("paper", "code"))
    for plan, adversarial in ((paper, 100), (code, 128)):
        trained = [n.spec for n in plan.nodes.values() if n.kind in ("pretrain", "transfer")]
        for spec in trained:
            wanted = adversarial if spec.get("inputs", {}).get("attack") else 128
            assert spec["schedule"]["batch_size"] == wanted


def test_a_compound_switch_sets_its_parts_and_a_part_stands_over_it():
    parts = ["D6a", "D6b", "D6c", "D6d", "D6e"]
    assert parts_of("D6") == parts and parts_of("D6b") == ["D6b"] and parts_of("D15") == ["D15"]
    for order in (["D6", "D6b"], ["D6b", "D6"]):
        given = {"D6": "code", "D6b": "paper"}
        found = chosen("corrected", {name: given[name] for name in order})
        assert [found[part] for part in parts] == ["code", "paper", "code", "code", "code"]
        assert found["D7a"] == "corrected"


def test_what_is_said_to_be_set_apart_is_what_is():
    assert set_apart("corrected", {"D6": "code"}) == {"D6": "code"}
    assert set_apart("corrected", {"D6": "code", "D6b": "corrected"}) == dict.fromkeys(
        ("D6a", "D6c", "D6d", "D6e"), "code"
    )
    assert set_apart("code", {"D6": "code", "D6b": "code"}) == {}
    assert set_apart("paper", {"D15": "code", "D6d": "code"}) == {"D6d": "code", "D15": "code"}


def test_each_part_changes_something_of_its_own_and_together_they_change_what_the_compound_switch_does():
    usual = planned("cartl", scale="paper", protocol="paper")
    models = {i for i, node in usual.nodes.items() if node.kind in ("pretrain", "transfer")}

    def changed(**switches):
        return models - planned("cartl", scale="paper", protocol="paper", switches=switches).nodes.keys()

    for group in ("D4", "D6", "D7"):
        of_parts = {part: changed(**{part: "code"}) for part in parts_of(group)}
        assert set().union(*of_parts.values()) == changed(**{group: "code"})
        assert {part for part, found in of_parts.items() if not found} == ({"D4d", "D6d"} & of_parts.keys())


def test_it_is_made_on_request_alone():
    plan = planned("davchev")
    assert "tables/davchev/protocols" not in plan.products
    more = planned("davchev", compare_protocols=True)
    assert set(plan.nodes) < set(more.nodes)
    strong = {n.spec["attack"].get("steps") for n in more.nodes.values() if n.kind == "craft"}
    assert {7, 20} <= strong, "D15 in both forms"
