"""Names by content: ids, the graph, the frozen plan, numbers as papers print them, and a light import."""

import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from pydantic import TypeAdapter, ValidationError

import workspace
from robust_transfer.canonical import canonical_json, digest
from robust_transfer.errors import UserError
from robust_transfer.plan import build, freeze, graph
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.specs import AnyAttack, AnyDataset, Npz, Number, Recipe, number
from robust_transfer.stages.node import KINDS
from workspace import REPOSITORY

# Nodes of the config as it is shipped, one or two of each kind. If one of these changes, so does the name of every node
# that depends on it: what all users have computed and cached of it is void. Change this list only if that is meant.
IDS = {
    "prepare": ["digits-0to4.f7ab50a2e403", "digits-5to9.b14284f3050e"],
    "pretrain": ["digits-0to4.resnet8w16.nat.d5a53b46109a", "digits-5to9.densenet16k12.nat.34b980fd8fbd"],
    "transfer": ["digits-5to9.nat-to-nat.head.8ce6058e3385", "digits-5to9.fgsm-to-fgsm.last1stages.663f6855c11d"],
    "craft": ["digits-5to9.by.digits-5to9.densenet16k12.nat.fgsm-linf-0.25.47a960388ece"],
    "evaluate": [
        "digits-5to9.resnet8w16.nat.clean.7bf76c1b526a",
        "digits-5to9.pgd-to-pgd.all.pgd20-linf-0.25.ebb4ce4b5437",
    ],
}


planned = partial(workspace.planned, "davchev")


@pytest.fixture(scope="module")
def plan():
    return planned()


@pytest.fixture(autouse=True)
def no_frozen_plan(monkeypatch):
    """freeze() exports the plan's path: not beyond a test."""
    monkeypatch.setenv(freeze.VARIABLE, "")


# ---- ids -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", IDS)
def test_ids_are_those_of_everybodys_caches(plan, kind):
    for wanted in IDS[kind]:
        assert wanted in plan.nodes, [i for i in plan.nodes if i.rsplit(".", 1)[0] == wanted.rsplit(".", 1)[0]]
        assert plan.nodes[wanted].kind == kind


def test_the_study_has_as_many_nodes_as_its_tables_need(plan):
    kinds = Counter(node.kind for node in plan.nodes.values())
    assert kinds == {"prepare": 2, "pretrain": 7, "transfer": 21, "craft": 53, "evaluate": 126}
    assert all(i == node.id for i, node in plan.nodes.items())


def test_a_slug_is_for_people_and_not_in_the_hash():
    one, other = Node("prepare", "digits", {"seed": 1}), Node("prepare", "renamed", {"seed": 1})
    assert one.id.split(".")[1] == other.id.split(".")[1]
    assert one.id != other.id


def test_a_name_stays_within_what_a_file_system_takes():
    plan = Plan({})
    names = [build.prepare(plan, Npz(reader="npz", file=f"{'a' * 240}{end}.npz")).id for end in "xy"]
    assert len(set(names)) == 2 and all(len(f"{name}.safetensors") <= 255 for name in names)


@pytest.mark.parametrize(
    "other",
    [
        Node("transfer", "x", {"a": 1, "b": 2}, {"data": "d.1"}),
        Node("pretrain", "x", {"a": 2, "b": 1}, {"data": "d.1"}),
        Node("pretrain", "x", {"a": 1, "b": 2, "c": None}, {"data": "d.1"}),
        Node("pretrain", "x", {"a": 1, "b": 2}, {"data": "d.2"}),
        Node("pretrain", "x", {"a": 1, "b": 2}, {"start": "d.1"}),
        Node("pretrain", "x", {"a": 1, "b": 2}),
    ],
)
def test_kind_spec_and_parents_are_in_the_hash(other):
    assert Node("pretrain", "x", {"a": 1, "b": 2}, {"data": "d.1"}).id != other.id


def test_the_order_of_keys_is_not_in_the_hash():
    one = Node("pretrain", "x", {"a": 1, "b": {"c": 2, "d": 3}}, {"data": "d.1", "start": "s.1"})
    other = Node("pretrain", "x", {"b": {"d": 3, "c": 2}, "a": 1}, {"start": "s.1", "data": "d.1"})
    assert one.id == other.id


