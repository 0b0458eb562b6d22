"""Killed and interrupted trainings, as real processes: they continue, and end with the same bits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workspace import TINY, Workspace, merged

LONG = {
    "machine": {"checkpoint_seconds": 0.2},
    "davchev": {"schedules": {"adversarial": {"epochs": 40, "milestones": [20]}}},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(workspace, node, its weights) after an uninterrupted PGD training."""
    workspace = Workspace(tmp_path_factory.mktemp("resume") / "clone")
    workspace.lay(merged(TINY, LONG))
    node = next(
        n for n in workspace.plan().nodes.values() if n.kind == "pretrain" and "0to4" in n.slug and "pgd" in n.slug
    )
    workspace.snakemake(f"results/{node.artifact}", "--quiet", "all")
    return workspace, node, (workspace.results / node.artifact).read_bytes()


@pytest.fixture
def untrained(trained):
    """The same, with the training to be done again."""
    workspace, node, weights = trained
    for path in (node.artifact, node.card, f"checkpoints/{node.id}.safetensors", f"logs/pretrain/{node.id}.log"):
        (workspace.results / path).unlink(missing_ok=True)
    return workspace, node, weights


def start(workspace: Workspace, node, warm: bool = False) -> subprocess.Popen[str]:
    """The stage's own process, as a rule starts it."""
    words = ["pretrain", node.id, "--log", f"results/logs/pretrain/{node.id}.log"]
    return subprocess.Popen(
        [sys.executable, "-m", "robust_transfer.stages", *words],
        cwd=workspace.root,
        env=workspace.environment() | {"ROBUST_TRANSFER_WARM": str(int(warm))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(path: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def log_of(workspace: Workspace, node) -> str:
    return (workspace.results / f"logs/pretrain/{node.id}.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("later", [0.0, 0.7])
def test_kill_9(untrained, later):
    workspace, node, weights = untrained
    checkpoint = workspace.results / f"checkpoints/{node.id}.safetensors"
    process = start(workspace, node)
    wait_for(checkpoint)
    time.sleep(later)
    process.kill()
    process.communicate()
    assert not (workspace.results / node.artifact).exists()
    output, _ = (again := start(workspace, node)).communicate(timeout=200)
    assert again.returncode == 0, output
    assert "continuing at iteration" in log_of(workspace, node)
    assert (workspace.results / node.artifact).read_bytes() == weights
    assert not checkpoint.exists()


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_asked_to_stop(untrained, number, warm):
    workspace, node, weights = untrained
    checkpoint = workspace.results / f"checkpoints/{node.id}.safetensors"
    process = start(workspace, node, warm)
    wait_for(checkpoint)
    checkpoint.unlink()  # the state that is found below was saved on request
    process.send_signal(number)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 128 + number
    assert "the same command continues" in output
    assert checkpoint.exists()
    output, _ = (again := start(workspace, node, warm)).communicate(timeout=200)
    assert again.returncode == 0, output
    assert (workspace.results / node.artifact).read_bytes() == weights


def test_killing_the_client_kills_the_node(untrained):
    workspace, node, _ = untrained
    process = start(workspace, node, warm=True)
    checkpoint = workspace.results / f"checkpoints/{node.id}.safetensors"
    wait_for(checkpoint)
    process.kill()
    process.communicate()
    time.sleep(1)
    stamp = checkpoint.stat().st_mtime_ns
    time.sleep(1.5)
    assert checkpoint.stat().st_mtime_ns == stamp, "the node still trains"
    assert not (workspace.results / node.artifact).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_full_disk(untrained):
    workspace, node, weights = untrained
    folder = workspace.results / node.folder
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        output, _ = (process := start(workspace, node)).communicate(timeout=200)
        assert process.returncode == 1
        assert "no space is left" in output
        assert "Traceback" not in output
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", folder], check=True)
    output, _ = (again := start(workspace, node)).communicate(timeout=200)
    assert again.returncode == 0, output
    assert (workspace.results / node.artifact).read_bytes() == weights
