"""A part of the study on a real Slurm through the real plugin and profile, while a node dies and a job is requeued."""

import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import DIE_WITH_PARENT, SlurmCluster

from workspace import TINY, Workspace, merged

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

# Trainings long enough to be hit in the middle, with checkpoints every second.
LONG = {
    "machine": {"checkpoint_seconds": 1},
    "davchev": {
        "schedules": {
            "natural": {"epochs": 2, "milestones": [1]},
            "adversarial": {"epochs": 120, "milestones": [60]},
            "transfer": {"epochs": 120, "milestones": [60]},
        }
    },
}


def test_nothing_is_lost_when_a_node_dies_and_a_job_is_requeued(cluster: SlurmCluster, tmp_path: Path) -> None:
    """PGD source -> PGD target -> examples -> outcomes; the weights are those of a local run, bit for bit."""
    here = Workspace(tmp_path / "local")
    here.lay(merged(TINY, LONG))
    there = Workspace(tmp_path / "cluster")
    there.lay(merged(TINY, LONG))
    plan = here.plan()
    outcome = next(n for n in plan.nodes.values() if n.kind == "evaluate" and "pgd-to-pgd.all.fgsm" in n.slug)
    wanted = plan.ancestry([outcome.id])
    source = next(n for n in wanted if n.kind == "pretrain")
    target = next(n for n in wanted if n.kind == "transfer")
    here.snakemake(f"results/{outcome.artifact}", "--quiet", "all")

    def checkpoint_of(node) -> Path:
        return there.results / "checkpoints" / f"{node.id}.safetensors"

    def has_come_back(node) -> bool:
        return cluster.latest_job(node.id).restarts >= 1

    sooner = ("--slurm-init-seconds-before-status-checks=5", "--latency-wait=5")
    alone = ("--set-resources", "pretrain:bundle_minutes=0")  # the others share jobs, each with nobody else
    goal = (f"results/{outcome.artifact}", "--profile", "slurm", *sooner, *alone)
    environment = there.environment() | {"SLURM_CONF": cluster.env["SLURM_CONF"]}
    with (tmp_path / "driver.log").open("wb") as log:
        driver = subprocess.Popen(
            [*DIE_WITH_PARENT, sys.executable, "-m", "snakemake", *goal],
            cwd=there.root,
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            cluster.wait_until(checkpoint_of(source).exists, "the source model is in training", seconds=180)
            job = cluster.latest_job(source.id)
            assert "bundle_of" not in job.comment
            node = job.node
            cluster.kill_node(node)
            cluster.wait_until(lambda: cluster.sinfo()[node] == "down*", f"{node} is down", seconds=60)
            cluster.start_node(node)
            cluster.wait_until(lambda: has_come_back(source), "the source model is in the queue again", seconds=60)
            cluster.wait_until(checkpoint_of(target).exists, "the target model is in training", seconds=240)
            job = cluster.latest_job(target.id)
            assert "bundle_of_1" in job.comment
            cluster.requeue(job)
            cluster.wait_until(lambda: has_come_back(target), "the target model is in the queue again", seconds=60)
            assert driver.wait(timeout=600) == 0, (tmp_path / "driver.log").read_text()[-6000:]
        finally:
            driver.kill()
            driver.wait()

    for trained in (source, target):
        log = (there.results / "logs" / trained.kind / f"{trained.id}.log").read_text()
        assert "continuing at iteration" in log
    for made in wanted:
        if made.kind != "evaluate":
            assert (there.results / made.artifact).read_bytes() == (here.results / made.artifact).read_bytes(), made.id
