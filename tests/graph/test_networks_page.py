"""docs/networks.md, done word for word: a family of one's own is one file, and disturbs no other node."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from robust_transfer.models.families import FAMILIES
from workspace import REPOSITORY, merged, shipped

PAGE = (REPOSITORY / "docs" / "networks.md").read_text(encoding="utf-8")
PLAN = """
import json, sys
from pathlib import Path
import yaml
from robust_transfer import provenance
from robust_transfer.run.nodes import modules_of
from robust_transfer.studies import make_plan

plan = make_plan(yaml.safe_load(sys.stdin), Path(sys.argv[1]))
heavy = [name for name in ("torch", "timm", "torchvision") if name in sys.modules]
found = {id: provenance.fingerprint(*modules_of(node, plan)) for id, node in plan.nodes.items()}
network = next(plan.network_of(node) for node in plan.nodes.values() if node.kind == "pretrain" and "NAME" in node.id)
import torch
from robust_transfer.models import files
torch.manual_seed(0)
built = files.build(network, 1, 10)
shape = list(built(torch.rand(2, 1, 8, 8)).shape)
parts = [len(built.stages), len(built.blocks()), len(built.units())]
print(json.dumps({"nodes": found, "heavy": heavy, "shape": shape, "parts": parts,
                  "told": [network.stages, network.blocks, network.units]}))
"""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def planned(source, name, overlay):
    """What the code in `source` plans for davchev under an overlay, and the network of the slug `name`, built."""
    config = merged(shipped(), {"studies": ["davchev"], "main_study": "davchev"} | overlay)
    done = subprocess.run(
        [sys.executable, "-c", PLAN.replace("NAME", name), REPOSITORY / "workflow"],
        input=yaml.safe_dump(config),
        env={"PYTHONPATH": str(source), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of src/ with the page's file in it."""
    source = tmp_path_factory.mktemp("extended") / "src"
    shutil.copytree(REPOSITORY / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (code,) = blocks("python")
    (source / "robust_transfer/models/families/plain.py").write_text(code, encoding="utf-8")
    return source


def test_a_family_is_one_file_and_leaves_other_nodes_alone(extended):
    (entry,) = map(yaml.safe_load, blocks("yaml"))
    before, after = planned(REPOSITORY / "src", "resnet", {}), planned(extended, "resnet", {})
    assert after == before, "the file alone changes nothing"
    mine = planned(extended, "plain3w8", entry)
    assert mine["heavy"] == []
    assert mine["shape"] == [2, 10]
    assert mine["parts"] == mine["told"] == [2, 3, 4]
    shared = before["nodes"].keys() & mine["nodes"].keys()
    assert any("densenet" in id for id in shared)
    assert all(mine["nodes"][id] == before["nodes"][id] for id in shared)
    trained = {code for id, code in mine["nodes"].items() if ".plain3w8.nat." in id}
    assert trained.isdisjoint(before["nodes"].values()), "its own file is in the fingerprint"


def test_the_page_names_every_family():
    listed = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| (yes|) ?\| (?:yes )?\|$", PAGE, re.MULTILINE))
    there = {family.model_fields["family"].annotation.__args__[0]: family for family in FAMILIES}
    assert listed.keys() == there.keys()
    assert {name for name, averages in listed.items() if averages} == {
        name for name, family in there.items() if family.averages_residuals
    }


def test_a_network_of_timms_is_planned_without_timm():
    pytest.importorskip("timm")
    entry = {"networks": {"deep": {"family": "timm", "name": "resnet10t"}}, "davchev": {"network": "deep"}}
    found = planned(REPOSITORY / "src", "resnet10t", entry)
    assert found["heavy"] == []
    assert found["shape"] == [2, 10]
