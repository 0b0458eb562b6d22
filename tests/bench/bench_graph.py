"""How fast the graph is: a synthetic plan of 5,000 nodes, planned and dry-run when all of it is up to date.

The plan has the shape of a big study (sources, target models, examples, evaluations, tables). Its stages are replaced
by one that only makes empty files, so that Snakemake's own records of all jobs are there as after a real run; then come
cards like those of a real run.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
NODES = 5_000

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

EMPTY_STAGE = """
import sys
from pathlib import Path

FILES = {"prepare": "data.safetensors", "pretrain": "model.safetensors", "transfer": "model.safetensors",
         "craft": "examples.safetensors", "evaluate": "outcomes.parquet"}
stage, what = sys.argv[1:3]
if stage == "tabulate":
    made = [Path(f"results/tables/{what}.{ending}") for ending in ("csv", "parquet", "md", "json")]
else:
    kind = Path(sys.argv[sys.argv.index("--log") + 1]).parent.name
    made = [Path("results", kind, what, name) for name in (FILES[kind], "card.json")]
for path in made:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
"""

CARDS = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from robust_transfer import provenance
from robust_transfer.plan import freeze
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
    Path("results", node.card).write_text(json.dumps(card | about, indent=1))
for product in plan.products.values():
    card = product.param | {"outputs": {}, "read": read({i: i for i in product.nodes})}
    Path("results", product.stem + ".json").write_text(json.dumps(card | about, indent=1))
"""


def measure(folder: Path, rounds: int = 3) -> dict[str, dict]:
    """Plan, make all (empty), and time the up-to-date dry run; the median of some rounds, in seconds.

    folder: to be made, to work in.
    """
    folder.mkdir()
    for name in ("Snakefile", "workflow", "src", "envs"):
        source = REPOSITORY / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    (folder / "src/robust_transfer/run/__main__.py").write_text(EMPTY_STAGE, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ROBUST_TRANSFER")}

    def run(*command: str) -> tuple[float, str]:
        started = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
        if done.returncode:
            raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
        return time.perf_counter() - started, done.stdout + done.stderr

    planning = (sys.executable, "-c", PLANNING, str(folder / "src"), str(NODES))
    _, said = run(*planning)
    nodes = int(said.split()[0])
    (plan,) = (folder / "results/plans").glob("*.json")
    environment["ROBUST_TRANSFER_PLAN"] = str(plan)
    snakemake = (sys.executable, "-m", "snakemake", "--quiet", "all", "--cores", "2")
    run(*snakemake)
    run(sys.executable, "-c", CARDS, str(folder / "src"), str(plan))
    totals, plannings = [], []
    for _ in range(rounds):
        seconds, _ = run(*planning)
        dry, said = run(sys.executable, "-m", "snakemake", "-n", "--cores", "2")
        if "Nothing to be done" not in said:
            raise RuntimeError(f"the dry run is not up to date:\n{said[-2000:]}")
        plannings.append(seconds)
        totals.append(seconds + dry)
    about = f"{nodes} nodes, all up to date; median of {rounds}"
    return {
        "graph: planning": {"value": round(statistics.median(plannings), 3), "unit": "s", "about": about},
        "graph: planning and dry run": {"value": round(statistics.median(totals), 3), "unit": "s", "about": about},
    }
