"""What is suspicious and may be wanted all the same: it is said in the foot of the tables and figures made from it."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import TypeAdapter

from made import MACHINE, SHOWN
from robust_transfer.figures.style import canvas
from robust_transfer.plan import build, freeze
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import AnyAttack, CifarResNet, Inputs, Npz, Recipe, Smoothing
from robust_transfer.run import nodes, products
from robust_transfer.run.command import start_logging
from robust_transfer.stages.node import KINDS
from workspace import planned

PGD = {"algorithm": "pgd", "eps": 0.1, "steps": 5, "step_size": "eps/4", "random_start": True}
ALL_STUDIES = ["davchev", "renofeation", "shafahi", "cartl", "vaishnavi"]


# ---- by the specs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        (PGD, None),
        (PGD | {"step_size": 0.15}, "pgd5-linf-0.1: steps of 0.15 are longer than eps 0.1"),
        (PGD | {"step_size": 0.15, "steps": 1}, None),
        (PGD | {"eps": 0}, "pgd5-linf-0: an eps of 0 leaves images as they are"),
        (PGD | {"eps": 0.5}, "pgd5-linf-0.5: an eps of 0.5 or more makes any image grey"),
        (PGD | {"eps": 0.5, "norm": "l2"}, None),
        ({"algorithm": "autoattack", "eps": 0}, "an eps of 0 leaves images as they are"),
        ({"algorithm": "feature", "eps": 0.1, "steps": 9, "step_size": 0.2}, "steps of 0.2 are longer than eps 0.1"),
    ],
)
def test_attacks(attack, sentence):
    found = list(TypeAdapter(AnyAttack).validate_python(attack).warnings())
    assert len(found) == bool(sentence) and (sentence or "") in "".join(found)


def test_what_a_spec_has_in_it_is_looked_at_too():
    network = {"family": "cifar-resnet", "depth_per_stage": [1], "width": 2}
    recipe = {"network": network, "schedule": {"iterations": 1, "batch_size": 2, "lr": 0.1}}
    assert list(Recipe.model_validate(recipe).warnings()) == []
    inputs = {"attack": PGD | {"eps": 0}, "noise": 1.5}
    assert sorted(Recipe.model_validate(recipe | {"inputs": inputs}).warnings()) == [
        "pgd5-linf-0: an eps of 0 leaves images as they are",
        "training noise of 1.5 is more than the whole range of pixels",
    ]
    assert list(Inputs(noise=1).warnings()) == []


def test_certification():
    # 0.001^(1/39) = 0.838 is below, and 0.001^(1/40) = 0.841 above, a normal variable's share of 0.841 under 1.
    assert list(Smoothing(sigma=0.5, n=41).warnings()) == []
    (few,) = Smoothing(sigma=0.5, n=20).warnings()
    assert few == "smoothed0.5-n20: 20 samples certify no radius over 0.2737, even if all agree"
    (loud,) = Smoothing(sigma=1.5).warnings()
    assert "noise of 1.5 is more than the whole range of pixels" in loud
    assert list(Smoothing(sigma=1.0, n=10**18).warnings()) == []


@pytest.mark.parametrize("scale", ["digits", "cifar", "paper"])
def test_nothing_that_is_shipped_is_suspicious(scale):
    plan = planned("davchev", studies=ALL_STUDIES, scale=scale)
    assert not [each for node in plan.nodes.values() for each in KINDS[node.kind].parse(node.spec).warnings()]


# ---- by what was seen ----------------------------------------------------------------------------------------------


def write(name, train, test, labels=None):
    numbers = np.arange(20) % 2
    np.savez(
        f"data/{name}.npz",
        train_images=train,
        train_labels=numbers if labels is None else labels,
        test_images=test,
        test_labels=numbers,
    )


@pytest.fixture
def transferred(tmp_path, monkeypatch):
    """Makes all of a transfer from `first` to `second`, under an attack that does nothing; the plan."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(freeze.VARIABLE, "")
    (tmp_path / "data").mkdir()

    def make():
        plan = Plan({"config": {}, "main_study": "s", "machine": MACHINE, "data_root": "data"})
        first, second = (
            build.prepare(plan, Npz(reader="npz", file=f"{name}.npz", validation=0.2)) for name in ("first", "second")
        )
        network = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=2)
        short = {"iterations": 1, "batch_size": 8, "lr": 0.1}
        source = build.pretrain(plan, first, Recipe(network=network, schedule=short))
        target = build.transfer(plan, second, Recipe(schedule=short), start=source)
        nothing = TypeAdapter(AnyAttack).validate_python(PGD | {"eps": 0})
        outcomes = build.evaluate(plan, target, second), build.attacked(plan, target, second, nothing, 0)
        cells = [
            {"row": "R", "column": f"C{place}", "metric": "accuracy", "nodes": {"outcomes": each.id}, "published": None}
            for place, each in enumerate(outcomes)
        ]
        bars = {"title": "T", "measured": "M", "draw": "bars", "metrics": [{"metric": "accuracy", "label": "A"}]}
        plan.add_product("table", "s", "table1", SHOWN | {"cells": cells})
        plan.add_product("figure", "s", "fig1", bars | {"cells": cells})
        path = freeze.freeze(plan, tmp_path / "results")
        for node in plan.ancestry(plan.nodes):
            nodes.make(node, plan, path.stem, tmp_path / "results", 1)
        for product in plan.products.values():
            products.make(product, plan, path.stem, tmp_path / "results")
        return plan, tmp_path / "results"

    return make


