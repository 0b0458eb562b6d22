"""How fast the graph is: synthetic plans, planned and dry-run when all of them is up to date.

They have the shape of a big study (sources, target models, examples, evaluations, tables). Files are empty, cards are
like those of a real run, and Snakemake's own records of all jobs are there as after one: its --touch leaves them.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SIZES = (1_000, 5_000, 20_000)
"""Nodes."""

PLANNING = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
started = time.perf_counter()
from robust_transfer.plan import build, freeze
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import CifarResNet, Digits, Fgsm, Inputs, Recipe, Schedule

machine = {"threads": 1, "gpus": 0, "memory_mb": 1000, "device": "cpu"}
plan = Plan({"config": {}, "main_study": "s", "machine": machine, "data_root": "data"})
data = build.prepare(plan, Digits(reader="sklearn-digits"))
network = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1])
cells, seed = [], 0
while len(plan.nodes) < int(sys.argv[2]):
    seed += 1
    schedule = Schedule(epochs=1, batch_size=2, lr=0.1, seed=seed)
    source = build.pretrain(plan, data, Recipe(network=network, schedule=schedule))
    for depth in ("head", "all"):
        target = build.transfer(plan, data, Recipe(trainable=depth, schedule=schedule), start=source)
        for eps in (0.1, 0.2):
            examples = build.craft(plan, target, data, Fgsm(algorithm="fgsm", eps=eps), seed)
            outcome = build.evaluate(plan, target, data, examples)
            cells.append({"row": f"{seed} {depth}", "column": str(eps), "metric": "accuracy",
                          "nodes": {"outcomes": outcome.id}})
for name in range(10):
    plan.add_product("table", "s", f"t{name}", {"cells": cells[name::10]})
freeze.freeze(plan, Path("results"))
print(len(plan.nodes), time.perf_counter() - started)
"""

# Otherwise it sleeps for a tenth of a second at each job.
RECORDS = """
import sys
from snakemake.executors import touch
from snakemake.cli import main
touch.Executor.SLEEPING_TIME = 0
main(["--touch", "--forceall", "--cores", "2", "--quiet", "all"])
"""

CARDS = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from robust_transfer import provenance
from robust_transfer.plan import freeze
from robust_transfer.plan.graph import ENDINGS
from robust_transfer.stages.node import KINDS

plan = freeze.thaw(Path(sys.argv[2]))
some = {"sha256": "0" * 64, "bytes": 0}
about = {"plan": "0" * 12, "code": "0" * 12, "modules": ["robust_transfer.stages.craft"], "git": {}, "seal": "0" * 64,
         "versions": provenance.versions(), "machine": provenance.machine(), "metrics": {"accuracy": 0.0, "n": 0}}
def read(roles):
    return {role: {"id": i, "sha256": "0" * 64, "seal": "0" * 64} for role, i in roles.items()}
for node in plan.nodes.values():
    kind = KINDS[node.kind]
    card = {"id": node.id, "kind": node.kind, "version": kind.version, "spec": node.spec, "parents": node.parents,
            "full_spec": kind.full(node.spec), "outputs": {kind.artifact: some}, "read": read(node.parents),
            "data": {}, "files": []}
    path = Path("results", node.card)
    path.parent.mkdir(parents=True)
    path.with_name(kind.artifact).touch()
    path.write_text(json.dumps(card | about, indent=1))
for product in plan.products.values():
    card = product.param | {"outputs": {}, "read": read({i: i for i in product.nodes})}
    path = Path("results", product.stem + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    for ending in ENDINGS[product.kind]:
        path.with_suffix(f".{ending}").touch()
    path.write_text(json.dumps(card | about, indent=1))
"""


def measure(folder: Path, size: int, rounds: int = 3) -> dict[str, dict]:
    """Plan, make all (empty), and time the up-to-date dry run; the median of some rounds, in seconds.

    folder: to be made, to work in. size: nodes of the plan, at least.
    """
    folder.mkdir()
    for name in ("Snakefile", "workflow", "src", "envs"):
        source = REPOSITORY / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ROBUST_TRANSFER")}

    def run(*command: str) -> tuple[float, str]:
        started = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=3600)
        if done.returncode:
            raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
        return time.perf_counter() - started, done.stdout + done.stderr

    planning = (sys.executable, "-c", PLANNING, str(folder / "src"), str(size))
    _, said = run(*planning)
    nodes = int(said.split()[0])
    (plan,) = (folder / "results/plans").glob("*.json")
    environment["ROBUST_TRANSFER_PLAN"] = str(plan)
    run(sys.executable, "-c", CARDS, str(folder / "src"), str(plan))
    run(sys.executable, "-c", RECORDS)
    totals, plannings = [], []
    for _ in range(rounds):
        seconds, _ = run(*planning)
        dry, said = run(sys.executable, "-m", "snakemake", "-n", "--cores", "2")
        if "Nothing to be done" not in said:
            raise RuntimeError(f"the dry run is not up to date:\n{said[-2000:]}")
        plannings.append(seconds)
        totals.append(seconds + dry)
    about = f"{nodes} nodes, all up to date; median of {rounds}"
    found = {f"graph: planning {size:,}": plannings, f"graph: planning and dry run of {size:,}": totals}
    return {
        name: {"value": round(statistics.median(times), 3), "unit": "s", "about": about}
        for name, times in found.items()
    }