def test_a_stages_version_is_in_the_hash_of_its_nodes_and_of_what_follows(plan, monkeypatch):
    monkeypatch.setitem(KINDS, "craft", replace(KINDS["craft"], version=KINDS["craft"].version + 1))
    raised = planned()
    gone = {plan.nodes[i].kind for i in plan.nodes.keys() - raised.nodes.keys()}
    assert gone == {"craft", "evaluate"}
    kept = [node for node in plan.nodes.values() if node.id in raised.nodes]
    assert len([node for node in kept if node.kind == "craft"]) == 0
    assert len([node for node in kept if node.kind == "evaluate"]) == 27  # those of clean images


@pytest.mark.parametrize(
    "overlay",
    [
        {"machine": {"threads": 3, "gpus": 1, "device": "cuda", "checkpoint_seconds": 7}},
        {"data_root": "elsewhere"},
        {"datasets": {"digits-low": {"label": "renamed"}}, "networks": {"resnet": {"label": "renamed"}}},
        {"davchev": {"attacks": {"WB-PGD": {"label": "renamed"}}}},
        {"davchev": {"attacks": {"WB-PGD": {"norm": "linf", "restarts": 1}}}},  # defaults, spelt out
        {"davchev": {"schedules": {"natural": {"lr": "1e-1", "crop_padding": 0, "epochs": 30.0}}}},
        {"davchev": {"attacks": {"WB-PGD": {"eps": "64/256", "step_size": 0.0625}}}},
        {"davchev": {"depths": {12: {"of": "stages", "last": 1}}}},  # in YAML, 12 without quotes
        {"protocol": "corrected", "switches": {"D15": "corrected"}},
    ],
)
def test_what_changes_no_result_changes_no_id(plan, overlay):
    assert planned(**overlay).nodes.keys() == plan.nodes.keys()


def test_the_seed_reaches_every_training_and_attack_but_no_data(plan):
    other = planned(seed=1)
    kept = [plan.nodes[i].kind for i in plan.nodes.keys() & other.nodes.keys()]
    assert kept == ["prepare"] * 2


def test_a_schedules_own_seed_goes_before_the_general_one(plan):
    other = planned(seed=1, davchev={"schedules": {"substitute": {"seed": 0}}})
    kept = {plan.nodes[i].slug for i in plan.nodes.keys() & other.nodes.keys()}
    assert kept == {"digits-0to4", "digits-5to9", "digits-5to9.densenet16k12.nat"}


# ---- the graph -----------------------------------------------------------------------------------------------------


def diamond():
    """a -> b, c -> d, and e alone."""
    plan = Plan({})
    a = plan.add("prepare", "a", {"n": 1})
    b = plan.add("pretrain", "b", {"n": 2}, data=a)
    c = plan.add("pretrain", "c", {"n": 3}, data=a)
    d = plan.add("transfer", "d", {"n": 4}, start=b, data=c)
    e = plan.add("prepare", "e", {"n": 5})
    return plan, {node.slug: node for node in (a, b, c, d, e)}


def test_ancestry_has_parents_first_and_each_once():
    plan, named = diamond()
    slugs = [node.slug for node in plan.ancestry([named["d"].id])]
    assert sorted(slugs) == ["a", "b", "c", "d"]
    assert slugs[0] == "a" and slugs[-1] == "d"
    assert plan.ancestry([]) == []
    both = [node.slug for node in plan.ancestry([named["d"].id, named["e"].id, named["b"].id, named["d"].id])]
    assert sorted(both) == ["a", "b", "c", "d", "e"]


def test_ancestry_of_the_whole_study_is_in_order(plan):
    seen = set()
    for node in plan.ancestry(reversed(list(plan.nodes))):
        assert set(node.parents.values()) <= seen
        seen.add(node.id)
    assert seen == plan.nodes.keys()


def test_a_node_wanted_twice_exists_once():
    plan, named = diamond()
    again = plan.add("pretrain", "b", {"n": 2}, data=named["a"])
    assert again is named["b"] and len(plan.nodes) == 5


