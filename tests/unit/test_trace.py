"""The trace: from a cell to the data, what is marked in it, and how it ends where something is not there."""

import json
import shutil
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from pretend import IMAGES, pretend_numbers
from robust_transfer import store
from robust_transfer.cli import main, trace
from robust_transfer.errors import UserError
from robust_transfer.plan.graph import Plan
from robust_transfer.results.trace import Traces
from workspace import REPOSITORY, planned

TABLE, FIGURE = "tables/davchev/table1", "figures/davchev/fig2"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned("davchev")


@pytest.fixture(scope="module")
def pristine(plan, tmp_path_factory):
    results = tmp_path_factory.mktemp("made-up") / "results"
    pretend_numbers(plan, results, (TABLE, FIGURE))
    return results


@pytest.fixture
def results(pristine, tmp_path):
    """A folder of this test's own."""
    return shutil.copytree(pristine, tmp_path / "results")


def traces(results) -> Traces:
    return Traces(results, REPOSITORY / "workflow", REPOSITORY / "docs/protocols.md")


def of(results, *place):
    (traced,) = traces(results).trace(*place)
    return traced


def test_the_chain_goes_from_the_cell_to_the_data(pristine, plan):
    traced = of(pristine, "davchev/table1", "R_nat->pgd 12", "WB-PGD")
    cell = next(c for c in plan.products[TABLE].spec["cells"] if (c["row"], c["column"]) == ("R_nat->pgd 12", "WB-PGD"))
    assert set(traced.steps) == {node.id for node in plan.ancestry(cell["nodes"].values())}
    kinds = [step.node.kind for step in traced.steps.values()]
    assert kinds[0] == "evaluate"
    assert {"craft", "transfer", "pretrain", "prepare"} < set(kinds)
    assert traced.is_sound


def test_the_number_is_the_tables_own(pristine):
    traced = of(pristine, "davchev/table1", "R_pgd", "clean")
    frame = pd.read_parquet(pristine / f"{TABLE}.parquet")
    row = frame[(frame.row == "R_pgd") & (frame.column == "clean")].iloc[0]
    assert traced.numbers["value"] == row.value
    assert (traced.numbers["ci_low"], traced.numbers["ci_high"]) == (row.ci_low, row.ci_high)
    assert traced.numbers["n"] == IMAGES


def test_a_figures_point_is_that_of_the_table(pristine):
    of_figure, of_table = (of(pristine, name, "R_nat", "clean") for name in ("davchev/fig2", "davchev/table1"))
    assert of_figure.numbers["value"] == of_table.numbers["value"]
    assert of_figure.steps == of_table.steps


def test_a_figures_point_is_told_without_its_table(results):
    of_table = of(results, "davchev/table1", "R_nat", "clean")
    (results / f"{TABLE}.json").unlink()
    of_figure = of(results, "davchev/fig2", "R_nat", "clean")
    assert of_figure.numbers == of_table.numbers


def test_every_value_is_there_and_those_that_differ_from_the_defaults_are_marked(pristine, plan):
    traced = of(pristine, "davchev/table1", "R_pgd", "clean")
    (model,) = (step for step in traced.steps.values() if step.node.kind == "pretrain")
    values = {path: (value, changed) for path, value, changed in model.values}
    assert values["schedule.momentum"] == (0.9, False)
    assert values["schedule.seed"] == (0, False)
    assert values["schedule.lr"] == (model.node.spec["schedule"]["lr"], True)
    assert values["inputs.attack.algorithm"] == ("pgd", True)
    (data,) = (step for step in traced.steps.values() if step.node.kind == "prepare")
    assert {path: changed for path, _, changed in data.values}["reader"], "which ids know by an earlier name"


def test_places_name_the_key_the_file_the_switch_and_who_filled_it_in(pristine):
    traced = of(pristine, "davchev/table1", "R_pgd", "WB-PGD")
    (craft,) = (step for step in traced.steps.values() if step.node.kind == "craft")
    place = next(place for place in craft.places if place.key == "davchev.attacks.WB-PGD")
    assert place.part == "attack"
    assert "davchev.yaml" in " ".join(place.layers)
    assert "digits.yaml" in " ".join(place.layers), "eps is the scale's"
    assert any(text.startswith("D15 (PGD at test), corrected: 20 steps") for text in place.switches)
    (model,) = (step for step in traced.steps.values() if step.node.kind == "pretrain")
    filled_in = [text for place in model.places for text in place.filled_in]
    assert any(text.startswith("random_start False: authors' code") for text in filled_in)


def test_a_place_of_a_changed_value_is_the_config_itself(tmp_path):
    changed = planned("davchev", davchev={"attacks": {"WB-PGD": {"eps": 0.3}}})
    pretend_numbers(changed, tmp_path, ())
    traced = of(tmp_path, "davchev/table1", "R_pgd", "WB-PGD")
    (craft,) = (step for step in traced.steps.values() if step.node.kind == "craft")
    (place,) = craft.places
    assert "config" in place.layers


