"""The scale mnist: sources that studies share, and tests that are large and not all of the same images."""

from collections import defaultdict
from pathlib import Path

import pytest

from robust_transfer.stages.node import KINDS
from robust_transfer.studies import PAPERS
from workspace import planned

NOWHERE = Path("/nonexistent")


@pytest.fixture(scope="module")
def plans():
    return {study: planned(study, scale="mnist") for study in PAPERS}


def test_sources_are_shared(plans):
    users = defaultdict(set)
    for study, plan in plans.items():
        for node in plan.nodes.values():
            if node.kind == "pretrain":
                users[node.id].add(study)
    shared = sorted(map(sorted, (studies for studies in users.values() if len(studies) > 1)))
    assert shared == [["davchev", "renofeation", "shafahi", "vaishnavi"]]


def test_every_measured_split_has_a_thousand_images(plans):
    for study, plan in plans.items():
        measured = {node.parents["data"] for node in plan.nodes.values() if node.kind == "evaluate"}
        sizes = {KINDS["prepare"].parse(plan.nodes[i].spec).peek(NOWHERE).count("test") for i in measured}
        assert min(sizes) >= 1000, study


@pytest.mark.parametrize("study", ["renofeation", "shafahi", "cartl", "vaishnavi"])
def test_tasks_of_a_study_have_test_images_of_several_sets(plans, study):
    nodes = plans[study].nodes
    measured = {node.parents["data"] for node in nodes.values() if node.kind == "evaluate"}
    assert {nodes[i].slug.partition("-")[0] for i in measured} == {"mnist", "digits"}