def test_all_cells_are_nodes_of_the_plan_and_nothing_else_is_planned(plan):
    wanted = [i for product in plan.products.values() for i in product.nodes]
    assert {node.id for node in plan.ancestry(wanted)} == plan.nodes.keys()


def test_a_product_lists_its_nodes_once_and_in_order():
    cells = [{"nodes": {"x": "b"}}, {"nodes": {"x": "a", "y": "b"}}, {"nodes": {}}]
    assert graph.Product("table", "s", "t", {"cells": cells}).nodes == ["b", "a"]


# ---- the frozen plan -----------------------------------------------------------------------------------------------


def test_a_frozen_plan_thaws_to_the_same(plan, tmp_path):
    path = freeze.freeze(plan, tmp_path)
    again = freeze.thaw(path)
    assert again.to_json() == plan.to_json()
    assert again.nodes == plan.nodes
    assert {node.folder for node in again.nodes.values()} == {node.folder for node in plan.nodes.values()}
    assert list(again.products) == list(plan.products)
    assert path.name == f"{digest(plan.to_json())[:12]}.json"
    assert freeze.frozen_path() == path.resolve() and os.environ[freeze.VARIABLE] == str(path.resolve())


def test_the_same_plan_is_frozen_once_and_the_last_one_is_the_newest(plan, tmp_path):
    first = freeze.freeze(plan, tmp_path)
    second = freeze.freeze(planned(seed=1), tmp_path)
    assert first != second
    for path in (first, second):
        os.utime(path, (time.time() - 100,) * 2)
    assert freeze.freeze(plan, tmp_path) == first
    assert freeze.newest(tmp_path) == first
    assert sorted((tmp_path / "plans").iterdir()) == sorted([first, second])


def test_ids_of_a_frozen_plan_stand_whatever_the_versions_of_today_are(plan, tmp_path, monkeypatch):
    path = freeze.freeze(plan, tmp_path)
    monkeypatch.setitem(KINDS, "craft", replace(KINDS["craft"], version=99))
    assert freeze.thaw(path).nodes.keys() == plan.nodes.keys()


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def edited(path):
    path.write_text(path.read_text(encoding="utf-8").replace('"lr":0.1', '"lr":0.2', 1), encoding="utf-8")


def emptied(path):
    path.write_text("", encoding="utf-8")


def not_text(path):
    path.write_bytes(b"\xff\xfe\x00")


def another(path):
    path.write_text("[]", encoding="utf-8")


@pytest.mark.parametrize("damage", [cut, edited, emptied, not_text, another])
def test_a_damaged_plan_is_refused_in_a_sentence(plan, tmp_path, damage):
    path = freeze.freeze(plan, tmp_path)
    before = path.read_bytes()
    damage(path)
    assert path.read_bytes() != before
    with pytest.raises(UserError, match=r"frozen plan .*\.json was changed or cut short; delete it and start"):
        freeze.thaw(path)


def test_a_plan_that_is_gone_or_never_was_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"is gone; start again with `snakemake`"):
        freeze.thaw(tmp_path / "plans" / "0123456789ab.json")
    with pytest.raises(UserError, match=r"no plan in .*; run `snakemake -n` first"):
        freeze.newest(tmp_path)


# ---- canonical JSON ------------------------------------------------------------------------------------------------


def test_canonical_json_is_one_text():
    text = canonical_json({"b": [1, 2.5, None, True], "a": {"z": "ε", "y": 0.1}})
    assert text == '{"a":{"y":0.1,"z":"ε"},"b":[1,2.5,null,true]}'
    assert json.loads(text) == {"b": [1, 2.5, None, True], "a": {"z": "ε", "y": 0.1}}
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})
    # sha256 of the text {"a":1}: a digest is the same on every machine and in every version.
    assert digest({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, {"a": [math.nan]}])
def test_canonical_json_has_no_words_for_what_is_not_finite(value):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)


def test_canonical_json_refuses_objects():
    with pytest.raises(TypeError):
        canonical_json({"a": object()})


