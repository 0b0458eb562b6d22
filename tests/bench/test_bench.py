"""`make bench`: speeds as ratios or medians, into results/bench.json (name -> value, unit, machine)."""

import json
from pathlib import Path

import bench_attacks
import bench_graph
import pytest

from robust_transfer import provenance

pytestmark = pytest.mark.bench
REPORT = Path(__file__).parents[2] / "results" / "bench.json"


def record(found: dict[str, dict]) -> None:
    """Add to the report what was found, and on which machine."""
    report = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
    for name, entry in found.items():
        report[name] = {"machine": provenance.machine(), "versions": provenance.versions()} | entry
        print(f"{name}: {entry['value']} {entry['unit']}")
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("size", "seconds"), [*zip(bench_graph.SIZES, (1.5, 4, 20), strict=True)])
def test_graph(tmp_path, size, seconds):
    """Planning and an up-to-date dry run take less than this."""
    found = bench_graph.measure(tmp_path / "clone", size)
    record(found)
    assert found[f"graph: planning and dry run of {size:,}"]["value"] < seconds


def test_attacks():
    """PGD-7 is at least 1.7 times as fast as stock advertorch and 1.2 times as torchattacks, and as strong."""
    found = {row.pop("name"): row for row in bench_attacks.measure()}
    record(found)
    value = {name.removeprefix("attacks: "): row["value"] for name, row in found.items()}
    robust = [number for name, number in value.items() if name.endswith("robust accuracy")]
    assert max(robust) - min(robust) < 5, robust
    assert 10 < min(robust) < 90, robust
    assert value["speed over advertorch stock"] >= 1.7
    assert value["speed over torchattacks"] >= 1.2
