"""What jobs ask a cluster for: by the cost model there, by the config here."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

from pretend import ABOUT, one, pretend_node
from robust_transfer import stages
from robust_transfer.cost import resources
from robust_transfer.cost.rates import recorded
from robust_transfer.cost.resources import Resources
from robust_transfer.stages.node import KINDS
from workspace import planned

PAPER = {"scale": "paper"}


@pytest.fixture(scope="module")
def paper():
    """The paper scale of one study, of which nothing is made."""
    plan = planned("davchev", **PAPER)
    return plan, Resources(plan, Path("nowhere"))


def test_where_nothing_is_timed_a_node_gets_what_its_kind_says_or_more(paper):
    plan, found = paper
    for node in plan.nodes.values():
        assert found.minutes(node) >= min(KINDS[node.kind].minutes, 24 * 60)


def test_what_begins_anew_gets_more_each_time_and_what_continues_a_day_at_most(paper):
    plan, found = paper
    craft, pretrain = one(plan, "craft"), one(plan, "pretrain")
    assert found.minutes(craft, 3) == 3 * found.minutes(craft)
    assert found.minutes(pretrain, 3) == found.minutes(pretrain) <= 24 * 60
    longer = Resources(plan, Path("nowhere"))
    longer.machine = plan.origin["machine"] | {"longest_job": 0.5}
    assert longer.minutes(pretrain) == 30


def test_memory_is_that_of_the_node_and_more_for_each_attempt():
    plan = planned("shafahi", **PAPER)
    found, least = Resources(plan, Path("nowhere")), plan.origin["machine"]["memory_mb"]
    asked = {node.id: found.memory_mb(node) for node in plan.nodes.values()}
    crafts = [node for node in plan.nodes.values() if node.kind == "craft" and node.slug.startswith("imagenet.")]
    # 50,000 images of 3 x 224 x 224 values, of which 250 are in memory
    assert crafts and all(asked[node.id] == least for node in crafts)
    largest = max(plan.nodes.values(), key=lambda node: asked[node.id])
    held = found._needs.memory(largest).of_host(gpu=True)
    assert asked[largest.id] == pytest.approx(held * resources.MEMORY, abs=1) and asked[largest.id] > least
    assert found.memory_mb(largest, 2) == 2 * asked[largest.id]


def test_memory_is_that_of_as_many_processes_as_share_the_gpus():
    """A training's of one for each; of what divides its images one more, which puts them together; of all else one."""
    studies = ["shafahi", "vaishnavi", "renofeation"]
    of = {n: planned("shafahi", **PAPER, studies=studies, machine={"gpus": n, "memory_mb": 1}) for n in (1, 4)}
    asked = {gpus: Resources(plan, Path("nowhere")) for gpus, plan in of.items()}
    found = {}
    for node in of[1].nodes.values():
        one, four = asked[1].memory_mb(node), asked[4].memory_mb(node)
        if one > 1000:  # where rounding to whole MB is nothing
            found.setdefault(node.kind, set()).add(round(four / one, 2))
    dividing = {kind for kind in KINDS if "shared_out" in inspect.getsource(import_module(f"{stages.__name__}.{kind}"))}
    assert found.keys() > {"pretrain", "transfer", "features", "measure", *dividing}
    many = {"pretrain": {4}, "transfer": {4}} | {kind: {5} for kind in dividing}
    assert found == {kind: many.get(kind, {1}) for kind in found}


@pytest.mark.parametrize("name", ["processes", "devices"])
def test_what_several_gpus_made_counts_for_each_of_them(tmp_path, monkeypatch, name):
    plan = planned("davchev")
    node = one(plan, "pretrain")

    def seconds():
        for each in plan.ancestry([node.id]):
            pretend_node(each, plan, tmp_path)
        _, timed = recorded(tmp_path, Path("nowhere"), gpu=False, threads=1)
        return [each.seconds for each in timed if each.kind == "pretrain"]

    assert seconds() == [2.0]
    monkeypatch.setitem(ABOUT, "computed", {"precision": "float32", name: 4})
    assert seconds() == [8.0]


def test_what_is_not_known_gets_what_its_kind_says(tmp_path):
    mine = {"digits-low": {"reader": "npz", "file": "mine.npz"}}
    plan = planned("davchev", datasets=mine, data_root=str(tmp_path))
    found = Resources(plan, tmp_path)
    unknown = one(plan, "pretrain")
    assert found.minutes(unknown, 2) == KINDS["pretrain"].minutes
    assert found.memory_mb(unknown, 2) == 2 * plan.origin["machine"]["memory_mb"]


def test_work_is_what_a_node_takes_with_the_margin_alone(paper):
    plan, found = paper
    evaluate = one(plan, "evaluate")
    seconds = found._rates.seconds("evaluate", found._needs.load(evaluate))
    assert found.work(evaluate) == pytest.approx((resources.UNCALIBRATED * seconds + resources.EACH) / 60)
    assert found.work(one(plan, "pretrain")) > 60
    assert found.work(one(plan, "prepare")) is None, "what reading files takes, nobody knows"


@pytest.mark.slow
def test_a_cluster_is_asked_for_the_models_minutes_and_a_machine_needs_none(pretended, plan):
    """All that was pretended took two seconds: the margin and the start make ten minutes and a bit."""
    evaluate = one(plan, "evaluate")
    of_node = f"type('Wildcards', (), {{'node': '{evaluate.id}'}})"
    with (pretended.root / "Snakefile").open("a", encoding="utf-8") as file:
        file.write(f"\nprint('asked:', runtime({of_node}, 1), memory({of_node}, 2))\n")

    def asked(*words):
        return re.search(
            "asked: (.*)", pretended.snakemake("--dry-run", f"results/{evaluate.artifact}", *words).stdout
        )[1]

    memory = 2 * plan.origin["machine"]["memory_mb"]
    assert asked("--executor", "slurm", "--jobs", "2") == f"11 {memory}"
    assert asked() == f"{KINDS['evaluate'].minutes} {memory}"