# ---- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", 8 / 255),
        (" 8 / 255 ", 8 / 255),
        ("1/32", 0.03125),
        ("1e-4", 1e-4),
        ("1e-1", 0.1),
        (".5", 0.5),
        ("0.1", 0.1),
        (0.1, 0.1),
        (3, 3.0),
        ("-2", -2.0),
    ],
)
def test_numbers_as_papers_print_them(text, value):
    assert TypeAdapter(Number).validate_python(text) == value


@pytest.mark.parametrize(
    "text", ["", "eight", "8/", "/255", "8/0", "1/2/3", "8:255", "nan", "inf", "-inf", True, None, [1]]
)
def test_what_is_no_number(text):
    with pytest.raises(ValidationError):
        TypeAdapter(Number).validate_python(text)


def test_number_leaves_other_values_to_be_judged():
    assert number([1]) == [1] and number(None) is None


def pgd(**changes):
    values = {"algorithm": "pgd", "eps": 0.25, "steps": 7, "step_size": "eps/4", "random_start": False}
    return TypeAdapter(AnyAttack).validate_python(values | changes)


def test_a_step_in_parts_of_the_budget():
    assert pgd().step_size == 0.0625
    assert pgd(eps="8/255", step_size=" eps / 2.5 ").step_size == pytest.approx(8 / 255 / 2.5, rel=1e-15)
    assert pgd(step_size="1/20").step_size == 0.05


# ---- specs ---------------------------------------------------------------------------------------------------------


def test_a_canonical_spec_has_no_defaults_and_no_labels():
    data = TypeAdapter(AnyDataset).validate_python({"reader": "sklearn-digits", "label": "digits", "validation": 0.1})
    assert data.canonical() == {"source": "sklearn-digits"}
    assert TypeAdapter(AnyDataset).validate_python(data.canonical()) == data.model_copy(update={"label": ""})
    assert pgd(label="ours").canonical() == {
        "algorithm": "pgd",
        "eps": 0.25,
        "steps": 7,
        "step_size": 0.0625,
        "random_start": False,
    }


@pytest.mark.parametrize("trainable", ["all", "head", {"last": 2, "of": "blocks"}])
def test_a_recipe_comes_back_from_its_canonical_form(trainable):
    values = {
        "network": {"family": "cifar-resnet", "depth_per_stage": [1, 1], "normalise": {"mean": 0.1}},
        "trainable": trainable,
        "inputs": {"attack": pgd().canonical(), "clean_weight": 0.25},
        "schedule": {"epochs": 3, "batch_size": 10, "lr": 0.1, "decay": "steps", "milestones": [1, 2]},
    }
    recipe = Recipe.model_validate(values)
    assert Recipe.model_validate(json.loads(canonical_json(recipe.canonical()))) == recipe
    assert recipe.canonical().get("trainable") == (None if trainable == "all" else trainable)


def test_earlier_words_are_read_and_stay_in_canonical_form():
    schedule = {"epochs": 1, "batch_size": 2, "lr": 0.1}
    recipe = Recipe(schedule=schedule, frozen_statistics="update", trained_statistics="freeze")
    assert (recipe.frozen_statistics, recipe.model_dump()["trained_statistics"]) == ("update", "freeze")
    earlier = {"frozen_statistics": "drift", "trained_statistics": "hold"}
    assert earlier.items() <= recipe.canonical().items()
    assert Recipe(schedule=schedule, **earlier) == recipe


# ---- the import ----------------------------------------------------------------------------------------------------


def test_planning_imports_nothing_heavy():
    """Every cluster job reads the Snakefile again, and with it plan and studies."""
    code = """
import pkgutil, sys
from importlib import import_module
import robust_transfer.plan, robust_transfer.studies
for package in (robust_transfer.plan, robust_transfer.studies):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        import_module(module.name)
from pathlib import Path
import yaml
robust_transfer.studies.make_plan(yaml.safe_load(Path("config.yaml").read_text()), Path("workflow"))
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROBUST_TRANSFER_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=environment | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert {"robust_transfer", "yaml", "pydantic"} <= loaded
    # numpy alone is there, a tenth of a second: it draws the halves of a data set and counts their images.
    heavy = {"torch", "torchvision", "pandas", "scipy", "sklearn", "matplotlib", "pyarrow", "PIL", "snakemake"}
    assert loaded & heavy == set()
