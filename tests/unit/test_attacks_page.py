"""docs/attacks.md, done as it says in a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from robust_transfer.attacks.algorithms import ALGORITHMS
from robust_transfer.specs.attacks import Attack

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")

PLAN = """
import json, sys
from pathlib import Path
from robust_transfer import provenance
from robust_transfer.run import nodes
from robust_transfer.studies import make_plan
import yaml

root = Path(sys.argv[1])
alone = {"scale": "digits", "studies": ["davchev"], "main_study": "davchev"}
config = yaml.safe_load((root / "config.yaml").read_text()) | alone
plan = make_plan(config, root / "workflow")
assert "torch" not in sys.modules
code = {i: provenance.fingerprint(*nodes.modules_of(node, plan)) for i, node in plan.nodes.items()}
"""
USE = """
from pydantic import TypeAdapter
from robust_transfer.plan import build
from robust_transfer.plan.specs import AnyAttack, Inputs

attack = TypeAdapter(AnyAttack).validate_python({"algorithm": "noise", "eps": "8/255"})
model = next(node for node in plan.nodes.values() if node.kind == "transfer")
data = plan.nodes[model.parents["data"]]
outcomes = build.attacked(plan, model, data, attack, 0)
assert outcomes.slug == f"{model.slug}.noise-linf-0.03137"
examples = plan.nodes[outcomes.parents["examples"]]
assert "robust_transfer.attacks.algorithms.noise" in nodes.modules_of(examples, plan)
assert Inputs(attack=attack.canonical()).attack == attack

import torch
from robust_transfer.attacks.budget import check_budget, to_float
from robust_transfer.attacks.craft import craft

clean = torch.randint(0, 256, (20, 1, 8, 8)).to(torch.uint8)
stored = craft(torch.nn.Flatten(), clean, torch.zeros(20, dtype=torch.int64), attack, 8, 0)
check_budget(stored, clean, attack)
assert 6 / 255 < (to_float(stored) - to_float(clean)).abs().max() <= 8 / 255 + 1e-6
"""


def done(source, script):
    """What a script printed whose package is in the folder `source`."""
    command = [sys.executable, "-c", script + "\nprint(json.dumps(code))", str(ROOT)]
    environment = os.environ | {"PYTHONPATH": str(source)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_an_attack_is_one_file_and_changes_no_other_node(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (place,) = re.findall(r"Write `src/(.*?)`:", PAGE)
    shutil.copytree(ROOT / "src", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / place).write_text(code, encoding="utf-8")
    assert done(tmp_path, PLAN + USE) == done(ROOT / "src", PLAN)


def test_the_list_has_every_attack_and_its_keys():
    listed = dict(re.findall(r"^\| `([\w-]+)` *\| *(?:yes|no|only) *\| (.*?) *\|", PAGE, re.MULTILINE))
    for form in ALGORITHMS:
        own = [
            name for name, field in form.model_fields.items() if name not in Attack.model_fields and not field.exclude
        ]
        (name,) = form.model_fields["algorithm"].annotation.__args__
        assert listed.pop(name).partition(";")[0] == ", ".join(own[1:]), name
    assert not listed
