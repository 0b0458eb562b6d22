"""What all studies share: captions, published numbers, and names in their sections that refer to something else."""

from typing import Annotated

import numpy as np
import pytest
from pydantic import Field

from robust_transfer.data.splits import split
from robust_transfer.errors import UserError
from robust_transfer.plan.protocol import PROTOCOLS
from robust_transfer.plan.specs import CifarResNet, Digits, Last, Recipe, Schedule, Spec
from robust_transfer.stages.node import KINDS
from robust_transfer.studies import PAPERS, base
from robust_transfer.studies.checks import (
    DatasetName,
    Refers,
    TargetName,
    too_deep,
    unknown_names,
    validation_key,
    values_of,
)
from workspace import planned

# ---- captions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", PAPERS)
def test_every_caption_names_scale_split_and_protocol_with_the_switches_set_apart(study):
    switch = {"cartl": "D4", "davchev": "D15", "renofeation": "D1", "shafahi": "D7", "vaishnavi": "D11"}[study]
    plan = planned(study, switches={switch: "code"}, **{study: {"evaluated_on": "validation"}})
    for stem, product in plan.products.items():
        if not stem.endswith("_published") and product.study:
            measured = product.spec["measured"]
            assert measured.startswith("Measured at scale digits")
            assert measured.endswith(f", validation split, protocol corrected but for {switch}: code")


@pytest.mark.parametrize("study", PAPERS)
def test_every_caption_names_the_seed_and_the_values_that_config_yaml_changes(study):
    plan = planned(
        study,
        seed=3,
        machine={"threads": 2},
        datasets={"digits-low": {"limit": 300, "label": None}, "unused": {"source": "sklearn-digits"}},
        networks={"resnet": {"width": 4}},
        **{study: {"extra": {}, "evaluated_on": "validation"}},
    )
    # Every study has that source, and all but cartl that network.
    changed = ["datasets.digits-low.label", "datasets.digits-low.limit", "networks.resnet.width"]
    said = f", protocol corrected, seed 3, changed in the config: {', '.join(changed[: 2 if study == 'cartl' else 3])}"
    for stem, product in plan.products.items():
        assert stem.endswith("_published") or not product.study or product.spec["measured"].endswith(said)


def test_a_caption_names_keys_of_its_own_study_alone():
    config = {"davchev": {"attacks": {"WB-PGD": {"eps": 0.3, "steps": 7}}}, "cartl": {"attack": {"eps": 0.2}}}
    measured = planned("davchev", **config).products["tables/davchev/table1"].spec["measured"]
    assert measured.endswith("protocol corrected, changed in the config: attacks.WB-PGD.eps, attacks.WB-PGD.steps")
    assert "changed" not in planned("davchev").products["tables/davchev/table1"].spec["measured"]


def test_what_an_own_scale_says_is_not_a_change_of_it(tmp_path):
    own = tmp_path / "quick.yaml"
    own.write_text("extends: digits\ndavchev: {attacks: {WB-PGD: {eps: 0.3}}}\n", encoding="utf-8")
    measured = planned("davchev", scale=str(own)).products["tables/davchev/table1"].spec["measured"]
    assert measured.startswith("Measured at scale quick") and "changed" not in measured


@pytest.mark.parametrize("study", PAPERS)
def test_cells_of_tables_alone_have_what_the_paper_prints(study):
    for product in planned(study, scale="paper").products.values():
        printed = [cell.get("published") for cell in product.spec["cells"]]
        if product.kind == "table" and product.spec["published"]:
            assert all("published" in cell for cell in product.spec["cells"])
            assert any(value is not None for value in printed)
        elif product.kind == "table":
            assert not any(printed)


# ---- what is held out ----------------------------------------------------------------------------------------------


def reads_validation(node):
    """Whether a node looks at the validation split of its data."""
    schedule = node.spec.get("schedule")
    by_schedule = schedule and validation_key(Schedule.model_validate(schedule))
    return bool(by_schedule) or node.spec.get("split") == "validation"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("study", PAPERS)
def test_a_split_that_nothing_reads_is_not_held_out(study, protocol):
    plan = planned(study, scale="paper", protocol=protocol)
    readers = {
        node.id: {n.id for n in plan.nodes.values() if n.parents.get("data") == node.id and reads_validation(n)}
        for node in plan.nodes.values()
        if node.kind == "prepare"
    }
    shares = {i: KINDS["prepare"].parse(plan.nodes[i].spec).validation for i in readers}
    assert {i for i, share in shares.items() if share} == {i for i, found in readers.items() if found}


