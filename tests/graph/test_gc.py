"""robust-transfer gc, and what is planned after something was let go or deleted by hand."""

import shutil
from functools import partial
from os import utime

import pytest

from pretend import one, pretend, pretend_node
from robust_transfer import store
from robust_transfer.errors import UserError
from robust_transfer.plan import freeze, stopping


@pytest.fixture
def listed(as_json):
    """(exit status, what `gc --json` lists)."""
    return partial(as_json, "gc")


def there(results):
    """The ids of all nodes of which there is a folder."""
    return {path.name for path in results.glob("*/*.*") if path.is_dir()}


# ---- what nothing wants --------------------------------------------------------------------------------------------


def test_of_finished_results_nothing_goes(pretended, listed):
    assert listed() == (0, [])


def test_nodes_of_another_config_go_once_no_table_shows_them(pretended, plan, said, listed):
    pretended.set("davchev.attacks.BB-FGSM.eps", 0.3)
    other = pretended.plan()
    assert listed() == (0, [])  # the tables that are there are made from them
    name = pretend(other, pretended.results).stem
    code, found = listed()
    gone = plan.nodes.keys() - other.nodes.keys()
    assert code == 3 and {each["path"].rpartition("/")[2] for each in found} == gone and len(gone) == 25
    assert all(each["bytes"] > 1000 for each in found)
    old = store.read_card(pretended.results / one(plan, "prepare").card)["plan"]
    assert {each["plan"] for each in found} == {old} and listed("--keep", old[:6]) == (0, [])
    assert f"--keep {old}" in said("gc")[1]
    assert there(pretended.results) == plan.nodes.keys() | other.nodes.keys()
    assert said("gc", "--yes")[0] == 0
    assert there(pretended.results) == set(other.nodes)
    assert listed() == (0, []) and said("status")[0] == 0 and (pretended.results / f"plans/{name}.json").exists()


def test_what_a_table_of_its_own_name_shows_stays(pretended, plan, said):
    said("table", "davchev/table1", "--keep")
    pretended.set("davchev.attacks.BB-FGSM.eps", 0.3)
    pretend(pretended.plan(), pretended.results)
    said("gc", "--yes")
    shown = plan.products["tables/davchev/table1"].nodes
    assert {node.id for node in plan.ancestry(shown)} <= there(pretended.results)


def test_leftovers_go_and_what_somebody_makes_stays(pretended, plan, listed, said):
    model, other = [node for node in plan.nodes.values() if node.kind == "transfer"][:2]
    shutil.rmtree(pretended.results / other.folder)
    (pretended.results / "checkpoints").mkdir()
    for node in (model, other):
        (pretended.results / "checkpoints" / f"{node.id}.safetensors").write_text("state")
    with store.replacing(pretended.results / other.artifact) as temporary:
        temporary.write_text("half")
        assert [each["what"] for each in listed()[1]] == ["saved state"]
        shutil.copytree(temporary.parent, temporary.parent.with_name(f"{temporary.parent.name[:-5]}0.tmp"))
        shutil.copytree(temporary.parent, pretended.results / f"{temporary.parent.name[:-5]}0.tmp")
        assert [each["what"] for each in listed()[1]] == ["saved state", "half-written file", "half-written file"]
        assert said("gc", "--yes")[0] == 0
    assert (pretended.results / "checkpoints" / f"{other.id}.safetensors").exists()
    assert not (pretended.results / "checkpoints" / f"{model.id}.safetensors").exists()
    assert (pretended.results / other.artifact).read_text() == "half"


def test_plans_by_which_nothing_was_made_go_after_a_month(pretended, listed):
    pretended.set("seed", 5)
    frozen = freeze.freeze(pretended.plan(), pretended.results)
    pretended.set("seed", 0)
    assert listed() == (0, [])
    utime(frozen, (1e9, 1e9))
    assert [each["path"] for each in listed()[1]] == [f"results/plans/{frozen.name}"]


def test_while_a_snakemake_works_nothing_is_removed(pretended, said):
    end = stopping.take_over_locks(pretended.root / ".snakemake")
    assert "a Snakemake works in this folder" in said("gc", "--yes")[0]
    end()
    assert said("gc", "--yes")[0] == 0


# ---- adversarial examples ------------------------------------------------------------------------------------------


def test_examples_go_and_nothing_is_made_anew(pretended, plan, said, listed):
    examples = [node for node in plan.nodes.values() if node.kind == "craft"]
    code, found = listed("--examples")
    assert code == 3 and [each["what"] for each in found] == ["examples"] * len(examples)
    assert said("gc", "--examples", "--yes")[0] == 0
    assert not any((pretended.results / node.artifact).exists() for node in examples)
    assert all(
        store.damage(pretended.results / n.folder, store.read_card(pretended.results / n.card)) == [] for n in examples
    )
    assert said("status")[0] == 0 and listed("--examples") == (0, [])
    assert pretended.planned() == []
    with pytest.raises(UserError, match="was let go; `snakemake"):
        store.checked_artifact(pretended.results / examples[0].folder, "examples.safetensors")


def test_examples_that_something_needs_are_made_with_it(pretended, plan, said, listed):
    lost = one(plan, "evaluate")
    node = next(node for node in plan.nodes.values() if node.kind == "evaluate" and "examples" in node.parents)
    examples = plan.nodes[node.parents["examples"]]
    shutil.rmtree(pretended.results / node.folder)
    kept = {each["path"] for each in listed("--examples")[1]}
    assert f"results/{examples.artifact}" not in kept and len(kept) > 50
    pretend_node(node, plan, pretended.results)
    said("gc", "--examples", "--yes")
    shutil.rmtree(pretended.results / node.folder)
    wanted = sorted([f"evaluate {node.id}", f"craft {examples.id}"])
    assert pretended.planned() == wanted
    assert pretended.planned(f"results/{node.artifact}") == wanted
    assert lost.id not in " ".join(wanted)


# ---- deleted by hand -----------------------------------------------------------------------------------------------


def test_a_deleted_folder_is_made_anew_and_nothing_after_it(pretended, plan):
    model = next(node for node in plan.nodes.values() if node.kind == "transfer")
    shutil.rmtree(pretended.results / model.folder)
    assert pretended.planned() == [f"transfer {model.id}"]
    source = one(plan, "pretrain")
    shutil.rmtree(pretended.results / source.folder)
    assert pretended.planned() == sorted([f"transfer {model.id}", f"pretrain {source.id}"])
    assert pretended.planned("results/tables/davchev/table1.csv") == []
    pretend_node(source, plan, pretended.results)
    pretend_node(model, plan, pretended.results, content="other bits")
    jobs = pretended.planned()
    assert {job.partition(" ")[0] for job in jobs} == {"craft", "evaluate", "tabulate", "draw", "judge"}
    assert len(jobs) < 40


def test_what_is_to_be_made_has_all_that_it_reads_made_before(pretended, plan):
    """Also where parents have lost their artifacts alone, and only one table is asked for."""
    node = next(node for node in plan.nodes.values() if node.kind == "evaluate" and "examples" in node.parents)
    examples = plan.nodes[node.parents["examples"]]
    model = plan.nodes[examples.parents["model"]]
    shutil.rmtree(pretended.results / node.folder)
    (pretended.results / examples.artifact).unlink()
    (pretended.results / model.artifact).unlink()
    wanted = [f"evaluate {node.id}", f"craft {examples.id}", f"{model.kind} {model.id}"]
    assert pretended.planned(f"results/{node.artifact}") == sorted(wanted)
