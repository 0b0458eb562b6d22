"""`make gpu-check`: whether all is well on this machine's GPU, in under eight minutes.

The tests marked `gpu`; determinism: the same nodes made twice, by two processes, have the same bits; speeds against
stock advertorch and textbook PyTorch, with the cases of `make bench`; and Davchev et al.'s Table 1 of shortened
trainings, through Snakemake, on a data set of yours: `make gpu-check DATA="source.npz target.npz"`, or one file whose
classes are halved; without it on scikit-learn's digits. Writes results/gpu-check.json and results/gpu-check.md.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).parents[1]))
import numpy as np

import bench
from robust_transfer import provenance, store
from robust_transfer.errors import UserError
from robust_transfer.plan import build, freeze
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import CifarResNet, Digits, Inputs, Pgd, Recipe, Schedule, Smoothing
from robust_transfer.specs.precision import Precision
from workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "results"
LARGEST = 64 * 2**20
"""Bytes of all data together."""
MINUTES = 8


@dataclass
class Part:
    """What was looked at. well: whether it is as it should be, None where it could not be seen. seconds: that it took.
    words: what is said of it. figures: what was measured.
    """

    name: str
    well: bool | None = None
    seconds: float = 0.0
    words: str = ""
    figures: Any = field(default_factory=dict)


def main(words: list[str]) -> int:
    """Look at everything; the exit status, 1 where something is not well."""
    options = arguments().parse_args(words)
    if options.make:
        made(options.make, options.device, options.tiny)
        return 0
    try:
        where = device_of(options.device)
        data = [npz(path) for path in options.data]
        if sum(file.stat().st_size for file in options.data) > LARGEST:
            raise UserError(f"the data are over {LARGEST >> 20} MiB together; give smaller sets")
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    end = time.monotonic() + 60 * options.minutes
    parts = []
    for look in looks(where, data, options.tiny):
        parts.append(look(end))
        print(in_a_line(parts[-1]), flush=True)
    report = {
        "machine": provenance.machine() | {"device": named(where)},
        "when": bench.today(),
        "versions": provenance.versions(),
        "git": provenance.git_state(),
        "well": all(part.well is not False for part in parts),
        "parts": [asdict(part) for part in parts],
    }
    store.write_json(options.output.with_suffix(".json"), report)
    with store.replacing(options.output.with_suffix(".md")) as temporary:
        temporary.write_text(page(report), encoding="utf-8")
    print(f"{options.output.with_suffix('.json')} and .md have it all")
    return 0 if report["well"] else 1


def arguments() -> argparse.ArgumentParser:
    """What it can be told."""
    parser = argparse.ArgumentParser(prog="make gpu-check ARGS=...", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, nargs="*", help="one or two .npz files (docs/data.md): source and target")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu, which shows only that the check itself runs")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="after which nothing new begins (8)")
    parser.add_argument("--tiny", action="store_true", help="the smallest of everything")
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu-check", help="the files to write, .json and .md")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)  # how it calls itself
    return parser


def device_of(name: str) -> str:
    """The device to look at.

    Raises:
        UserError: where there is none.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("torch finds no CUDA GPU here; on a machine without one, --device cpu --tiny tries the check")
    return name