def test_a_run_that_reads_no_validation_images_trains_on_them_beside_one_that_does():
    plan = planned("vaishnavi")  # D9 corrected: the end of adversarial training is chosen, and that of smoothing is not
    shares = {"plateau": set(), "steps": set()}
    for node in plan.nodes.values():
        if node.kind in ("pretrain", "transfer") and node.slug.startswith("digits-5to9-negative"):
            data = KINDS["prepare"].parse(plan.nodes[node.parents["data"]].spec)
            shares[node.spec["schedule"]["decay"]].add(data.validation)
    assert shares == {"plateau": {0.15}, "steps": {0.0}}


def test_the_test_split_is_the_same_whatever_is_held_out(tmp_path):
    held = Digits(reader="sklearn-digits", classes=[5, 6, 7], validation=0.15, test=0.35)
    numbers = np.arange(len(labels := held.read(tmp_path).splits["train"][1]))
    with_it, without = (split(each, {"train": (numbers, labels)}) for each in (held, held.with_(validation=0)))
    assert with_it["test"][0].tolist() == without["test"][0].tolist()
    both = {*with_it["train"][0].tolist(), *with_it["validation"][0].tolist()}
    assert set(without["train"][0].tolist()) == both and len(without["validation"][0]) == 0


def test_all_is_held_out_where_validation_images_are_evaluated():
    for study in PAPERS:
        plan = planned(study, **{study: {"evaluated_on": "validation"}})
        assert all(node.spec["validation"] == 0.15 for node in plan.nodes.values() if node.kind == "prepare")


# ---- names in a section --------------------------------------------------------------------------------------------


class Task(Spec):
    data: DatasetName
    like: Annotated[str, Refers("task", section="tasks")] | None = None


class Section(base.Section):
    source: DatasetName | None = None
    targets: dict[str, DatasetName]
    tasks: Annotated[dict[str, Task], Field(min_length=1)]
    compared: list[TargetName] = Field(alias="shown-targets")
    given: dict[TargetName, float] = {}  # noqa: RUF012 (pydantic copies it)


def test_a_name_is_checked_wherever_it_stands():
    section = Section.model_validate(
        {
            "source": "A",
            "targets": {"one": "B", "two": "Known"},
            "tasks": {"first": {"data": "C", "like": "second"}, "other": {"data": "Known", "like": "first"}},
            "shown-targets": ["one", "three"],
            "given": {"two": 1.0, "four": 2.0},
        }
    )

    class Config:
        datasets = {"Known": None}  # noqa: RUF012

    assert unknown_names(Config, section, "my") == [
        "my.source: unknown data set 'A'; write one of Known",
        "my.targets.one: unknown data set 'B'; write one of Known",
        "my.tasks.first.data: unknown data set 'C'; write one of Known",
        "my.tasks.first.like: unknown task 'second'; write one of first, other",
        "my.shown-targets[1]: unknown target 'three'; write one of one, two",
        "my.given.four: unknown target 'four'; write one of one, two, or four: null",
    ]


def test_none_is_a_name_of_nothing():
    section = Section.model_validate({"targets": {}, "tasks": {"t": {"data": "Known"}}, "shown-targets": []})
    named = {path for path, value, refers in values_of(section, "my") if refers and value is not None}
    assert named == {"my.tasks.t.data"}


# ---- nodes that cannot be made -------------------------------------------------------------------------------------


def test_all_keys_that_need_a_missing_validation_split_are_told_at_once():
    with pytest.raises(UserError) as error:
        planned("davchev", datasets={"digits-high": {"validation": 0}}, davchev={"evaluated_on": "validation"})
    (line,) = str(error.value).splitlines()[1:]
    first, others = line.split("; the same goes for ")
    assert first.endswith("set datasets.digits-high.validation above 0, or evaluated_on: test")
    names = ("natural", "adversarial", "substitute", "transfer")
    assert others.split(", ") == [f"davchev.schedules.{name}.select" for name in names]


def test_mistakes_of_several_studies_are_told_at_once():
    with pytest.raises(UserError) as error:
        planned("davchev", studies=["davchev", "cartl"], davchev={"source": "x"}, cartl={"cases": {"Case-8": 9}})
    lines = str(error.value).splitlines()[1:]
    assert [line.partition(": ")[0] for line in lines] == ["  - davchev.source", "  - cartl.cases.Case-8"]


@pytest.mark.parametrize("field", ["trainable", "reset"])
def test_a_part_beyond_the_network(field):
    network = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 2, 3])
    schedule = Schedule(epochs=1, batch_size=2, lr=0.1)
    assert not list(too_deep(Recipe(schedule=schedule, **{field: Last(last=6, of="blocks")}), network))
    ((part, words),) = too_deep(Recipe(schedule=schedule, **{field: Last(last=7, of="blocks")}), network)
    assert part.last == 7 and words.startswith("the last 7 blocks are wanted, but the network resnet14w16 has 6")
