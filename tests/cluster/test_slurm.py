"""The workflow's Slurm profile on a real Slurm: jobs are warned, requeued and killed, and still the work is done.

The first tests are about the cluster itself. The last runs a small stand-in for the pipeline: a rule of the same name,
the real profile, and a trainer that keeps the promises of the real one: asked to stop it saves and fails, and started
again it continues from what it saved.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from slurm_cluster import DIE_WITH_PARENT, SlurmCluster

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

PROFILE = Path(__file__).parents[2] / "workflow/profiles/slurm"

# `exec`, as in the pipeline's rules: a shell between Snakemake and the trainer would die of the signal, Snakemake and
# the job would end with it, and the trainer would be killed while it saves.
SNAKEFILE = f"""
rule all:
    input: "warned.model", "requeued.model", "powercut.model"

rule pretrain:
    output: "{{name}}.model"
    resources: mem_mb=500
    shell: "exec {sys.executable} train.py {{wildcards.name}} {{output}}"
"""

# Counts until told to finish. Its diary has a line for each start and each save on request.
TRAINER = """
import signal, sys, time
from pathlib import Path

name, output = sys.argv[1], Path(sys.argv[2])
checkpoint, diary = Path(name + ".checkpoint"), open(name + ".diary", "a", buffering=1)
asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))

def save():
    checkpoint.with_suffix(".new").write_text(str(count))
    checkpoint.with_suffix(".new").replace(checkpoint)

count = int(checkpoint.read_text()) if checkpoint.exists() else 0
print("start", count, file=diary)
while not Path("finish").exists():
    time.sleep(0.1)
    count += 1
    if asked:
        time.sleep(3)  # a large model takes its time
        save()
        print("saved", count, file=diary)
        sys.exit(128 + asked[0])
    if count % 10 == 0:
        save()
output.write_text(str(count))
"""


def test_both_nodes_take_jobs(cluster: SlurmCluster) -> None:
    assert cluster.sinfo() == {"n1": "idle", "n2": "idle"}
    names = cluster.run("srun", "--nodes=2", "sh", "-c", "echo $SLURMD_NODENAME").split()
    assert sorted(names) == ["n1", "n2"]


def test_who_asks_for_a_gpu_sees_one(cluster: SlurmCluster) -> None:
    show = ("sh", "-c", "echo gpu:$CUDA_VISIBLE_DEVICES")
    assert cluster.run("srun", "--gpus=1", *show).strip() == "gpu:0"
    assert cluster.run("srun", *show).strip() == "gpu:"


WARNED = """
import os, signal, sys, time
from pathlib import Path
from robust_transfer.run import requeue

os.environ["ROBUST_TRANSFER_WARM"] = "0"  # as the workflow sets it for its jobs
with open("starts", "a") as file:
    print("start", file=file)
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1 if requeue.when_time_is_over() else 2))
if len(Path("starts").read_text().splitlines()) < 2:
    time.sleep(600)
"""


def test_a_job_comes_back_when_its_time_is_over(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Under its number, and it ends well the second time."""
    (tmp_path / "job.py").write_text(WARNED)
    (tmp_path / "job.sh").write_text(f"#!/bin/sh\nexec srun {sys.executable} job.py\n")
    asked = ("--requeue", "--time=1", "--signal=TERM@50", "--comment=mine", f"--chdir={tmp_path}")
    cluster.run("sbatch", *asked, str(tmp_path / "job.sh"))
    first = cluster.latest_job("mine").id
    cluster.wait_until(lambda: cluster.latest_job("mine").state == "COMPLETED", "it is done", seconds=240)
    assert (cluster.latest_job("mine").id, cluster.latest_job("mine").restarts) == (first, 1)
    assert (tmp_path / "starts").read_text() == "start\n" * 2


def test_a_job_that_is_cancelled_does_not_come_back(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Slurm then says that its end is now, just as of one whose time is over."""
    (tmp_path / "job.py").write_text(WARNED)
    (tmp_path / "job.sh").write_text(f"#!/bin/sh\nexec srun {sys.executable} job.py\n")
    asked = ("--requeue", "--time=60", "--comment=cancelled", f"--chdir={tmp_path}")
    cluster.run("sbatch", *asked, str(tmp_path / "job.sh"))
    cluster.wait_until(lambda: (tmp_path / "starts").exists(), "it runs", seconds=60)
    time.sleep(2)  # until it listens
    cluster.scancel(cluster.latest_job("cancelled"))
    cluster.wait_until(lambda: cluster.latest_job("cancelled").state == "CANCELLED", "it is ended", seconds=60)
    time.sleep(5)
    assert (cluster.latest_job("cancelled").state, cluster.latest_job("cancelled").restarts) == ("CANCELLED", 0)
    assert (tmp_path / "starts").read_text() == "start\n"


def test_stopped_trainings_continue(cluster: SlurmCluster, tmp_path: Path) -> None:
    """One is warned that its time ends, one is requeued, one loses its node: all finish, and none starts anew."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "train.py").write_text(TRAINER)
    names = ("warned", "requeued", "powercut")

    def diary(name: str) -> list[tuple[str, int]]:
        lines = (tmp_path / f"{name}.diary").read_text().splitlines()
        return [(word, int(count)) for word, count in map(str.split, lines)]

    def starts(name: str) -> list[int]:
        return [count for word, count in diary(name) if word == "start"]

    def all_have_saved() -> bool:
        return all((tmp_path / f"{name}.checkpoint").exists() for name in names)

    def all_have_started_again() -> bool:
        return all(len(starts(name)) > 1 for name in names)

    with snakemake(cluster, tmp_path) as driver:
        cluster.wait_until(all_have_saved, "all train", seconds=60)
        warned = cluster.latest_job("_warned")
        cluster.warn(warned)
        cluster.wait_until(lambda: cluster.latest_job("_warned").state == "FAILED", "the warned job fails", seconds=60)
        assert diary("warned")[-1][0] == "saved"
        cluster.requeue(cluster.latest_job("_requeued"))
        node = cluster.latest_job("_powercut").node
        cluster.kill_node(node)
        cluster.wait_until(lambda: cluster.sinfo()[node] == "down*", f"{node} is down", seconds=60)
        cluster.start_node(node)
        cluster.wait_until(all_have_started_again, "all train again", seconds=90)
        (tmp_path / "finish").touch()
        assert driver.wait(timeout=120) == 0, (tmp_path / "driver.log").read_text()

    for name in names:
        first, *later = starts(name)
        assert first == 0
        assert 0 < min(later) <= max(later) <= int((tmp_path / f"{name}.model").read_text())
    # The warned training was given the time to save; Snakemake sent a new job, which continued from just there.
    (_, _), (_, saved), (_, continued), *_ = diary("warned")
    assert saved == continued
    assert cluster.latest_job("_warned").id != warned.id
    # The others were restarted by Slurm, under their old numbers.
    assert cluster.latest_job("_requeued").restarts >= 1
    assert cluster.latest_job("_powercut").restarts >= 1


@contextmanager
def snakemake(cluster: SlurmCluster, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Snakemake with the real profile, its output in driver.log. It does not outlive the block."""
    (folder / "slurm").symlink_to(PROFILE)
    sooner = ("--slurm-init-seconds-before-status-checks=5", "--latency-wait=5")
    command = [*DIE_WITH_PARENT, sys.executable, "-m", "snakemake", "--profile", "slurm", *sooner]
    with (folder / "driver.log").open("wb") as log:
        driver = subprocess.Popen(command, cwd=folder, env=cluster.env, stdout=log, stderr=log)
        try:
            yield driver
        finally:
            driver.kill()
            driver.wait()
