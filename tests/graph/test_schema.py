"""The JSON schema of the config, and the pages of the same source."""

import json
import sys

import pytest
from jsonschema import Draft7Validator

from robust_transfer import cli
from robust_transfer.attacks.algorithms import ALGORITHMS
from robust_transfer.attacks.algorithms.apgd import Apgd
from robust_transfer.attacks.algorithms.fgsm import Fgsm
from robust_transfer.attacks.algorithms.pgd import Pgd
from robust_transfer.models.families.torchvision import TorchvisionNet
from robust_transfer.plan.descriptions import description, phrase, summary
from robust_transfer.plan.reading import read_yaml
from robust_transfer.recipes import Recipe
from robust_transfer.reference import pages
from robust_transfer.reference.schema import OURS, schema
from robust_transfer.specs.parts import Head
from robust_transfer.specs.schedules import Schedule
from robust_transfer.terms import FORMS
from workspace import REPOSITORY

SHIPPED = [REPOSITORY / "config.yaml", *sorted((REPOSITORY / "workflow").glob("[!p]*/*.yaml"))]


VALIDATOR = Draft7Validator(schema())


def mistakes(values):
    return [error.json_path for error in VALIDATOR.iter_errors(values)]


def of_attack(**values):
    return {"davchev": {"attacks": {"WB-PGD": values}}}


def test_a_description_is_the_docstring_below_the_field_or_what_the_model_says():
    assert description(Pgd, "steps") == "Gradient steps of each run."
    assert description(Pgd, "norm").startswith("How a perturbation is measured")  # inherited
    assert description(Pgd, "algorithm") == summary(Pgd) == "Projected gradient steps (Madry et al. 2018, section 2.1)."
    assert description(Recipe, "inputs") == "What a training batch is."  # of the field's model
    assert description(TorchvisionNet, "normalise").startswith("As of every network")  # over the inherited one


def test_a_phrase_is_what_goes_into_a_sentence():
    assert phrase(Pgd, "eps") == "radius of the ball around the image, in pixels of [0, 1]"
    assert phrase(Pgd, "labels").endswith("guards training against label leaking (Kurakin et al. 2017)")
    assert phrase(Fgsm, "steps") == "always 1"
    assert phrase(Apgd, "loss").endswith("or that towards one target class after the other (Eq. 7, at least 4)")
    assert phrase(Schedule, "decay").endswith("the training ends early at fall number `falls`)")  # a `;` in brackets
    assert phrase(Head, "weights").startswith("PyTorch's default")


def test_every_key_is_described():
    made = schema()
    parts = [made, *(part for name, part in made["$defs"].items() if name not in OURS)]
    objects = [each for part in parts for each in part.get("anyOf", [part])]
    described = [
        (each["description"], key, value) for each in objects for key, value in each.get("properties", {}).items()
    ]
    assert len(described) > 400
    assert [(what, key) for what, key, value in described if not value["description"]] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_follow_the_schema(path):
    assert mistakes(read_yaml(path)) == []


@pytest.mark.parametrize(
    "values",
    [
        {},
        of_attack(eps=0.3),
        of_attack(eps="8/255", steps={"D15": {"paper": 7, "code": 7, "corrected": 20}}),
        of_attack(step_size="eps/4"),
        of_attack(restarts=None) | {"renofeation": {"targets": {"Turned": None}}},
        {"cartl": {"cases": {"SVHN": 3, "GTSRB": {"last": 2, "of": "blocks"}}}},
        {"custom": {"methods": {"mine": {"recipe": {"network": "resnet", "terms": {"trades": 6}}}}}},
        {"custom": {"methods": {"mine": {"recipe": {"network": {"family": "timm", "options": {"a": [1]}}}}}}},
        {"switches": {"D15": "code"}, "extends": "digits"},
    ],
)
def test_what_a_layer_may_say(values):
    assert mistakes(values) == []


@pytest.mark.parametrize(
    "values",
    [
        {"sed": 1},
        {"seed": "one"},
        {"seed": -1},
        {"studies": ["davchef"]},
        {"switches": {"D99": "code"}},
        {"networks": {"mine": {"family": "resnet"}}},
        {"davchev": {"clean_weight": {"D12": {"paper": 1}}}},
        {"davchev": {"clean_weight": 1}},
        {"davchev": {"depths": {"24": "head"}}},
        {"custom": {"tables": {"a b": {}}}},
        of_attack(epsilon=0.3),
        of_attack(algorithm="pdg"),
        of_attack(eps="8/x"),
        of_attack(eps="eps/4"),
        of_attack(eps=None),  # it has no default
    ],
)
def test_what_no_layer_may_say(values):
    assert mistakes(values)


def test_every_form_in_the_rooms_is_there():
    known = schema()["$defs"]
    assert {form.__name__ for form in ALGORITHMS} <= known.keys()
    assert {form.__name__ for form in FORMS.values()} <= known.keys()


def test_what_is_written_from_the_source_is_in_step_with_it():
    for path, text in pages.files(REPOSITORY).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of step; type `{pages.COMMAND}`"


def test_an_editor_finds_the_schema():
    first = (REPOSITORY / "config.yaml").read_text(encoding="utf-8").partition("\n")[0]
    assert first == f"# yaml-language-server: $schema={pages.SCHEMA}"


def test_the_command_prints_the_schema(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["robust-transfer", "schema"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out) == schema()
