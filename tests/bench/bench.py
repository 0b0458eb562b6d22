"""`make bench`: theirs and ours in turn, on the same weights, batches and threads; ratios beside the committed ones.

It writes results/bench.json, prints the table, and names what is slower than in docs/speed.json by more than a tenth,
measured on the same machine; then it ends with 1. `make bench ARGS=--write` puts the table into docs/speed.md in place
of this machine's older one, or beside those of others. The cases are in cases.py, the graph's in bench_graph.py.
"""

import argparse
import datetime
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bench_graph

from robust_transfer import provenance
from robust_transfer.store import replacing, write_json

REPOSITORY = Path(__file__).parents[2]
RESULT = REPOSITORY / "results" / "bench.json"
PAGE = REPOSITORY / "docs" / "speed.md"
COMMITTED = REPOSITORY / "docs" / "speed.json"
"""What the page's tables are made from: {machine in words: report}."""
BEGIN, END = "<!-- bench: written by `make bench ARGS=--write` -->", "<!-- bench: end -->"
TOLERATED = 0.9
"""Of a committed ratio, or of the speed where there is no other side: what is less is named."""
GRAPH_BOUNDS = dict(zip(bench_graph.SIZES, (1.5, 4, 20), strict=True))
"""Seconds that planning and an up-to-date dry run of so many nodes may take."""


def main(words: list[str]) -> int:
    """Measure, write, print; the exit status."""
    options = arguments().parse_args(words)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as a node has it
    report = measured(options.device, options.threads, options.only, options.tiny)
    write_json(options.output, report)
    print("\n" + table(report["rows"]))
    committed = json.loads(COMMITTED.read_text(encoding="utf-8")) if COMMITTED.exists() else {}
    before = committed.get(report["machine"])
    found = slower(report["rows"], before["rows"]) if before else []
    print(f"\n{options.output} has it all; {said_of(report['machine'], before, found)}")
    if options.write:
        # Of a part that was measured alone, the others' rows stay.
        kept = [row for row in before["rows"] if key(row) not in {*map(key, report["rows"])}] if before else []
        ranks = {key(row): rank for rank, row in enumerate(before["rows"] if before else [])}
        rows = sorted(report["rows"] + kept, key=lambda row: ranks.get(key(row), len(ranks)))
        committed[report["machine"]] = report | {"rows": rows}
        write_json(COMMITTED, committed)
        with replacing(PAGE) as temporary:
            temporary.write_text(renewed(PAGE.read_text(encoding="utf-8"), committed), encoding="utf-8")
        return 0
    return 1 if found else 0


def arguments() -> argparse.ArgumentParser:
    """What it can be told."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="WORDS", default="", help="the cases whose name or size has these words")
    parser.add_argument("--device", help="cpu or cuda; a GPU, where there is one, unless given")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU, for each side (1)")
    parser.add_argument("--tiny", action="store_true", help="the smallest of everything, to see that it runs")
    parser.add_argument("--write", action="store_true", help="write the table into docs/speed.md")
    parser.add_argument("--output", type=Path, default=RESULT, help="the JSON file to write (results/bench.json)")
    return parser


def measured(name: str | None, threads: int, only: str = "", tiny: bool = False) -> dict[str, Any]:
    """A report: machine (in words), when, seconds, threads, versions, commit and rows."""
    import cases
    import timing
    import torch

    device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.set_num_threads(threads)
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    scale = cases.SCALES["tiny" if tiny else device.type]
    for case in cases.cases(scale, device, threads):
        if only in f"{case.name} {case.size}":
            for row in timing.measure(case, scale.seconds, device):
                rows.append(row)
                print(f"{time.perf_counter() - began:5.0f} s  {in_words(row)}", flush=True)
    for row in graph(() if tiny else bench_graph.SIZES, only):
        rows.append(row)
        print(f"{time.perf_counter() - began:5.0f} s  {in_words(row)}", flush=True)
    if absent := cases.missing():
        print(f"not installed, so not measured: {', '.join(absent)} (envs/build.sh bench)")
    return {
        "machine": machine(device, threads),
        "when": today(),
        "seconds": round(time.perf_counter() - began),
        "load": [round(each, 1) for each in os.getloadavg()],
        "versions": provenance.versions() | {n: version(n) for n in ("torchattacks", "foolbox") if n not in absent},
        "git": provenance.git_state(),
        "rows": rows,
    }


def today() -> str:
    """As 2026-01-31."""
    return datetime.date.today().isoformat()


def machine(device: Any, threads: int) -> str:
    """What ratios are compared on: the processor, or the GPU, and the threads."""
    import torch

    words = provenance.machine()["processor"] + f", {torch.backends.cpu.get_cpu_capability()}"
    if device.type == "cuda":
        words = f"{torch.cuda.get_device_name()}, with {words}"
    return f"{words}, {threads} thread{'s' * (threads > 1)}"


def graph(sizes: tuple[int, ...], only: str) -> Iterator[dict[str, Any]]:
    """A row for planning, and one for planning and an up-to-date dry run; there is no other side."""
    for size in sizes:
        if only not in f"graph: planning and dry run of {size:,}":
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = bench_graph.measure(Path(folder) / "clone", size)
        for name, entry in found.items():
            bound = GRAPH_BOUNDS[size] if "dry run" in name else None
            yield {"case": name, "size": entry["about"], "peer": None, "ours": entry["value"], "bound": bound}


# ---- what is said of it --------------------------------------------------------------------------------------------


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """By what two reports' rows belong together."""
    return row["case"], row["size"], row["peer"]


