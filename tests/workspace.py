"""A folder like a fresh clone, in which the workflow runs, and what Snakemake plans to do there."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from robust_transfer import cli
from robust_transfer.plan.graph import Plan
from robust_transfer.studies import make_plan

REPOSITORY = Path(__file__).parents[1]
PARTS = ("Snakefile", "config.yaml", "workflow", "slurm", "src", "envs")
"""What the workflow needs of a clone."""

SCHEDULES = ("natural", "adversarial", "substitute", "transfer")
DAVCHEV = {"studies": ["davchev"], "main_study": "davchev"}
TINY = DAVCHEV | {
    "datasets": {"digits-low": {"limit": 20}, "digits-high": {"limit": 20}},
    "networks": {"resnet": {"width": 4}, "densenet": {"layers_per_block": [1, 1], "growth": 4}},
    "davchev": {"schedules": {name: {"epochs": 2, "milestones": [1]} for name in SCHEDULES}},
}
"""Laid over the digits scale: every node of the Davchev study, each a fraction of a second."""


def shipped() -> dict[str, Any]:
    """config.yaml as it is shipped, but at scale digits, whatever the default is."""
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8")) | {"scale": "digits"}


class Workspace:
    """A folder with what a clone has, its config at scale digits, whatever the default is.

    root: where; it is filled from the repository unless it is there already.
    """

    def __init__(self, root: Path):
        self.root = root
        if not root.exists():
            root.mkdir(parents=True)
            for part in PARTS:
                copy(REPOSITORY / part, root / part)
            self.set("scale", "digits")

    @property
    def results(self) -> Path:
        return self.root / "results"

    # ---- config.yaml -----------------------------------------------------------------------------------------------

    @property
    def config_path(self) -> Path:
        return self.root / "config.yaml"

    @property
    def config(self) -> dict[str, Any]:
        """config.yaml as it stands, to read."""
        return yaml.safe_load(self.config_path.read_text(encoding="utf-8"))

    @contextmanager
    def editing(self) -> Iterator[dict[str, Any]]:
        """config.yaml as a mapping to change; written back at the end, its comments gone."""
        config = self.config
        yield config
        self.config_path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def set(self, key: str, value: Any) -> None:
        """Set one value: `set("davchev.attacks.WB-PGD.eps", 0.3)`."""
        *sections, last = key.split(".")
        with self.editing() as config:
            place = config
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = value

    def lay(self, overlay: dict[str, Any]) -> None:
        """Lay a mapping over config.yaml, key by key."""
        with self.editing() as config:
            config.update(merged(config, overlay))

    def plan(self) -> Plan:
        """The plan of config.yaml, made in this process."""
        return make_plan(self.config, self.root / "workflow")

    # ---- commands --------------------------------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True, timeout: float = 300, **environment: str):
        """Run a command of this workspace's code; the CompletedProcess, both streams in its stdout."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment() | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-8000:]}")
        return done

    def environment(self) -> dict[str, str]:
        """The caller's environment without what would steer the workflow, and with this workspace's code."""
        steering = ("ROBUST_TRANSFER_", "SNAKEMAKE_", "SLURM_", "PYTHON")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
        nowhere = str(self.root / ".no-profiles")
        return clean | {"PYTHONPATH": str(self.root / "src"), "XDG_CONFIG_HOME": nowhere, "XDG_CONFIG_DIRS": nowhere}

    def snakemake(self, *arguments: str, check: bool = True, timeout: float = 300, **environment: str):
        """Run snakemake here, on two cores unless the arguments say otherwise."""
        cores = () if any(word in ("--cores", "-c", "--profile") for word in arguments) else ("--cores", "2")
        words = (sys.executable, "-m", "snakemake", *arguments, *cores)
        return self.run(*words, check=check, timeout=timeout, **environment)

    def robust_transfer(self, *arguments: str, check: bool = True):
        """Run the command `robust-transfer`."""
        entry = "from robust_transfer.cli import main; main()"
        return self.run(sys.executable, "-c", entry, *arguments, check=check)

    def planned(self, *arguments: str, **environment: str) -> list[str]:
        """The jobs that a dry run announces, but for the targets `all` and STUDY: their messages, sorted.

        A message is the rule's name and what it makes: `craft <node id>`, `tabulate davchev/table1`, `copy A to B`.
        arguments: targets and options of snakemake.
        """
        # After `--quiet host`, a target would be taken for another thing to be quiet about.
        text = self.snakemake("--dry-run", *arguments, "--quiet", "host", **environment).stdout
        jobs = sorted(re.findall(r"^Job \d+: (.+)$", text, re.MULTILINE))
        stats = re.search(r"^Job stats:\n(.*?)^total +(\d+)$", text, re.MULTILINE | re.DOTALL)
        if stats is None:
            assert "Nothing to be done" in text, text
            assert not jobs, text
            return []
        assert len(jobs) == int(stats[2]), f"{len(jobs)} jobs were understood in\n{text}"
        return [job for job in jobs if not re.fullmatch("all( of .+)?", job)]


def planned(study: str, **overlay: Any) -> Plan:
    """The plan of one study alone, at scale digits unless the overlay says otherwise; made in this process."""
    return make_plan(merged(shipped(), {"studies": [study], "main_study": study} | overlay), REPOSITORY / "workflow")


def run(*words) -> int | str:
    """The exit status of `robust-transfer` in this process, or the sentence that it ends with."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.argv", ["robust-transfer", *map(str, words)])
        cli.main()
    return ended.value.code


def cells(plan: Plan, product: str) -> list[dict[str, Any]]:
    """The cells of a table or figure, by its stem."""
    return plan.products[product].spec["cells"]


def rules(jobs: list[str]) -> Counter[str]:
    """How many planned jobs there are of each rule."""
    return Counter(job.partition(" ")[0] for job in jobs)


def merged(base: Any, over: Any) -> Any:
    """Mappings merged key by key, `over` winning."""
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: merged(base.get(key), value) for key, value in over.items()}
    return over


def copy(source: Path, target: Path) -> None:
    """Copy a file, link or folder as it is, time stamps and all; what is not there is left out."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    elif source.exists() or source.is_symlink():
        shutil.copy2(source, target, follow_symlinks=False)
