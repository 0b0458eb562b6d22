"""The graph of a run leaves out what is settled, and what is planned is as with all of it."""

import re
import shutil
from collections import Counter

import pytest

from pretend import one
from robust_transfer import store
from robust_transfer.stages.node import KINDS

WHOLE = ("--until", "all")
"""Options that want the whole graph, and plan no other jobs."""


def considered(workspace, *options):
    """How many jobs of each kind of node Snakemake's graph has had."""
    text = workspace.snakemake("--debug-dag", *(options or ["-n"])).stdout
    found = set(re.findall(r"^selected job (\w+)\n *wildcards: node=(\S+)", text, re.MULTILINE))
    return Counter(rule for rule, _ in found if rule in KINDS)


def test_no_job_is_made_for_a_node_with_which_all_is_well(pretended, plan):
    assert considered(pretended) == {}
    everything = Counter(node.kind for node in plan.nodes.values())
    for options in (["-n", "--forceall"], ["-n", "-R", "evaluate"], ["--touch"], ["-n", *WHOLE]):
        assert considered(pretended, *options) == everything, options


def test_a_node_that_is_asked_for_has_a_job(pretended, plan):
    node = one(plan, "craft")
    card = f"results/{node.card}"
    assert pretended.planned(card) == []
    assert pretended.planned("--force", card) == [f"craft {node.id}"]


def test_what_is_asked_for_together_waits_for_each_other(pretended, plan):
    """A node that is made anew takes its old card away first: what reads it must not run then."""
    node = one(plan, "transfer")
    parent = plan.nodes[node.parents["start"]]
    cards = [f"results/{parent.card}", f"results/{node.card}"]
    for options in (["-n", "--until", "all"], ["-n", "--force"], ["-n"]):
        text = pretended.snakemake(options[0], "--debug-dag", *cards, *options[1:]).stdout
        assert f"selected job {parent.kind}\n    wildcards: node={parent.id}" in text, options
    jobs = pretended.snakemake("-n", "--force", *cards, "--quiet", "host").stdout
    assert re.findall(r"^Job \d+: (\w+) ", jobs, re.MULTILINE) == [parent.kind, node.kind]


def card_gone(results, node):
    (results / node.card).unlink()


def folder_gone(results, node):
    shutil.rmtree(results / node.folder)


def artifact_gone(results, node):
    (results / node.artifact).unlink()


def released(results, node):
    store.release(results / node.artifact)


def other_bytes(results, node):
    """The node was made anew, and is not what was read of it."""
    card = store.glance(results / node.card)
    card["outputs"][KINDS[node.kind].artifact]["sha256"] = "1" * 64
    store.write_card(results / node.card, {key: value for key, value in card.items() if key != "seal"})


def product_gone(results, node):
    next((results / "tables").glob("*/*.csv")).unlink()


@pytest.mark.parametrize(
    ("mishap", "kind"),
    [
        (card_gone, "pretrain"),
        (folder_gone, "prepare"),
        (artifact_gone, "craft"),
        (released, "craft"),
        (other_bytes, "pretrain"),
        (product_gone, "evaluate"),
    ],
)
def test_the_same_is_planned_as_by_the_whole_graph(pretended, plan, mishap, kind):
    mishap(pretended.results, one(plan, kind))
    assert pretended.planned() == pretended.planned(*WHOLE)
    assert pretended.planned() or mishap is released


def test_after_a_change_the_graph_has_what_comes_of_it_alone(pretended, plan):
    node = one(plan, "transfer")
    behind = {i for i, each in plan.nodes.items() if node in plan.ancestry([i])}
    shutil.rmtree(pretended.results / node.folder)
    assert considered(pretended) == Counter(plan.nodes[i].kind for i in behind)
    assert pretended.planned() == [f"transfer {node.id}"]
