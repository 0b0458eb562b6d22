"""Kinds of node: what follows from their file alone."""

import re
import subprocess
import sys

import pytest

from robust_transfer.stages.node import KINDS
from workspace import REPOSITORY, Workspace


def block_of(page):
    """The Python file that a page of docs/ shows."""
    return re.search(r"```python\n(.*?)```", (REPOSITORY / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A clone with the kind of docs/stages.md added."""
    place = Workspace(tmp_path_factory.mktemp("extended") / "clone")
    (place.root / "src/robust_transfer/stages/margin.py").write_text(block_of("stages.md"), encoding="utf-8")
    return place


PLAN = """
import sys, yaml
from pathlib import Path
from robust_transfer import provenance
from robust_transfer.plan import build
from robust_transfer.run import nodes
from robust_transfer.studies import make_plan

plan = make_plan(yaml.safe_load(Path("config.yaml").read_text()) | {"scale": "digits", "studies": ["davchev"], "main_study": "davchev"}, Path("workflow"))
code = {i: provenance.fingerprint(*nodes.modules_of(node, plan)) for i, node in plan.nodes.items()}
"""  # noqa: E501


def test_a_new_kind_leaves_all_others_as_they_are(extended):
    say = PLAN + "print(*(f'{i} {c}' for i, c in sorted(code.items())), sep='\\n')"
    here = subprocess.run(
        [sys.executable, "-c", say], cwd=REPOSITORY, env=extended.environment() | {"PYTHONPATH": "src"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert extended.run(sys.executable, "-c", say).stdout == here.stdout


def test_a_new_kind_has_its_rule_and_makes_its_node(extended):
    assert "margin" in extended.snakemake("--list-rules").stdout.split()
    make = (
        PLAN
        + """
from robust_transfer.stages.margin import Margin
node = next(n for n in plan.nodes.values() if n.kind == "pretrain" and n.spec["schedule"].pop("epochs"))
from robust_transfer.plan.specs import Recipe
short = {"epochs": 1, "milestones": [], "decay": "constant"}
recipe = Recipe.model_validate(node.spec | {"schedule": node.spec["schedule"] | short})
data = plan.nodes[node.parents["data"]]
model = build.pretrain(plan, data, recipe)
margin = build.node(plan, "margin", Margin(split="test"), model=model, data=data)
results = Path("results")
for each in plan.ancestry([margin.id]):
    nodes.make(each, plan, "test", results, 1)
print((results / margin.card).read_text())
"""
    )
    made = extended.run(sys.executable, "-c", make).stdout
    assert '"mean": ' in made
    assert "robust_transfer.stages.margin" in made


def test_every_kind_says_what_the_rules_need():
    for kind in KINDS.values():
        assert kind.version >= 1
        assert kind.minutes > 0
    assert {name for name, kind in KINDS.items() if kind.resumes} == {"pretrain", "transfer", "certify"}
    assert {name for name, kind in KINDS.items() if not kind.gpu} == {"prepare", "bring", "worst"}