def test_names_that_are_not_there_are_answered_with_near_ones(pristine):
    found = traces(pristine)
    with pytest.raises(UserError, match=r"no table or figure davchev/tabel1 \(did you mean davchev/table1\?\)"):
        found.trace("davchev/tabel1", "R_nat", "clean")
    with pytest.raises(UserError, match=r"there is no row 'R_nad' \(did you mean R_nat\?\); there are R_nat, "):
        found.trace("davchev/table1", "R_nad", "clean")
    with pytest.raises(UserError, match=r"row 'R_nat': there is no column 'WB-PDG' \(did you mean WB-PGD\?\)"):
        found.trace("davchev/table1", "R_nat", "WB-PDG")
    with pytest.raises(UserError, match="which column; there are clean, BB-FGSM"):
        found.trace("davchev/table1", "R_nat", None)
    with pytest.raises(UserError, match="which row; there are R_nat, "):
        found.trace("davchev/table1", None, None)


def test_nothing_here_is_said_with_what_to_do(tmp_path):
    with pytest.raises(UserError, match="run `snakemake -n` first"):
        traces(tmp_path).trace("davchev/table1", "R_nat", "clean")


@pytest.mark.parametrize(
    "name",
    [
        "table1",
        "results/tables/table1.csv",
        "tables/davchev/table1",
        "/a/results/tables/davchev/table1.csv",
        "davchev/table1.md",
    ],
)
def test_a_table_goes_by_its_path_or_as_the_main_studys(pristine, name):
    assert of(pristine, name, "R_nat", "clean").product.stem == TABLE


def test_what_is_planned_and_not_made_is_traced_as_missing(pristine):
    traced = of(pristine, "davchev/sources", "R_nat", "clean")
    assert traced.numbers is None
    assert not traced.is_sound


def test_a_deleted_node_is_missing(results):
    traced = of(results, "davchev/table1", "R_nat", "clean")
    node = next(iter(traced.steps.values())).node
    shutil.rmtree(results / node.folder)
    again = of(results, "davchev/table1", "R_nat", "clean")
    assert again.steps[node.id].state == "missing"
    assert again.numbers == traced.numbers, "the table itself is there"
    assert not again.is_sound
    assert of(results, "davchev/fig2", "R_nat", "clean").numbers is None


def test_a_parent_made_anew_to_other_bytes_is_named(results):
    traced = of(results, "davchev/table1", "R_nat", "clean")
    model = next(step.node for step in traced.steps.values() if step.node.kind == "pretrain")
    card = store.read_card(results / model.card)
    card["outputs"]["model.safetensors"]["sha256"] = "0" * 64
    store.write_card(results / model.card, {key: value for key, value in card.items() if key != "seal"})
    outcome, *_ = of(results, "davchev/table1", "R_nat", "clean").steps.values()
    assert f"was made from other bytes of {model.id}" in outcome.state


def test_a_number_of_another_config_is_out_of_date(results):
    pretend_numbers(planned("davchev", davchev={"attacks": {"WB-PGD": {"eps": 0.3}}}), results, ())
    touched = of(results, "davchev/table1", "R_nat", "WB-PGD")
    assert "other nodes" in touched.out_of_date
    assert not touched.is_sound
    assert all(step.state == "made" for step in touched.steps.values()), "its own nodes are all there"
    assert of(results, "davchev/table1", "R_nat", "clean").is_sound, "which the change does not touch"


def test_a_cell_of_several_numbers_gives_each_and_seeds_give_each_ones_nodes(tmp_path):
    plan = planned("shafahi", seeds=[0, 1])
    pretend_numbers(plan, tmp_path, ())
    found = traces(tmp_path).trace("shafahi/fig4", "natural", "0")
    metrics = [traced.cell["metric"] for traced in found]
    assert len(metrics) == len(set(metrics)) > 1
    (one,) = traces(tmp_path).trace("shafahi/fig4", "natural", "0", metrics[1])
    assert one.cell["metric"] == metrics[1]
    assert len(one.as_json()["nodes"]) == 2
    (images,) = traces(tmp_path).trace("shafahi/fig5", "images", None)
    assert [step.node.kind for step in images.steps.values()] == ["prepare"]


# ---- the command ---------------------------------------------------------------------------------------------------


def command(monkeypatch, capsys, results, *words):
    monkeypatch.setattr(sys, "argv", ["robust-transfer", "--results", str(results), *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, capsys.readouterr().out


@pytest.mark.parametrize("verb", ["trace", "why"])
def test_the_command_shows_number_and_chain(pristine, verb, monkeypatch, capsys):
    status, text = command(monkeypatch, capsys, pristine, verb, "davchev/table1", "R_nat->pgd 12", "WB-PGD")
    assert status == 0
    assert text.startswith("davchev/table1, R_nat->pgd 12, WB-PGD: accuracy ")
    assert "Davchev et al. 2019, Table 1" in text
    for word in ("model: transfer", "start: pretrain", "data: prepare", "(above)", "commit 0123456789ab", "defaults"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 160


def test_the_command_as_json(pristine, monkeypatch, capsys):
    status, text = command(monkeypatch, capsys, pristine, "trace", "davchev/table1", "R_nat", "clean", "--json")
    (found,) = json.loads(text)
    assert status == 0
    (outcomes,) = found["nodes"]
    node = found["chain"][outcomes["outcomes"]]
    assert node["kind"] == "evaluate"
    assert node["command"].startswith(f"python -m robust_transfer.run node {outcomes['outcomes']}")
    assert set(node["parents"].values()) < set(found["chain"])


def test_the_exit_status_tells_what_is_not_sound(pristine, capsys):
    options = SimpleNamespace(results=pristine, table="davchev/sources", row="R_nat", column="clean", metric=None)
    assert trace.run(SimpleNamespace(**vars(options), json=False)) == 3
    assert "accuracy, not made" in capsys.readouterr().out
