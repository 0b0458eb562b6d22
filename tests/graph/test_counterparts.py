"""Which cells have the papers' numbers: those that reproduce them, whatever they are called."""

import pytest

from robust_transfer.plan.published import published_rows, published_table
from robust_transfer.studies import PAPERS
from workspace import planned


def shown(plan, stem):
    """The spec of a table, and its published numbers by their places, without those that have none."""
    spec = plan.products[f"tables/{stem}"].spec
    cells = spec["cells"]
    return spec, {(c["row"], c["column"]): c["published"] for c in cells if c["published"] is not None}


@pytest.mark.parametrize("study", PAPERS)
@pytest.mark.parametrize("protocol", ["paper", "code", "corrected"])
def test_the_papers_scale_reproduces_all_that_is_printed(study, protocol):
    plan = planned(study, scale="paper", protocol=protocol)
    for stem, product in plan.products.items():
        if product.kind == "table" and product.spec["published"]:
            spec, found = shown(plan, stem.removeprefix("tables/"))
            assert found == published_table(study, product.name), stem
            assert "whole" not in spec


@pytest.mark.parametrize("study", PAPERS)
def test_embedded_data_reproduce_nothing_and_the_papers_table_stands_beside(study):
    plan = planned(study)
    for stem, product in plan.products.items():
        if product.kind == "table" and product.spec["published"]:
            spec, found = shown(plan, stem.removeprefix("tables/"))
            assert found == {}, stem
            assert spec["whole"] == published_rows(study, product.name)


CASES = {"Case-4", "Case-6", "Case-8"}


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"cartl": {"cases": {"Case-4": 3}}}, {"Case-4"}),  # another k under the paper's name
        ({"networks": {"wrn34x10": {"widen": 2}}}, CASES),
        ({"datasets": {"cifar100": {"limit": 100}}}, CASES),
        ({"cartl": {"evaluated_on": "validation"}}, CASES),
        ({"cartl": {"main": {"source": "CIFAR-10", "target": "CIFAR-10"}}}, CASES),
        ({"cartl": {"schedules": {"fine_tuning": {"lr": 0.2}}}, "seed": 3}, set()),
        ({"datasets": {"cifar10": {"validation": 0.2}}}, set()),
    ],
)
def test_a_number_is_shown_beside_the_same_data_network_and_depth_alone(change, lost):
    _, found = shown(planned("cartl", scale="paper", **change), "cartl/table2")
    assert {row.partition(" ")[0] for row, _ in found} == CASES - lost


def test_a_scale_between_has_some_numbers_and_the_whole_table():
    spec, found = shown(planned("cartl", scale="cifar"), "cartl/table1")
    assert 0 < len(found) < len(published_table("cartl", "table1")) and "whole" in spec