def named(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


Look = Callable[[float], Part]
"""Given when to end (time.monotonic), what was found."""


def looks(device: str, data: list[dict[str, Any]], tiny: bool) -> Iterator[Look]:
    """All parts, in order; the table gets the time that the others leave."""
    yield lambda end: timed("tests", lambda part: tests(part, device, end))
    yield lambda end: timed("determinism", lambda part: determinism(part, device, tiny, end))
    yield lambda end: timed(SPEED, lambda part: speed(part, device, tiny, end))
    yield lambda end: timed("Davchev et al., Table 1", lambda part: table_1(part, device, data, tiny, end))


def timed(name: str, look: Callable[[Part], None]) -> Part:
    """A part, filled by a look, which may fail in any way without keeping the others from being looked at."""
    part, began = Part(name), time.monotonic()
    try:
        look(part)
    except subprocess.TimeoutExpired:
        part.well, part.words = None, f"not done in the time; {part.words}".rstrip("; ")
    except Exception as error:
        part.well, part.words = False, f"{type(error).__name__}: {str(error)[-1500:]}"
    part.seconds = round(time.monotonic() - began, 1)
    return part


def run(*words: str, end: float, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in the repository, ended when its time is over; both streams in its stdout.

    Raises:
        subprocess.TimeoutExpired: then.
    """
    return subprocess.run(
        words,
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=max(1.0, end - time.monotonic()),
    )


# ---- the tests marked gpu ------------------------------------------------------------------------------------------


def tests(part: Part, device: str, end: float) -> None:
    """Those of the whole project; well where none fails and some pass."""
    files = [str(file) for file in (REPOSITORY / "tests").rglob("test_*.py") if "mark.gpu" in file.read_text("utf-8")]
    done = run(sys.executable, "-m", "pytest", "-q", "-m", "gpu", *files, end=end, ROBUST_TRANSFER_TEST_DEVICE=device)
    last = done.stdout.strip().splitlines()[-1]
    part.figures = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", last)}
    part.words = last.strip("= ") if done.returncode == 0 else done.stdout[-3000:]
    part.well = done.returncode == 0 and part.figures.get("passed", 0) > 0


# ---- determinism ---------------------------------------------------------------------------------------------------


def determinism(part: Part, device: str, tiny: bool, end: float) -> None:
    """A model trained on adversarial images, examples of it, outcomes and certificates, made twice from nothing by two
    processes: well where all artifacts have the same bits.
    """
    with tempfile.TemporaryDirectory() as folder:
        digests = []
        for name in ("one", "other"):
            words = ["--make", f"{folder}/{name}", "--device", device, *(["--tiny"] if tiny else [])]
            done = run(sys.executable, str(Path(__file__)), *words, end=end)
            if done.returncode:
                raise RuntimeError(done.stdout)
            digests.append(json.loads(done.stdout.splitlines()[-1]))
    one, other = digests
    different = [name for name in one if one[name] != other.get(name)]
    part.figures = {"artifacts": len(one), "different": different}
    part.well = not different and len(one) >= 5
    part.words = f"{len(one) - len(different)} of {len(one)} artifacts have the same bits" + (
        f"; others: {', '.join(different)}" if different else ""
    )


def made(folder: Path, device: str, tiny: bool) -> None:
    """Make the nodes of a small plan in a folder, and say the sha256 of each artifact as JSON."""
    from robust_transfer.run import nodes

    plan = small_plan(device, tiny)
    results = folder / "results"
    name = freeze.freeze(plan, results).stem
    digests = {}
    for node in plan.ancestry(plan.nodes):
        nodes.make(node, plan, name, results, threads=1)
        digests |= {node.id: store.read_card(results / node.card)["outputs"]}
    print(json.dumps(digests))


def small_plan(device: str, tiny: bool) -> Plan:
    """A model of PGD-7 on scikit-learn's digits, and what an attack and noise do to it."""
    machine = {"threads": 1, "gpus": 0, "memory_mb": 1000, "device": device, "checkpoint_seconds": 600}
    plan = Plan({"config": {}, "main_study": "s", "machine": machine, "data_root": "data"})
    data = build.prepare(plan, Digits(reader="sklearn-digits", **({"limit": 8} if tiny else {})))
    network = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1] if tiny else [3, 3, 3], width=4 if tiny else 16)
    attack = Pgd(algorithm="pgd", eps=0.1, steps=7, step_size=0.025, random_start=True)
    schedule = Schedule(epochs=1 if tiny else 3, batch_size=16 if tiny else 64, lr=0.1)
    recipe = Recipe(network=network, inputs=Inputs(attack=attack, clean_weight=0.5), schedule=schedule)
    model = build.pretrain(plan, data, recipe)
    build.evaluate(plan, model, data)
    build.attacked(plan, model, data, attack, 0)
    build.certify(plan, model, data, Smoothing(sigma=0.1, n0=16, n=128, images=4), 0)
    return plan


# ---- speed ---------------------------------------------------------------------------------------------------------


MEASURED = ("training step, natural", "training step, PGD-7", "crafting, PGD-20", "certifying an image")
"""The cases of `make bench` that are measured, those of the first network first."""


def speed(part: Part, device: str, tiny: bool, end: float) -> None:
    """As many of these cases, in each precision, as a part of the time allows; no ratio is called well or not."""
    import cases
    import timing
    import torch

    where, scale = torch.device(device), cases.SCALES["tiny" if tiny else device]
    chosen = [
        (precision, case)
        for precision in get_args(Precision)
        for case in cases.cases(scale, where, 1, precision)
        if case.name in MEASURED and (precision == "float32" or "certifying" not in case.name)  # that judges
    ]
    part.figures, part.words, part.well = [], "", True
    until = time.monotonic() + 0.4 * (end - time.monotonic())
    for precision, case in chosen:
        if time.monotonic() > until:
            part.words = "the time was over before all cases were measured"
            return
        rows = timing.measure(case, min(3.0, scale.seconds), where, fewest=2 if tiny else timing.FEWEST)
        part.figures += [row | {"size": f"{row['size']}, ours in {precision}"} for row in rows]


# ---- the table -----------------------------------------------------------------------------------------------------

EPOCHS = 5
IMAGES = 12_000
"""Training images of each set, at most; and so many times fewer test images are shown."""


