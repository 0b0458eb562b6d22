"""The benchmark itself: that both sides do the same work, that what is slower is named, that the page is renewed."""

import json
import time

import cases
import pytest
import torch
from timing import MOST, OURS, Case, Sides, measure

import bench

CPU = torch.device("cpu")
TINY = {f"{case.name}": case for case in cases.cases(cases.SCALES["tiny"], CPU, 1)}
pytestmark = pytest.mark.usefixtures("one_thread")


def row(case="c", ratio=2.0, ours=1.0, peer="p", **more):
    quartiles = [ratio - 0.1, ratio + 0.1]
    return {"case": case, "size": "s", "peer": peer, "theirs": 2.0, "ours": ours, "ratio": ratio} | {
        "quartiles": quartiles,
        "rounds": 3,
        "results": [1.0, 1.0],
        **more,
    }


@pytest.mark.parametrize("name", [name for name in TINY if name != "AutoAttack standard"])  # half a minute a call
def test_both_sides_do_the_same_work(name):
    """On the same weights and images: losses and robust accuracies agree as far as what is drawn at random allows."""
    rows = list(measure(TINY[name], 0, CPU, fewest=2))
    assert {row["peer"] for row in rows} >= {cases.ADVERTORCH if "crafting, F" in name else rows[0]["peer"]}
    for found in rows:
        theirs, ours = found["results"]
        exact = "natural" in name or "FGSM" in name
        assert theirs == pytest.approx(ours, rel=1e-3 if exact else 0.25, abs=1e-4 if exact else 0.05), found
        assert found["ratio"] > 0
        assert found["quartiles"][0] <= found["ratio"] <= found["quartiles"][1]


def test_pgd_is_measured_against_every_library_that_is_there():
    peers = set(cases.crafting(cases.SCALES["tiny"].attacked, "PGD-20", CPU).calls)
    assert peers == {OURS, cases.ADVERTORCH, cases.TORCHATTACKS, cases.FOOLBOX} - {*cases.missing()}


def test_ratios_are_taken_within_rounds_and_the_first_call_counts_for_none():
    slept = []

    def sleeps(seconds):
        def call():
            slept.append(seconds)
            time.sleep(seconds if len(slept) > 2 else 0.2)
            return seconds

        return call

    sides = Sides({OURS: sleeps(0.01), "other": sleeps(0.03)}, float)
    (found,) = measure(Case("sleep", "a while", lambda: sides), 0.15, CPU)
    assert found["peer"] == "other"
    assert found["results"] == [0.03, 0.01]
    assert 2 < found["ratio"] < 3.3
    assert 3 <= found["rounds"] < MOST
    assert slept[2:6] == [0.01, 0.03, 0.03, 0.01]  # in turn


def test_what_is_slower_by_more_than_a_tenth_is_named():
    before = [row("kept"), row("lost"), row("alone", peer=None, ratio=None or 0.0, ours=2.0), row("gone")]
    now = [
        *(row("kept", ratio=1.81), row("lost", ratio=1.79), row("new")),
        row("alone", peer=None, ratio=0.0, ours=2.3),
    ]
    found = bench.slower(now, before)
    assert [line.split(" (")[0] for line in found] == ["lost", "alone"]
    assert "1.79 (1.69 to 1.89), was 2.00" in found[0]
    assert bench.slower([row("graph", peer=None, ours=5.0, bound=4)], []) == ["graph (s): 5 s, over its bound of 4 s"]


def test_a_report_is_written_compared_and_put_into_the_page(tmp_path, monkeypatch, capsys):
    for name in ("PAGE", "COMMITTED"):
        monkeypatch.setattr(bench, name, tmp_path / getattr(bench, name).name)
    bench.PAGE.write_text(f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n")
    words = ["--tiny", "--device", "cpu", "--only", "training step, natural", "--output", str(tmp_path / "bench.json")]
    assert bench.main([*words, "--write"]) == 0
    assert "nothing of this machine" in capsys.readouterr().out
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [each["case"] for each in report["rows"]] == ["training step, natural"]
    page = bench.PAGE.read_text()
    assert page.startswith(f"before\n{bench.BEGIN}\n\n{report['machine']}, on 20")
    assert page.endswith(f"{bench.END}\nafter\n")
    assert "old" not in page
    assert "| training step, natural |" in page

    committed = json.loads(bench.COMMITTED.read_text())
    committed[report["machine"]]["rows"][0]["ratio"] = 1e6
    committed[report["machine"]]["rows"].append(row("other"))
    bench.COMMITTED.write_text(json.dumps(committed))
    assert bench.main(words) == 1
    assert "slower than on" in capsys.readouterr().out
    assert bench.main([*words, "--write"]) == 0  # the new number stands, and so does what was not measured now
    (again,) = json.loads(bench.COMMITTED.read_text()).values()
    assert [each["case"] for each in again["rows"]] == ["training step, natural", "other"]
    assert again["rows"][0]["ratio"] < 1e6


def test_a_page_without_its_markers_is_left_alone():
    with pytest.raises(ValueError, match="each once"):
        bench.renewed("nothing", {})


def test_the_committed_page_is_made_from_the_committed_numbers():
    page = bench.PAGE.read_text(encoding="utf-8")
    assert bench.renewed(page, json.loads(bench.COMMITTED.read_text(encoding="utf-8"))) == page
