"""docs/data.md: a reader is one file, and everything else stays as it is."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]
PLANNED = """
import json, sys, yaml
from pathlib import Path
from robust_transfer import provenance
from robust_transfer.run import nodes
from robust_transfer.studies import make_plan

alone = {"scale": "digits", "studies": ["davchev"], "main_study": "davchev"}
config = yaml.safe_load(Path("config.yaml").read_text()) | alone
plan = make_plan(config | json.loads(sys.argv[1]), Path("workflow"))
assert "torch" not in sys.modules
print(json.dumps({
    i: [node.kind, nodes.modules_of(node, plan), provenance.fingerprint(*nodes.modules_of(node, plan))]
    for i, node in plan.nodes.items()
}))
"""
PREPARED = """
import json
from pathlib import Path
from types import SimpleNamespace
from robust_transfer.stages import prepare
from robust_transfer.stages.node import KINDS

spec = KINDS["prepare"].parse({"reader": "pixels", "name": "mine"})
print(json.dumps(prepare.run(SimpleNamespace(spec=spec, data_root=Path(), output=Path("made"), threads=1))))
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What a plan needs, with the reader of the page added."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("src", "workflow"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "config.yaml", root)
    block = re.search(r"```python\n(.*?)```", (REPOSITORY / "docs/data.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    (root / "src/robust_transfer/data/readers/pixels.py").write_text(block, encoding="utf-8")
    return root


def said(root, program, *arguments):
    """What a program prints that runs in a clone's folder with the clone's code."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=root, env={"PYTHONPATH": str(root / "src")}, text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_new_reader_is_found_and_leaves_all_other_nodes_as_they_are(clone):
    before, after = said(REPOSITORY, PLANNED, "{}"), said(clone, PLANNED, "{}")
    assert after == before
    mine = {"datasets": {"mine": {"reader": "pixels", "name": "mine"}}, "davchev": {"target": "mine"}}
    planned = said(clone, PLANNED, json.dumps(mine))
    modules = {i: entry[1] for i, entry in planned.items() if i.startswith("mine.") and entry[0] == "prepare"}
    assert list(modules.values()) == [["robust_transfer.stages.prepare", "robust_transfer.data.readers.pixels"]]
    assert {i: planned[i] for i in planned.keys() & before.keys()} == {i: before[i] for i in planned if i in before}


def test_the_new_reader_reads(clone):
    images, labels = np.random.default_rng(0).integers(0, 256, (40, 16)), np.arange(40) % 2 + 1
    for split in ("train", "test"):
        np.savetxt(
            clone / f"mine-{split}.csv", np.column_stack([labels, images[:: 1 if split == "train" else -1]]), "%d", ","
        )
    metrics = said(clone, PREPARED)
    assert [metrics[what] for what in ("train", "validation", "test", "classes")] == [36, 4, 40, 2]
    assert metrics["duplicates"] == 40
    assert metrics["notes"][:2] == [
        "images of the form N x H x W are taken as grey",
        "the classes 1, 2 become 0 to 1, in this order",
    ]
