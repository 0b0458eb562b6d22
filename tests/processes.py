"""Processes of a workspace, to be killed: Snakemake, the warm process and its nodes."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from workspace import Workspace

LONG = {
    "machine": {"checkpoint_seconds": 0.05},
    "davchev": {
        "attacks": {"train-PGD": {"random_start": True}},
        "schedules": {
            "adversarial": {"epochs": 150, "milestones": [100], "crop_padding": 1, "flip": True},
            "natural": {"epochs": 2},
        },
    },
}
"""Laid over the tiny study: a training of a few seconds with everything in it that is drawn at random."""


def ended(process, status=0) -> str:
    """Wait for the end, which must be this one; what was written to stderr."""
    output, errors = process.communicate(timeout=200)
    assert process.returncode == status, errors or output
    return errors


def wait_until(condition, process=None, seconds=120):
    """Wait until something holds, while a process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended with {process.returncode} before its time: {process.communicate()}")
        time.sleep(0.01)


def stamp(path: Path) -> int:
    """When a file was written, 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def entry(workspace: Workspace) -> str:
    """The file by which the rules start the code of a workspace."""
    return str(workspace.root / "src/robust_transfer/run/__main__.py")


def servers(workspace: Workspace) -> list[psutil.Process]:
    """The warm processes of a workspace's code; the nodes that they forked look alike, but for their parent."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.cmdline()[1:] == ["-P", entry(workspace), "warm"]:
                found[process.pid] = (process.ppid(), process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return [process for parent, process in found.values() if parent not in found]


def nodes_of(server: psutil.Process) -> list[psutil.Process]:
    """The nodes that a warm process runs now."""

    def lives(child: psutil.Process) -> bool:
        try:
            return child.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:  # it ended between the list and the look
            return False

    return [child for child in server.children() if lives(child)]


def stop_servers(workspace: Workspace) -> None:
    for server in servers(workspace):
        server.kill()
        server.wait(10)


def started(workspace: Workspace, output: Path, words: list[str]) -> subprocess.Popen:
    """Snakemake in a session of its own, as a terminal has."""
    with open(output, "w", encoding="utf-8") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2", *words],
            cwd=workspace.root,
            env=workspace.environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


class Undisturbed:
    """What a run in one go makes of some evaluations, with a training of some seconds among what they need.

    words: the targets. checkpoint: of that training, while it runs.
    """

    def __init__(self, workspace: Workspace):
        self.workspace, plan = workspace, workspace.plan()
        (target,) = [n for n in plan.nodes.values() if n.kind == "transfer" and "pgd-to-pgd.head" in n.slug]
        mine = [n for n in plan.nodes.values() if n.kind == "evaluate" and target.id in n.parents.values()]
        wanted = [n for n in mine if "pgd" in n.slug]
        self.words = [f"results/{node.card}" for node in wanted]
        self.nodes = list(plan.ancestry(n.id for n in wanted))
        (self.source,) = [n for n in self.nodes if re.fullmatch(r"digits-0to4\..*\.pgd", n.slug)]
        self.checkpoint = workspace.results / "checkpoints" / f"{self.source.id}.safetensors"
        workspace.snakemake(*self.words, "--quiet", "all")
        self.made = {node.id: (workspace.results / node.artifact).read_bytes() for node in self.nodes}
        shutil.rmtree(workspace.results)

    def assert_same_after_the_same_command(self) -> None:
        """Typed once more, the command ends with the same bits and leaves nothing over; then all is taken away."""
        results = self.workspace.results
        self.workspace.snakemake(*self.words, "--quiet", "all")
        for node in self.nodes:
            assert (results / node.artifact).read_bytes() == self.made[node.id], node.id
        left = [*results.rglob("*.tmp"), *(results / "checkpoints").iterdir(), *(results / "locks").iterdir()]
        assert left == []
        assert self.workspace.planned(*self.words) == []
        assert self.workspace.robust_transfer("audit").stdout.endswith(" 0 damaged\n")
        shutil.rmtree(results)
