"""Nodes made once more: the same bits, or numbers against their intervals, and the stage from which things depart."""

import json
import shutil

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from made import TABLE, table1
from robust_transfer import store
from robust_transfer.audit.rebuild import Rebuilder
from robust_transfer.stages.node import KINDS
from workspace import run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(a folder of results with a model, evaluated clean and attacked, and their plan). Nobody changes it."""
    root = tmp_path_factory.mktemp("made") / "results"
    return root, table1(root, rows=1, columns=4)


@pytest.fixture
def results(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "results")
    return tmp_path / "results"


def node_of(plan, kind, part):
    (node,) = (node for node in plan.nodes.values() if node.kind == kind and part in node.id)
    return node


def everything_in(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def as_if_made_so(results, plan, node, change):
    """Leave a folder as a machine would have that made other bytes of a node: with all cards sealed and all of the
    chain whole. change: what it does to the model's tensors.
    """
    path = results / node.artifact
    with safe_open(path, "pt") as file:
        about = file.metadata()
    save_file({name: change(tensor) for name, tensor in load_file(path).items()}, path, about)
    for each in plan.ancestry(plan.products[TABLE].nodes):
        card = store.read_card(results / each.card)
        for entry in card["read"].values():
            parent = plan.nodes[entry["id"]]
            of_parent = store.read_card(results / parent.card)
            entry["sha256"] = of_parent["outputs"][KINDS[parent.kind].artifact]["sha256"]
            entry["seal"] = of_parent["seal"]
        if each.id == node.id:
            card["outputs"] = {path.name: store.describe(path)}
            card["versions"]["torch"] = "0.1"
        store.write_card(results / each.card, {key: value for key, value in card.items() if key != "seal"})


# ---- the same bits -------------------------------------------------------------------------------------------------


def test_everything_comes_out_again_and_nothing_is_written_into_results(made, tmp_path, monkeypatch, capsys):
    results, plan = made
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = everything_in(results)
    assert run("--results", results, "rebuild", "--sample", 100) == 0
    said = capsys.readouterr().out
    assert f"{len(plan.nodes)} rebuilt: {len(plan.nodes)} the same bits, 0 within" in said
    assert {line.partition(" ")[0] for line in said.splitlines()[1:-1]} == {"same:"}
    assert everything_in(results) == before
    assert list(tmp_path.iterdir()) == [], "the scratch folders are gone"


def test_a_sample_is_drawn_by_its_seed_and_from_the_kinds_named(made):
    builder = Rebuilder(made[0])
    assert builder.sample(3, [], 1) == builder.sample(3, [], 1)
    assert len({tuple(builder.sample(3, [], seed)) for seed in range(10)}) > 1
    assert {builder.cards[i]["kind"] for i in builder.sample(99, ["craft", "prepare"], 0)} == {"craft", "prepare"}


# ---- other bits ----------------------------------------------------------------------------------------------------


def test_a_model_with_other_last_bits_is_within_and_is_the_first_to_depart(made, results, capsys):
    node = node_of(made[1], "pretrain", "resnet8w4.nat")
    as_if_made_so(results, made[1], node, lambda t: t * (1 + 1e-6) if t.is_floating_point() else t)
    clean = node_of(made[1], "evaluate", ".clean.")
    assert run("--results", results, "rebuild", "--json", node.id, clean.id) == 0
    model, evaluation = json.loads(capsys.readouterr().out)["nodes"]
    assert (model["outcome"], evaluation["outcome"]) == ("within", "within")
    assert model["departs"] == evaluation["departs"] == node.id
    assert model["changed"] == {"torch": ["0.1", store.read_card(made[0] / node.card)["versions"]["torch"]]}
    assert "numbers differ, the most by" in model["difference"] and "rows differ confidence" in evaluation["difference"]
    assert {"clean validation", f"accuracy in {clean.id}"} <= model["numbers"].keys()
    for number in model["numbers"].values():
        assert number["low"] <= number["now"] <= number["high"]


def test_a_model_with_another_mind_is_beyond_by_its_evaluation(made, results, capsys):
    node, clean = node_of(made[1], "pretrain", "resnet8w4.nat"), node_of(made[1], "evaluate", ".clean.")
    # The stored outcomes say that it was always right.
    import pandas as pd

    outcomes = pd.read_parquet(results / clean.artifact)
    outcomes.assign(prediction=outcomes.label).to_parquet(results / clean.artifact, index=False)
    card = store.read_card(results / clean.card)
    card["outputs"] = {"outcomes.parquet": store.describe(results / clean.artifact)}
    store.write_card(results / clean.card, {key: value for key, value in card.items() if key != "seal"})
    assert run("--results", results, "rebuild", clean.id) == 1
    said = capsys.readouterr().out
    assert f"beyond: evaluate {clean.id}" in said and "100 (96.3 to 100) then" in said
    assert "first to depart: itself: all it was made from come out the same" in said
    assert "changed since: neither machine nor threads nor versions nor code" in said
    as_if_made_so(results, made[1], node, lambda t: t * 1.5 if t.is_floating_point() else t)
    assert Rebuilder(results).rebuilt(node.id).outcome == "beyond"


def test_exact_takes_other_bits_for_a_failure(made, results):
    node = node_of(made[1], "pretrain", "resnet8w4.nat")
    as_if_made_so(results, made[1], node, lambda t: t * (1 + 1e-6) if t.is_floating_point() else t)
    assert run("--results", results, "rebuild", node.id, "--alone") == 0
    assert run("--results", results, "rebuild", node.id, "--alone", "--exact") == 1


def test_examples_that_were_let_go_are_made_anew_for_what_reads_them_and_for_themselves(made, results):
    craft = node_of(made[1], "craft", "resnet8w4.nat.fgsm")
    attacked = next(node for node in made[1].nodes.values() if craft.id in node.parents.values())
    (results / craft.artifact).rename(results / craft.folder / store.RELEASED)
    assert craft.id in Rebuilder(results).sample(99, [], 0)
    for each in (craft, attacked):
        found = Rebuilder(results).rebuilt(each.id)
        assert (found.outcome, found.why) == ("same", "")
    # With another digest in its card they are other examples than those that were read.
    card = store.read_card(results / craft.card)
    card["outputs"][KINDS["craft"].artifact]["sha256"] = "0" * 64
    store.write_card(results / craft.card, {key: value for key, value in card.items() if key != "seal"})
    assert "does not come out the same" in Rebuilder(results).rebuilt(attacked.id).why
    assert Rebuilder(results).rebuilt(craft.id).difference.endswith("only its digest remains")


def test_the_vector_instructions_are_among_what_can_change_bits(made, results):
    node = node_of(made[1], "pretrain", "resnet8w4.nat")
    as_if_made_so(results, made[1], node, lambda t: t * (1 + 1e-6) if t.is_floating_point() else t)
    card = store.read_card(results / node.card)
    now = card["machine"]["instructions"]
    for noted, changed in ("SSE9", ["SSE9", now]), (None, None):
        card["machine"]["instructions"] = noted
        store.write_card(results / node.card, {key: value for key, value in card.items() if key != "seal"})
        assert Rebuilder(results).rebuilt(node.id).changed.get("instructions") == changed


# ---- what cannot be made -------------------------------------------------------------------------------------------


def test_what_cannot_be_made_once_more_says_why(made, results, capsys, monkeypatch):
    clean, craft = node_of(made[1], "evaluate", ".clean."), node_of(made[1], "craft", "resnet8w4.nat.fgsm")
    (results / craft.artifact).unlink()
    attacked = next(node for node in made[1].nodes.values() if craft.id in node.parents.values())
    assert run("--results", results, "rebuild", attacked.id) == 1
    assert f"the artifact of {craft.id} is gone" in capsys.readouterr().out
    assert craft.id not in Rebuilder(results).sample(99, [], 0)
    model = results / made[1].nodes[clean.parents["model"]].artifact
    model.write_bytes(model.read_bytes() + b" ")
    found = Rebuilder(results).rebuilt(clean.id)
    assert found.outcome == "failed" and "but was written with" in found.why
    shutil.rmtree(results / made[1].nodes[clean.parents["data"]].folder)
    assert Rebuilder(results).rebuilt(clean.id).why.endswith("is gone, from which it was made")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("nothing",), "no node is named nothing"),
        ((), "nothing to rebuild"),
        (("--sample", "3", "--kind", "model"), "model is no kind of node"),
        (("--sample", "-1"), "count something"),
    ],
)
def test_mistakes_are_said(made, words, what):
    assert what in run("--results", made[0], "rebuild", *words)
