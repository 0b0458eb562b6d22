"""Small nodes share a Slurm job, through the real plugin and profile, while one fails and the job is requeued."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import DIE_WITH_PARENT, SlurmCluster

from robust_transfer import locks
from robust_transfer.stages.node import Node
from workspace import TINY, Workspace

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SOONER = ("--slurm-init-seconds-before-status-checks=5", "--latency-wait=5", "--retries=1")


def test_small_nodes_share_jobs_and_one_that_fails_costs_itself_alone(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Three crafts and three evaluations are one Slurm job. It comes to a stop at an evaluation that somebody else
    holds, is requeued there, and goes on with what is left.
    """
    there = Workspace(tmp_path / "clone")
    there.lay(TINY)
    plan = there.plan()
    wanted = plan.ancestry(plan.products["tables/davchev/sources"].nodes)
    of_kind = {kind: [n for n in wanted if n.kind == kind] for kind in ("pretrain", "craft", "evaluate")}
    clean = [n for n in of_kind["evaluate"] if n.slug.endswith(".clean")]
    assert (len(of_kind["craft"]), len(clean), len(of_kind["evaluate"])) == (3, 3, 6)
    there.snakemake(*(f"results/{n.artifact}" for n in of_kind["pretrain"]), "--quiet", "all")

    broken, held = of_kind["craft"][0], clean[0]
    behind = [n for n in wanted if broken in plan.ancestry([n.id])]
    (there.results / "locks" / broken.id).mkdir(parents=True)  # for a file of that name: it ends with an error
    first = [n for n in (*of_kind["craft"], *clean) if n not in (broken, held)]

    environment = there.environment() | {"SLURM_CONF": cluster.env["SLURM_CONF"]}
    options = {"cwd": there.root, "env": environment, "stderr": subprocess.STDOUT}

    def command(*nodes: Node) -> list[str]:
        goal = [f"results/{n.artifact}" for n in nodes]
        return [*DIE_WITH_PARENT, sys.executable, "-m", "snakemake", *goal, "--profile", "slurm", *SOONER]

    def cards() -> dict[str, bytes]:
        paths = {n.id: there.results / n.card for n in wanted}
        return {i: path.read_bytes() for i, path in paths.items() if path.exists()}

    def has_come_to_a_stop() -> bool:
        log = there.results / "logs" / held.kind / f"{held.id}.log"
        return all(n.id in cards() for n in first) and log.exists()

    with (tmp_path / "driver.log").open("wb") as log:
        driver = subprocess.Popen(command(*of_kind["evaluate"]), stdout=log, **options)
        try:
            with locks.alone(there.results / "locks" / held.id):
                cluster.wait_until(has_come_to_a_stop, "all but two are made", seconds=300)
                before = cards()
                (bundle,) = cluster.squeue()
                assert "bundle_of_6" in bundle.comment
                cluster.requeue(bundle)
                cluster.wait_until(lambda: cluster.squeue()[0].restarts == 1, "it is back in the queue", seconds=60)
            status = driver.wait(timeout=600)
        finally:
            driver.kill()
            driver.wait()
    text = (tmp_path / "driver.log").read_text()

    assert status == 1, text[-6000:]
    assert {n.id for n in wanted} - cards().keys() == {n.id for n in behind}, text[-6000:]
    assert before.items() <= cards().items(), "what was made before the bundle was requeued is kept"
    assert re.findall(r"^Error in rule (\w+)", text, re.MULTILINE) == ["craft", "craft"], text[-6000:]  # each attempt
    assert cluster.squeue()[-1].id == "3"  # the bundle, the second attempt, and what follows the rest

    before = cards()
    (there.results / "locks" / broken.id).rmdir()
    again = subprocess.run(command(broken), stdout=subprocess.PIPE, text=True, timeout=600, **options)
    assert again.returncode == 0, again.stdout[-6000:]
    assert cards().keys() == {*before, broken.id} and before.items() <= cards().items()
    assert cluster.squeue()[-1].id == "4"
    assert not list((there.root / ".snakemake/bundles").iterdir())
