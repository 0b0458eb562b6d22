"""Small nodes share a Slurm job, through the real plugin and profile, whatever befalls a node, the job or Snakemake."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from slurm_cluster import DIE_WITH_PARENT, SlurmCluster

from robust_transfer import locks
from robust_transfer.plan.priorities import priorities
from robust_transfer.stages.node import Node
from workspace import TINY, Workspace

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SOONER = ("--slurm-init-seconds-before-status-checks=5", "--latency-wait=5", "--retries=1")

OUTER = """
rule all:
    input: {goal}

module robust:
    snakefile: {snakefile!r}
    config: {{}}

use rule * from robust as robust_*

rule note:
    input: "results/prepare/{{node}}/card.json"
    output: "notes/{{node}}.txt"
    log: "notes/{{node}}.log"
    shell: "cp {{input}} {{output}} 2> {{log}}"
"""


@contextmanager
def snakemake(cluster: SlurmCluster, there: Workspace, folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Snakemake with the real profile, its output in driver.log beside its folder. It does not outlive the block."""
    command = [*DIE_WITH_PARENT, sys.executable, "-m", "snakemake", *words, "--profile", "slurm", *SOONER]
    environment = there.environment() | {"SLURM_CONF": cluster.env["SLURM_CONF"]}
    with (folder.parent / "driver.log").open("wb") as log:
        driver = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            yield driver
        finally:
            driver.kill()
            driver.wait()


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

    def targets(*nodes: Node) -> list[str]:
        return [f"results/{n.artifact}" for n in nodes]

    def cards() -> dict[str, bytes]:
        paths = {n.id: there.results / n.card for n in wanted}
        return {i: path.read_bytes() for i, path in paths.items() if path.exists()}

    def has_come_to_a_stop() -> bool:
        log = there.results / "logs" / held.kind / f"{held.id}.log"
        return all(n.id in cards() for n in first) and log.exists()

    with snakemake(cluster, there, there.root, *targets(*of_kind["evaluate"])) as driver:
        with locks.alone(there.results / "locks" / held.id):
            cluster.wait_until(has_come_to_a_stop, "all but two are made", seconds=300)
            before = cards()
            (bundle,) = cluster.squeue()
            assert "bundle_of_6" in bundle.comment
            cluster.requeue(bundle)
            cluster.wait_until(lambda: cluster.squeue()[0].restarts == 1, "it is back in the queue", seconds=60)
        status = driver.wait(timeout=600)
    text = (tmp_path / "driver.log").read_text()

    assert status == 1, text[-6000:]
    assert {n.id for n in wanted} - cards().keys() == {n.id for n in behind}, text[-6000:]
    assert before.items() <= cards().items(), "what was made before the bundle was requeued is kept"
    assert re.findall(r"^Error in rule (\w+)", text, re.MULTILINE) == ["craft", "craft"], text[-6000:]  # each attempt
    assert cluster.squeue()[-1].id == "3"  # the bundle, the second attempt, and what follows the rest

    before = cards()
    (there.results / "locks" / broken.id).rmdir()
    with snakemake(cluster, there, there.root, *targets(broken)) as driver:
        assert driver.wait(timeout=600) == 0, (tmp_path / "driver.log").read_text()[-6000:]
    assert cards().keys() == {*before, broken.id} and before.items() <= cards().items()
    assert cluster.squeue()[-1].id == "4"
    assert not list((there.root / ".snakemake/bundles").iterdir())


def test_a_killed_snakemake_leaves_nothing_in_the_queue_that_harms(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Here it is a module of another workflow, whose rule goes alone. A bundle waits, its Snakemake is killed, another
    one makes all, in a time that is set by hand; and when its turn comes, the bundle makes nothing anew.
    """
    there = Workspace(tmp_path / "clone")
    there.lay(TINY)
    plan = there.plan()
    sources = [n for n in plan.nodes.values() if n.kind == "pretrain"]
    sets = [n for n in plan.nodes.values() if n.kind == "prepare"]
    folder = tmp_path / "outer"
    folder.mkdir()
    (folder / "slurm").symlink_to(there.root / "workflow/profiles/slurm")
    notes, models = [f"notes/{sets[0].id}.txt"], [f"results/{n.artifact}" for n in sources]
    snakefile = str(there.root / "Snakefile")
    (folder / "Snakefile").write_text(OUTER.format(goal=[*notes, *models], snakefile=snakefile))
    there.snakemake("--directory", str(folder), "-s", str(folder / "Snakefile"), "--until", "robust_prepare")

    def is_submitted(number: int) -> bool:
        return len(cluster.squeue()) == number

    def cards() -> dict[str, tuple[int, bytes]]:
        paths = {n.id: folder / "results" / n.card for n in sources}
        return {i: (path.stat().st_mtime_ns, path.read_bytes()) for i, path in paths.items()}

    cluster.run("scontrol", "update", "NodeName=n1,n2", "State=DRAIN", "Reason=test")
    with snakemake(cluster, there, folder, *models):
        cluster.wait_until(lambda: is_submitted(1), "a bundle is in the queue", seconds=300)
    (old,) = cluster.squeue()
    assert f"bundle_of_{len(sources)}" in old.comment
    cluster.run("scontrol", "hold", old.id)

    with snakemake(cluster, there, folder, "--set-resources", "robust_pretrain:runtime=25") as driver:
        cluster.wait_until(lambda: is_submitted(3), "a bundle and a rule of the other workflow are", seconds=300)
        times = dict(line.split() for line in cluster.run("squeue", "--noheader", "--format=%i %l").splitlines())
        note, new = sorted(cluster.squeue()[1:], key=lambda job: "bundle" in job.comment)
        assert "bundle" not in note.comment and f"bundle_of_{len(sources)}" in new.comment
        assert times[new.id] == "25:00"
        cluster.run("scontrol", "update", "NodeName=n1,n2", "State=RESUME")
        assert driver.wait(timeout=600) == 0, (tmp_path / "driver.log").read_text()[-6000:]
    before, order = cards(), priorities(plan)
    in_time = sorted(before, key=lambda i: before[i][0])
    assert [order[i] for i in in_time] == sorted((order[i] for i in before), reverse=True)
    assert len({order[i] for i in before}) > 1

    log = Path(re.findall(r"StdOut=(\S+)", cluster.run("scontrol", "show", "job", old.id))[0])
    log.parent.mkdir(parents=True, exist_ok=True)  # the plugin removes empty folders of logs as it ends
    cluster.run("scontrol", "release", old.id)
    cluster.wait_until(lambda: cluster.squeue()[0].state == "COMPLETED", "the old one has had its turn", seconds=120)
    assert cards() == before
    assert "nothing is made" in log.read_text()
