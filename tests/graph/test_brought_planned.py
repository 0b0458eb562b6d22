"""Weights that were trained elsewhere in the plans of all studies: one form, one way to their sha256."""

import re

import pytest

from robust_transfer.errors import UserError
from robust_transfer.plan import presence, weights
from robust_transfer.stages.bring import Bring
from workspace import planned

OTHER = {"file": "other.pt", "sha256": "ab" * 32}
RECIPE = {"schedule": {"epochs": 1, "batch_size": 50, "lr": 0.1}}
CUSTOM = {"targets": {"High": "digits-high"}, "methods": {"FT": {"recipe": RECIPE}}}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with a file of weights, which is not looked into by a plan."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "weights").mkdir(parents=True)
    (tmp_path / "data" / "weights" / "a.pt").write_bytes(b"weights")
    return tmp_path


def brought(plan):
    return [node for node in plan.nodes.values() if node.kind == "bring"]


TARGETS = {
    "davchev": "digits-high",
    "renofeation": "High",
    "shafahi": "digits-high",
    "cartl": "Negative",
    "vaishnavi": "High",
}
"""Of each paper a target, by the name that ready models have for it."""


def ready(target, here):
    return {"extra": {"models": {"A": {"target": target, "network": "resnet", **here}}}}


def overlay_of(study, origin):
    """Where a study takes an origin, as an overlay of the config, and what is made from it."""
    here = origin if isinstance(origin, dict) else {"weights": origin}
    return {
        "davchev nat": {"brought": {"nat": origin}},
        "davchev substitute": {"brought": {"substitute": origin}},
        "renofeation": {"networks": {"ResNet": {"network": "resnet", "weights": origin}}},
        "shafahi natural": {"large": {"weights": origin}},
        "shafahi robust": {"large": {"robust": origin}},
        "shafahi small": {"brought": {"robust": origin}},
        "cartl": {"sources": {"Low": {"weights": origin}}},
        "vaishnavi": {"brought": {"AT": origin}},
        **{f"{study} ready": ready(target, here) for study, target in TARGETS.items()},
        "custom source": CUSTOM | {"sources": {"A": {"network": "resnet", **here}}},
        "custom model": {
            "targets": {"High": "digits-high"},
            "models": {"A": {"target": "High", "network": "resnet", **here}},
        },
    }[study]


STUDIES = [
    "davchev nat",
    "davchev substitute",
    "renofeation",
    "shafahi natural",
    "shafahi robust",
    "shafahi small",
    "cartl",
    "vaishnavi",
    "custom source",
    "custom model",
    *(f"{study} ready" for study in TARGETS),
]


def plan_of(study, origin, **more):
    name = study.partition(" ")[0]
    return planned(name, **{name: overlay_of(study, origin)}, **more)


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_takes_a_file_and_its_sha256_is_the_locks(study, folder):
    (node,) = brought(plan_of(study, {"file": "a.pt", "entry": "ema"}))
    assert {key: node.spec[key] for key in ("file", "entry", "sha256")} == {
        "file": "a.pt",
        "entry": "ema",
        "sha256": weights.sha256_of(folder / "data" / "weights" / "a.pt"),
    }
    weights.record("a.pt", "cd" * 32)  # other bytes than are there: found when they are read
    (recorded,) = brought(plan_of(study, {"file": "a.pt"}))
    assert recorded.spec["sha256"] == "cd" * 32
    (given,) = brought(plan_of(study, {"file": "a.pt", "sha256": "ef" * 32}))
    assert given.spec["sha256"] == "ef" * 32


@pytest.mark.parametrize("study", STUDIES)
def test_a_missing_file_that_was_not_recorded_is_named_with_its_key(study):
    with pytest.raises(UserError, match=r"\.file: data/weights/none\.pt is missing; put the file there, or"):
        plan_of(study, {"file": "none.pt"})
    weights.record("none.pt", "cd" * 32)
    assert len(brought(plan_of(study, {"file": "none.pt"}))) == 1


