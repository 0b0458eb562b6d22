"""This workflow as a module of another one, from another folder."""

import os
import re
import subprocess
import sys

import pytest

from workspace import DAVCHEV, REPOSITORY, TINY, merged

OUTER = """
rule all:
    input: "mine/lines.txt"

module robust:
    snakefile: {snakefile!r}
    config: {config!r}

use rule * from robust as robust_*

rule lines:
    input: "results/tables/davchev/table1.csv"
    output: "mine/lines.txt"
    shell: "wc -l < {{input}} > {{output}}"
"""


@pytest.fixture(scope="module")
def outer(tmp_path_factory):
    """A folder with a workflow of its own and nothing else."""
    folder = tmp_path_factory.mktemp("outer")
    config = merged(merged({"scale": "digits"}, DAVCHEV), TINY)
    (folder / "Snakefile").write_text(OUTER.format(snakefile=str(REPOSITORY / "Snakefile"), config=config))
    return folder


def snakemake(folder, *words):
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("ROBUST_TRANSFER_", "SNAKEMAKE_", "PYTHON"))}
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *words]
    done = subprocess.run(command, cwd=folder, env=outside, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_outer_workflow_keeps_its_target_and_gets_what_it_asks_for(outer):
    said = snakemake(outer, "--dry-run", "--quiet", "host")
    counts = dict(re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE))
    assert counts.keys() == {
        *("all", "lines", "total", "robust_tabulate"),
        *(f"robust_{kind}" for kind in ("prepare", "pretrain", "craft", "evaluate", "transfer")),
    }
    assert counts["robust_transfer"] == "21" and counts["robust_tabulate"] == "1"


def test_its_nodes_are_made_there(outer):
    snakemake(outer, "--until", "robust_prepare")
    assert len(list(outer.glob("results/prepare/*/card.json"))) == 2
    assert not (outer / "config.yaml").exists()
    said = snakemake(outer, "--dry-run", "--quiet", "host")
    assert "robust_pretrain" in said and "robust_prepare" not in said, "what is made is settled"
