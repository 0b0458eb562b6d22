"""Several seeds: the plans of single ones, merged cell by cell."""

import pytest

from robust_transfer.errors import UserError
from robust_transfer.plan.graph import nodes_of
from robust_transfer.plan.layers import Layer
from robust_transfer.studies import PAPERS, effective, make_plan
from workspace import DAVCHEV, REPOSITORY, cells, merged, planned, shipped

WORKFLOW = REPOSITORY / "workflow"
SHIPPED = shipped()


@pytest.mark.parametrize("study", PAPERS)
def test_the_plans_of_single_seeds_are_merged_cell_by_cell(study):
    both, *single = (planned(study, seeds=seeds) for seeds in ([0, 5], [0], [5]))
    assert both.nodes.keys() == single[0].nodes.keys() | {
        node.id
        for plan in single
        for p in plan.products.values()
        if "tensors" not in p.spec
        for node in plan.ancestry(p.nodes)
    }
    for stem, product in both.products.items():
        if product.kind == "claim":
            continue
        if "tensors" in product.spec:
            assert product.spec["cells"] == cells(single[0], stem)
            assert product.spec["measured"].endswith("; seed 0 alone")
            continue
        assert product.spec["measured"].endswith("; mean over the seeds 0, 5")
        for cell, *alone in zip(product.spec["cells"], *(cells(plan, stem) for plan in single), strict=True):
            nodes = [each["nodes"] for each in alone]
            changed = nodes[0] != nodes[1]
            assert cell == alone[0] | ({"replicates": nodes} if changed else {})
            assert set(nodes_of(cell)) <= set(product.nodes)


def test_one_seed_in_a_list_is_that_seed():
    assert planned("davchev", seeds=[3]).to_json()["products"] == planned("davchev", seed=3).to_json()["products"]
    assert planned("davchev", seeds=[0]).to_json()["products"] == planned("davchev").to_json()["products"]


def test_a_seed_more_adds_nodes_of_its_own_alone():
    before, after, seed = planned("davchev"), planned("davchev", seeds=[0, 1]), planned("davchev", seed=1)
    assert before.nodes.keys() < after.nodes.keys()
    assert after.nodes.keys() - before.nodes.keys() == seed.nodes.keys() - before.nodes.keys()


def test_all_seeds_see_the_same_data():
    plan = planned("renofeation", seeds=[0, 1, 2])
    assert sum(node.kind == "prepare" for node in plan.nodes.values()) == 3
    assert all("replicates" not in cell for cell in cells(plan, "tables/renofeation/table1"))


def test_the_table_of_switches_has_all_seeds():
    plan = planned("davchev", seeds=[0, 1], compare_protocols=True)
    assert all(len(cell["replicates"]) == 2 for cell in cells(plan, "tables/davchev/protocols"))
    assert {i for cell in cells(plan, "tables/davchev/protocols") for i in nodes_of(cell)} <= plan.nodes.keys()
    assert plan.products["tables/davchev/protocols"].spec["measured"].endswith("; mean over the seeds 0, 1")


# ---- the config ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "seeds"),
    [
        ([{"seeds": [1, 2]}], [1, 2]),
        ([{"seed": 4, "seeds": [1, 2]}], [1, 2]),
        ([{"seeds": [1, 2]}, {"seed": 4}], [4]),
        ([{"seed": 4}, {"seeds": [1, 2]}], [1, 2]),
        ([{"seeds": [1, 2]}, {"seeds": None}], [0]),
    ],
)
def test_seeds_go_before_seed_and_the_upper_layer_before_the_lower(layers, seeds):
    plan = make_plan(SHIPPED | DAVCHEV, WORKFLOW, [Layer(str(i), layer) for i, layer in enumerate(layers)])
    crafted = [node.spec["seed"] for node in plan.nodes.values() if node.kind == "craft"]
    assert sorted(set(crafted)) == sorted(seeds)


def test_what_is_no_list_of_seeds():
    for seeds, words in (([0, 0], "twice"), ([-1], "at least 0"), (3, "list"), ([True], "whole number")):
        with pytest.raises(UserError, match=words):
            planned("davchev", seeds=seeds)


def test_a_mistake_is_told_once():
    with pytest.raises(UserError) as found:
        planned("davchev", seeds=[0, 1, 2], davchev={"target": "digits"})
    assert len(str(found.value).splitlines()) == 2


def test_the_printed_config_of_several_seeds_plans_the_same():
    config = merged(SHIPPED, DAVCHEV | {"seeds": [0, 1]})
    found = {value.path: value for value in effective([Layer("config.yaml", config)], WORKFLOW)}
    assert (found["seeds"].value, found["seeds"].layer) == ([0, 1], "config.yaml")
    assert "davchev.schedules.transfer.seed" not in found, "it is none of the config's"