@pytest.mark.parametrize("study", STUDIES)
def test_a_name_of_torchvisions_is_refused_for_other_networks(study):
    name, key = study.partition(" ")[0], r"[a-zA-Z.]+"
    with pytest.raises(UserError, match=rf"{name}\.{key}: torchvision has weights for its own networks alone"):
        plan_of(study, "IMAGENET1K_V1")


@pytest.mark.parametrize(
    "study", ["davchev nat", "shafahi small", "cartl", "custom source", "vaishnavi", "renofeation"]
)
def test_a_source_with_data_is_measured_on_them_first_and_a_row_of_the_sources(study):
    knows = study in ("davchev nat", "shafahi small", "cartl")
    plan = plan_of(study, OTHER if knows else {**OTHER, "data": "digits-low"})
    (node,) = brought(plan)
    assert plan.nodes[node.parents["own"]].kind == "prepare"
    assert "data" not in node.parents
    if study == "custom source":
        return
    cells = plan.products[f"tables/{study.partition(' ')[0]}/sources"].spec["cells"]
    evaluated = [plan.nodes[i] for cell in cells for i in cell["nodes"].values()]
    assert node.id in {each.parents["model"] for each in evaluated if "model" in each.parents}


def test_without_data_nothing_is_measured_and_the_ids_are_those_of_before():
    (node,) = brought(plan_of("vaishnavi", OTHER))
    assert node.parents == {}
    spec = Bring.model_validate(node.spec)
    assert node.spec == {"network": spec.network.canonical(), **OTHER}


def test_a_file_of_the_hub_needs_no_sha256_and_takes_a_recorded_one():
    hub = {"hub": "some-lab/nets", "file": "a.pt", "revision": "ab" * 20}
    (node,) = brought(plan_of("vaishnavi", hub))
    assert {name: node.spec.get(name) for name in (*hub, "sha256")} == hub | {"sha256": None}
    weights.record(f"hub/some-lab--nets/{'ab' * 20}/a.pt", "cd" * 32)
    (node,) = brought(plan_of("vaishnavi", hub))
    assert node.spec["sha256"] == "cd" * 32


def test_a_substitute_must_fit_the_target():
    plan = plan_of("davchev substitute", OTHER)
    (node,) = brought(plan)
    assert re.match("digits-5to9", plan.nodes[node.parents["data"]].slug)


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ({}, r"davchev\.brought\.nat\.weights: give either the published name of the weights, or a file"),
        ({"file": "a.pt", "weights": "X"}, r"davchev\.brought\.nat\.weights: give either"),
        ({"weights": "X", "entry": "ema"}, r"davchev\.brought\.nat\.entry: it belongs to a file; give file"),
        ({"file": "a.pt", "data": "digits"}, r"davchev\.brought\.nat\.data: .*'digits'"),
        ({"file": "a.pt", "sha256": "12"}, r"davchev\.brought\.nat\.sha256"),
    ],
)
def test_origins_that_cannot_be(origin, words):
    with pytest.raises(UserError, match=words):
        plan_of("davchev nat", origin)


def test_missing_files_are_named_before_the_first_job(folder, monkeypatch):
    weights.record("none.pt", "cd" * 32)
    plan = plan_of("vaishnavi", {"file": "none.pt"})
    with pytest.raises(
        UserError, match=r"weights are missing \(.*\n  - .*: data/weights/none\.pt missing; put the check"
    ):
        presence.must_be_present(brought(plan), folder.relative_to(folder) / "data")
    hub = {"hub": "some-lab/nets", "file": "a.pt", "revision": "ab" * 20}
    monkeypatch.setattr(presence, "find_spec", lambda name: name == "huggingface_hub")
    for origin in ({"file": "a.pt"}, hub):
        presence.must_be_present(brought(plan_of("vaishnavi", origin)), folder / "data")
    monkeypatch.setattr(presence, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"a\.pt missing, and huggingface_hub, .* or put a\.pt of some-lab/nets there by"
    ):
        presence.must_be_present(brought(plan_of("vaishnavi", hub)), folder / "data")
