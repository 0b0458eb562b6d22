"""robust-transfer plan: what is to be made and what it costs, of results that are there and of the papers' scale."""

import shutil
import time
from pathlib import Path

import pytest

from pretend import one
from robust_transfer.cost.forecast import behind, of_results
from robust_transfer.errors import UserError
from robust_transfer.plan.edges import spec_of
from robust_transfer.reference import pages
from workspace import REPOSITORY, planned


@pytest.fixture
def forecast(as_json):
    """(exit status, what `plan --json` says)."""

    def run(*words):
        return as_json("plan", *words)

    return run


def test_of_what_is_made_nothing_is_to_be_made(pretended, said, forecast):
    assert said("plan") == (0, "nothing is to be made\n")
    code, found = forecast()
    assert (code, found["all"]["nodes"], found["nodes"]) == (0, 0, {})


def test_what_is_missing_is_counted_and_of_a_target_that_alone(pretended, plan, forecast):
    craft = one(plan, "craft")
    readers = {node.id for node in plan.nodes.values() if craft.id in node.parents.values()}
    for node in (craft, *(plan.nodes[i] for i in readers)):
        shutil.rmtree(pretended.results / node.folder)
    code, found = forecast()
    assert code == 3 and found["nodes"].keys() == {craft.id, *readers}
    assert found["kinds"]["craft"]["nodes"] == 1 and found["studies"]["davchev"]["nodes"] == 1 + len(readers)
    assert found["longest_path"][0] == craft.id and len(found["longest_path"]) == 2
    assert found["nodes"][craft.id]["bytes"] == 2 * 64 * _images(plan, craft)
    assert forecast(craft.id)[1]["nodes"].keys() == {craft.id}


def _images(plan, craft):
    return spec_of(plan.nodes[craft.parents["data"]]).peek(Path()).count(craft.spec["split"])


def test_targets_are_studies_tables_and_nodes(plan):
    table = plan.products["tables/davchev/table1"].nodes
    for name in ("davchev/table1", "tables/davchev/table1", "results/tables/davchev/table1.csv"):
        assert behind(plan, [name]) == table
    assert {*table} < {*behind(plan, ["davchev"])}
    node = one(plan, "craft")
    assert behind(plan, [node.id]) == behind(plan, [f"results/{node.artifact}"]) == [node.id]
    with pytest.raises(UserError, match=r"davchev/tabel1 is no study.*did you mean davchev/table1"):
        behind(plan, ["davchev/tabel1"])


def test_seconds_are_as_the_cards_say(pretended, plan, forecast):
    """All that was pretended took two seconds."""
    removed = [node for node in plan.nodes.values() if node.kind == "evaluate"][:5]
    for node in removed:
        shutil.rmtree(pretended.results / node.folder)
    found = forecast()[1]
    assert found["calibrated_by"] == len(plan.nodes) - 5
    assert found["all"]["seconds"] == pytest.approx(10, rel=0.2)
    assert found["wall_seconds"]["1"] == pytest.approx(found["all"]["seconds"])


def test_five_papers_at_their_own_scale_in_ten_seconds(tmp_path, monkeypatch, said):
    monkeypatch.chdir(REPOSITORY)
    begun = time.process_time()
    code, text = said("--results", str(tmp_path / "results"), "plan", "--scale", "paper", "--devices", "8")
    assert code == 3 and time.process_time() - begun < 10
    assert "UNCALIBRATED" in text and "on 8 " in text
    assert "Without" not in text, "of the catalogue's sets all is known"


def test_data_that_are_not_there_are_said(tmp_path):
    mine = {"digits-low": {"reader": "npz", "file": "mine.npz"}}
    plan = planned("davchev", datasets=mine, data_root=str(tmp_path))
    found = of_results(plan, tmp_path / "results")
    assert "how many test images there are" in found.unknown.values() and found.costs
    assert found.total().nodes == len(plan.nodes) > found.total().known


def test_the_page_says_what_is_assumed():
    page = (REPOSITORY / pages.COST).read_text(encoding="utf-8")
    assert "20 teraflops" in page and page.count("| vaishnavi |") == 1