def table_1(part: Part, device: str, data: list[dict[str, Any]], tiny: bool, end: float) -> None:
    """24 networks, small ResNets, on the data given. Well where adversarial training made one robust."""
    import pandas as pd

    part.words = f"of {', '.join(each['file'] for each in data) or 'the digits of scikit-learn'}"
    with tempfile.TemporaryDirectory() as folder:
        there = Workspace(Path(folder) / "clone")
        there.lay(config(device, data, tiny))
        goal = there.results / "tables/davchev/table1"
        cores = str(min(4, os.cpu_count() or 1))
        remaining = max(1.0, end - time.monotonic())
        there.snakemake("results/tables/davchev/table1.csv", "--cores", cores, "--quiet", "all", timeout=remaining)
        rows = pd.read_parquet(goal.with_suffix(".parquet"))
        part.figures = {"markdown": goal.with_suffix(".md").read_text(encoding="utf-8")}
    values = rows.set_index(["row", "column"]).value
    robust = [float(values[network, "WB-PGD"]) for network in ("R_nat", "R_pgd")]
    part.figures |= {"networks": int(rows.row.nunique()), "WB-PGD": robust}
    part.words = f"{part.words}: under WB-PGD R_nat has {robust[0]:.1f} %, R_pgd {robust[1]:.1f} %"
    part.well = tiny or robust[1] > robust[0]


def config(device: str, data: list[dict[str, Any]], tiny: bool) -> dict[str, Any]:
    """What is laid over config.yaml."""
    if not data:
        sets: dict[str, Any] = {"source": {"reader": "sklearn-digits", "classes": [0, 1, 2, 3, 4], "count": 5}}
        sets["target"] = {"reader": "sklearn-digits", "classes": [5, 6, 7, 8, 9], "count": 5}
        sets = {name: each | {"label": name, "validation": 0.15, "test": 0.35} for name, each in sets.items()}
        eps = 0.25
    else:
        halves = ({"half": "first"}, {"half": "second"}) if len(data) == 1 else ({}, {})
        files = (data * 2)[:2]
        sets = {
            name: each | half | {"label": name, "validation": 0.1}
            for name, each, half in zip(("source", "target"), files, halves, strict=True)
        }
        eps = "8/255"
    for each in sets.values():
        count = each.pop("count")
        each["limit"] = 12 if tiny else max(20, IMAGES // count)
    epochs = 1 if tiny else EPOCHS
    batch = 16 if tiny else 128
    schedule = {"epochs": epochs, "batch_size": batch, "decay": "cosine", "milestones": [], "select": "last"}
    names = ("natural", "adversarial", "substitute", "transfer")
    attacks = ("train-FGSM", "train-PGD", "BB-FGSM", "BB-PGD", "WB-FGSM", "WB-PGD")
    return {
        "studies": ["davchev"],
        "main_study": "davchev",
        "data_root": "/",
        "machine": {"device": device, "threads": 1, "gpus": 0, "checkpoint_seconds": 600},
        "datasets": sets,
        "networks": {
            "small": {"family": "cifar-resnet", "depth_per_stage": [1, 1, 1], "width": 4 if tiny else 32},
            "other": {"family": "cifar-densenet", "layers_per_block": [1, 1] if tiny else [2, 2, 2], "growth": 12},
        },
        "davchev": {
            "source": "source",
            "target": "target",
            "network": "small",
            "substitute": "other",
            "attacks": {name: {"eps": eps} for name in attacks},
            "schedules": dict.fromkeys(names, schedule),
        },
    }


def npz(path: Path) -> dict[str, Any]:
    """A data set of a file, by the names that its arrays have.

    Raises:
        UserError: where it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            splits = {name.rpartition("_")[0] for name in file.files if name.endswith("_labels")}
            count = len(np.unique(file["train_labels"])) if "train" in splits else 0
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no .npz file ({error}); give one as docs/data.md has it") from None
    test = next((name for name in ("test", "val", "validation") if name in splits), None)
    if "train" not in splits or not test:
        found = ", ".join(sorted(splits)) or "none"
        raise UserError(f"{path} has no train and test labels (of {found}); see docs/data.md for the arrays' names")
    return {"reader": "npz", "file": str(path.resolve().relative_to("/")), "test": test, "count": count}


# ---- what is said of it --------------------------------------------------------------------------------------------


def in_a_line(part: Part) -> str:
    """Of a part."""
    word = {True: "well", False: "NOT WELL", None: "not seen"}[part.well]
    return f"{part.name}: {word}, {part.seconds:.0f} s. {part.words}"


def page(report: dict[str, Any]) -> str:
    """The report for people to read."""
    where, versions = report["machine"], report["versions"]
    parts = [Part(**each) for each in report["parts"]]
    lines = [
        f"# {where['device']}, {report['when']}",
        f"{where['processor']}, {where['cores']} cores; Python {versions['python']}, torch {versions['torch']}.",
        "\n".join(f"- {in_a_line(part)}" for part in parts),
    ]
    for part in parts:
        if part.name == SPEED and part.figures:
            lines += ["## Speed", bench.table(part.figures)]
        elif "markdown" in part.figures:
            lines += [part.figures["markdown"].replace("# ", f"## {part.name}: ", 1)]
    return "\n\n".join(lines).rstrip() + "\n"


SPEED = "speed"

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
