"""This workflow from elsewhere: as a module of another one, and as Snakemake's workflow catalogue wants it."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from workspace import DAVCHEV, REPOSITORY, TINY, copy, merged

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

DEPLOYED = """
configfile: "config/config.yaml"

module robust:
    snakefile: github("somebody/robust-transfer", path="workflow/Snakefile", branch="main")
    config: config

use rule * from robust
"""
"""As snakedeploy writes it."""


@pytest.fixture(scope="module")
def outer(tmp_path_factory):
    """A folder with a workflow of its own and nothing else."""
    folder = tmp_path_factory.mktemp("outer")
    config = merged(merged({"scale": "digits"}, DAVCHEV), TINY)
    (folder / "Snakefile").write_text(OUTER.format(snakefile=str(REPOSITORY / "Snakefile"), config=config))
    return folder


def outside():
    """The environment of somebody whose process is no job of this workflow; other tests may have made this one such."""
    steering = ("ROBUST_TRANSFER_", "SNAKEMAKE_", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(steering)}


def snakemake(folder, *words, **more):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *words]
    done = subprocess.run(
        command, cwd=folder, env=outside() | more, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def counted(said):
    """Rule -> how many jobs of it a dry run has."""
    return dict(re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE))


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_the_outer_workflow_keeps_its_target_and_gets_what_it_asks_for(outer, snakefile):
    main = (outer / "Snakefile").read_text().replace(str(REPOSITORY / "Snakefile"), str(REPOSITORY / snakefile))
    (outer / "another.smk").write_text(main)
    counts = counted(snakemake(outer, "-s", "another.smk", "--dry-run", "--quiet", "host"))
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


def test_the_outer_workflow_can_have_what_is_missing_said_before_the_first_job(tmp_path):
    """As docs/config.md shows it."""
    page = (REPOSITORY / "docs/config.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```snakemake\n(.*?)```", page, re.DOTALL)
    missing = {"digits-low": {"reader": "npz", "file": "mine.npz"}}
    text = shown.replace("path/to/clone", str(REPOSITORY))
    text = text.replace('{"scale": "digits",', f'{{"scale": "digits", "datasets": {missing},')
    (tmp_path / "Snakefile").write_text('rule all:\n    input: "results/tables/davchev/table1.csv"\n\n' + text)
    words = (sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all")
    done = subprocess.run(words, cwd=tmp_path, env=outside(), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1 and "mine: data/mine.npz missing" in done.stderr
    assert not [*tmp_path.glob("results/prepare/*/card.json")], "no job ran"


# ---- the workflow catalogue ------------------------------------------------------------------------------------------


def test_what_the_catalogue_asks_for_is_there():
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))["usage"]
    assert usage.keys() == {"mandatory-flags", "software-stack-deployment", "report"}
    assert (REPOSITORY / "config/README.md").exists(), "written by pages.files"
    assert (REPOSITORY / "config/config.yaml").read_bytes() == (REPOSITORY / "config.yaml").read_bytes()


@pytest.mark.slow
def test_its_test_runs_in_seconds_by_either_snakefile(tmp_path):
    shutil.copy(REPOSITORY / ".test/config.yaml", tmp_path)
    snakemake(REPOSITORY, "--directory", tmp_path, "-s", "workflow/Snakefile", "--quiet", "all")
    assert (tmp_path / "results/tables/custom/table1.md").exists()
    assert "Nothing to be done" in snakemake(REPOSITORY, "--directory", tmp_path, "--dry-run")


def test_deployed_from_a_repository_elsewhere_it_makes_all_by_the_config_there(tmp_path):
    """Snakemake fetches the rules alone; recipes and scales are those of the installed package."""
    repository, mine = tmp_path / "repository", tmp_path / "mine"
    for part in ("Snakefile", "workflow", "envs"):
        repository.mkdir(exist_ok=True)
        copy(REPOSITORY / part, repository / part)
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    for words in (("init", "-q", "-b", "main"), ("add", "."), (*who, "commit", "-q", "-m", "all")):
        subprocess.run(("git", *words), cwd=repository, check=True)
    (mine / "workflow").mkdir(parents=True)
    (mine / "workflow/Snakefile").write_text(DEPLOYED)
    shutil.copytree(REPOSITORY / ".test", mine / "config", ignore=shutil.ignore_patterns("results", ".snakemake"))
    instead = {"GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf", "GIT_CONFIG_COUNT": "1"}
    instead |= {"GIT_CONFIG_VALUE_0": "https://github.com/somebody/robust-transfer", "XDG_CACHE_HOME": str(tmp_path)}
    said = snakemake(mine, "--dry-run", "--quiet", "host", PYTHONPATH=str(REPOSITORY / "src"), **instead)
    counts = counted(said)
    assert (counts["all"], counts["transfer"], counts["tabulate"]) == ("1", "1", "1")


def test_without_the_package_one_sentence_says_so():
    without = "import sys; sys.modules['robust_transfer'] = None; from snakemake.cli import main; main()"
    words = (sys.executable, "-c", without, "--cores", "1", "--dry-run")
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.endswith("not installed beside Snakemake; install it with pip, or use a clone\n")