def draws(seed):
    return np.random.default_rng(seed).integers(0, 256, (20, 8, 8, 1), np.uint8)


def foot(results):
    lines = (results / "tables/s/table1.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("- Warning")]


def test_test_images_of_the_target_that_the_source_was_trained_on(transferred, caplog):
    seen = draws(1)
    unseen = draws(2)
    unseen[:3] = seen[[0, 2, 5]]  # labels 0, 1, 0 here and 0, 0, 1 there
    write("first", seen, draws(3))
    write("second", draws(4), unseen)
    with caplog.at_level(logging.WARNING, "robust_transfer"):
        plan, results = transferred()
    (target,) = (node for node in plan.nodes.values() if node.kind == "transfer")
    warnings = json.loads((results / target.card).read_text())["metrics"]["warnings"]
    assert warnings == [
        "3 of 20 test images of second are training or validation images of first, so what is transferred has seen "
        "them; hold them out of one of the two",
        "2 of these have another class in first; have both sets the same order of classes?",
    ]
    # It is said twice: when the second of the sets is prepared, and before the target is trained.
    assert [record.message for record in caplog.records].count(warnings[0]) == 2
    nothing = "pgd5-linf-0: an eps of 0 leaves images as they are"
    said = foot(results)
    assert [any(part in line for line in said) for part in (*warnings, nothing)] == [True] * 3 and len(said) == 3
    assert said[0] == f"- Warning: {warnings[0]} ({target.id})."


def test_sets_that_share_nothing_are_not_suspected(transferred, caplog):
    write("first", draws(1), draws(2))
    write("second", draws(3), draws(4))
    with caplog.at_level(logging.WARNING, "robust_transfer"):
        plan, results = transferred()
    (target,) = (node for node in plan.nodes.values() if node.kind == "transfer")
    assert "warnings" not in json.loads((results / target.card).read_text())["metrics"]
    assert not [record for record in caplog.records if "test images" in record.message]
    assert len(foot(results)) == 1, "of the attack that does nothing"


def test_duplicates_within_a_set_stand_in_the_foot(transferred):
    write("first", draws(1), draws(2))
    same = draws(3)
    write("second", same, np.concatenate([same[:4], draws(4)[4:]]))
    _, results = transferred()
    assert "- Warning: second: 4 of 20 test images are training or validation images too (second." in foot(results)[0]


def test_figures_have_them_too():
    figure, _ = canvas({"title": "T", "measured": "M", "warnings": ["A", "B"]}, 1, 1, 2, 2)
    assert figure.get_supxlabel() == "M\nWarning: A\nWarning: B"


def test_the_screen_has_what_is_suspicious_and_the_log_has_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging, "raiseExceptions", True)
    log = tmp_path / "logs" / "node.log"
    start_logging(SimpleNamespace(log=log, what="mine.0123456789ab"))
    logging.getLogger("robust_transfer").info("epoch 1")
    logging.getLogger("robust_transfer").warning("3 images are left out")
    assert capsys.readouterr().err == "mine.0123456789ab: 3 images are left out\n"
    assert [line[9:] for line in log.read_text().splitlines()] == ["epoch 1", "3 images are left out"]