def slower(rows: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[str]:
    """What is slower than it was by more than a tenth, a line each: in its ratio, or, where there is no other side, in
    its seconds. And what takes longer than its bound.
    """
    known, found = {key(row): row for row in before}, []
    for row in rows:
        old = known.get(key(row))
        if row.get("bound") and row["ours"] > row["bound"]:
            found.append(f"{title(row)}: {row['ours']:.3g} s, over its bound of {row['bound']:g} s")
        if old and row["peer"] and row["ratio"] < TOLERATED * old["ratio"]:
            low, high = row["quartiles"]
            found.append(f"{title(row)}: {row['ratio']:.2f} ({low:.2f} to {high:.2f}), was {old['ratio']:.2f}")
        elif old and not row["peer"] and old["ours"] < TOLERATED * row["ours"]:
            found.append(f"{title(row)}: {row['ours']:.3g} s, was {old['ours']:.3g} s")
    return found


def said_of(name: str, before: dict[str, Any] | None, found: list[str]) -> str:
    """In words, how it compares."""
    if before is None:
        return f"docs/speed.json has nothing of this machine ({name}) to compare with."
    if not found:
        return f"nothing is slower than on {before['when']} by more than a tenth."
    return f"slower than on {before['when']} by more than a tenth:\n  " + "\n  ".join(found)


def title(row: dict[str, Any]) -> str:
    """A row's case in words."""
    return f"{row['case']} ({row['size']})" + (f" against {row['peer']}" if row["peer"] else "")


def in_words(row: dict[str, Any]) -> str:
    """A row as a line."""
    if not row["peer"]:
        return f"{title(row)}: {row['ours']:.3g} s"
    low, high = row["quartiles"]
    return f"{title(row)}: {row['ratio']:.2f} ({low:.2f} to {high:.2f}), {row['theirs']:.3g} s and {row['ours']:.3g} s"


HEAD = """\
| what | on | against | theirs / ours (quartiles) | theirs | ours | their result, ours |
|---|---|---|---|---|---|---|"""


def table(rows: list[dict[str, Any]]) -> str:
    """All rows as a Markdown table."""
    lines = [HEAD]
    for row in rows:
        ours = _time(row["ours"])
        if row["peer"]:
            low, high = row["quartiles"]
            ratio, theirs = f"**{row['ratio']:.2f}** ({low:.2f} to {high:.2f})", _time(row["theirs"])
            results = ", ".join(f"{value:.4g}" for value in row["results"])
        else:
            ratio, theirs, results = "", "", f"at most {row['bound']:g} s" if row["bound"] else ""
        cells = (row["case"], row["size"], row["peer"] or "", ratio, theirs, ours, results)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def renewed(page: str, committed: dict[str, Any]) -> str:
    """A page with the tables of all machines between its markers.

    Raises:
        ValueError: where the markers are not there, each once.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"{PAGE} wants the lines {BEGIN} and {END}, each once")
    before, _, rest = page.partition(BEGIN)
    parts = []
    for name, report in committed.items():
        versions = ", ".join(f"{what} {number}" for what, number in report["versions"].items() if what in SHOWN)
        about = f"{name}, on {report['when']}, load {report['load'][0]:g} at its end; {versions}."
        parts.append(f"{about}\n\n{table(report['rows'])}")
    return before + "\n\n".join([BEGIN, *parts, END]) + rest.partition(END)[2]


SHOWN = ("python", "torch", "torchvision", "advertorch", "torchattacks", "foolbox")
"""The versions that a page names."""

if __name__ == "__main__":
    logging.disable(logging.INFO)
    sys.exit(main(sys.argv[1:]))
