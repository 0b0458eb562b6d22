"""robust-transfer status and what is shown beside products: the config of today, held against what is there."""

import fcntl
import shutil
from functools import partial

import pytest

from pretend import SECONDS, one, pretend, pretend_node, pretend_product
from robust_transfer import store
from robust_transfer.plan import freeze
from workspace import planned

TABLE = "tables/davchev/table1"


@pytest.fixture
def values(as_json):
    """(exit status, what `status --json` says)."""
    return partial(as_json, "status")


def test_what_is_finished_is_so(pretended, plan, said, values):
    code, found = values()
    assert code == 0
    assert found["studies"]["davchev"]["nodes"] == found["studies"]["all"]["nodes"] == {"made": len(plan.nodes)}
    assert found["studies"]["all"]["products"] == {"made": len(plan.products)}
    assert (found["nodes"], found["products"], found["copies"]) == ({}, {}, [])
    code, text = said("status")
    assert code == 0 and f"{len(plan.nodes)} of {len(plan.nodes)}" in text and len(text.splitlines()) == 3


def test_a_table_of_another_config_is_stale_by_name_and_layer(pretended, said, values):
    pretended.set("davchev.attacks.WB-PGD.eps", 0.3)
    code, found = values("--config", "protocol=paper")
    assert code == 3
    of_table = {each["path"]: each for each in found["products"][TABLE]["differing"]}
    assert of_table["protocol"] == {
        "path": "protocol", "was": "corrected", "now": "paper", "layer": "--config", "switch": None
    }  # fmt: skip
    eps = of_table["davchev.attacks.WB-PGD.eps"]
    assert (eps["was"], eps["now"], eps["layer"]) == (0.25, 0.3, "config.yaml")
    steps = of_table["davchev.attacks.WB-PGD.steps"]
    assert (steps["was"], steps["now"], steps["switch"]) == (20, 7, "D15: paper")
    assert "attacks.BB-FGSM" not in " ".join(of_table)
    _, text = said("status")
    assert "davchev.attacks.WB-PGD.eps: 0.25, now 0.3 (config.yaml)" in text
    assert "    seeds: [], now [0, 1] (--config)\n" in said("status", "--config", "seeds=[0,1]")[1]


def test_it_looks_at_the_config_of_today_not_at_the_newest_plan(pretended, plan, values, said):
    freeze.freeze(planned("davchev", scale="mnist"), pretended.results)
    assert values()[0] == 0
    (pretended.results / "claims.parquet").unlink()
    others = len(plan.products) - 1
    assert f"{len(plan.nodes)} of {len(plan.nodes)} nodes are made, and {others} of" in said("summary")[1]


def test_another_way_to_write_a_value_is_no_difference(pretended, values):
    pretended.lay({"davchev": {"attacks": {"WB-PGD": {"eps": "64/256", "steps": 20.0}}}})
    assert values()[0] == 0
    pretended.set("davchev.attacks.BB-FGSM.eps", 0.3)
    differing = values()[1]["products"][TABLE]["differing"]
    assert [each["path"] for each in differing] == ["davchev.attacks.BB-FGSM.eps"]


def test_where_the_plan_is_gone_it_is_stale_all_the_same(pretended, values):
    shutil.rmtree(pretended.results / "plans")
    pretended.set("davchev.attacks.BB-FGSM.eps", 0.3)
    code, found = values()
    assert code == 3 and found["products"][TABLE]["state"] == "stale"
    assert "24 of 120 cells are of other nodes" in found["products"][TABLE]["why"]


def test_missing_damaged_and_let_go(pretended, plan, values, said):
    evaluate, craft, transfer, prepare = (one(plan, kind) for kind in ("evaluate", "craft", "transfer", "prepare"))
    shutil.rmtree(pretended.results / evaluate.folder)
    (pretended.results / craft.artifact).unlink()
    (pretended.results / transfer.artifact).write_text("cut")
    text = (pretended.results / prepare.card).read_text()
    (pretended.results / prepare.card).write_text(text.replace('"metrics": {}', '"metrics": {"n": 9}'))
    code, found = values()
    assert code == 4
    assert {i: each["state"] for i, each in found["nodes"].items()} == {
        evaluate.id: "missing", craft.id: "missing", transfer.id: "damaged", prepare.id: "damaged"
    }  # fmt: skip
    assert "has 3 bytes" in found["nodes"][transfer.id]["why"] and "edited" in found["nodes"][prepare.id]["why"]
    assert found["studies"]["davchev"]["seconds_to_go"] == 4 * SECONDS
    assert "audit --repair" in said("status")[1]


def test_what_was_made_from_other_bytes_is_stale(pretended, plan, values):
    model = next(node for node in plan.nodes.values() if node.kind == "pretrain")
    pretend_node(model, plan, pretended.results, content="other bits")
    code, found = values()
    assert code == 3 and model.id not in found["nodes"]
    assert {each["state"] for each in found["nodes"].values()} == {"stale"}
    assert found["products"]["claims"]["why"].endswith(f"other bytes of {model.id} than are there now")


def test_running_and_half_made(pretended, plan, values):
    running, stopped, killed = [node for node in plan.nodes.values() if node.kind == "transfer"][:3]
    for node in (running, stopped, killed):
        shutil.rmtree(pretended.results / node.folder)
    for folder in ("locks", "checkpoints"):
        (pretended.results / folder).mkdir(exist_ok=True)
    (pretended.results / "checkpoints" / f"{stopped.id}.safetensors").write_text("state")
    (pretended.results / "locks" / killed.id).write_text("process 1 on there")
    with open(pretended.results / "locks" / running.id, "w+") as file:
        file.write("process 7 on here")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        found = values()[1]["nodes"]
        assert {i: each["state"] for i, each in found.items()} == {
            running.id: "running", stopped.id: "half-made", killed.id: "half-made"
        }  # fmt: skip
        assert found[running.id]["why"] == "by process 7 on here"
    assert values()[1]["nodes"][running.id]["state"] == "half-made"


def test_a_copy_of_another_main_study_is_said(pretended, values):
    shutil.copy(pretended.results / f"{TABLE}.csv", pretended.results / "tables/table1.csv")
    assert values()[0] == 0
    (pretended.results / "tables/table1.csv").write_text("R")
    code, found = values()
    assert code == 3 and found["copies"] == [f"results/tables/table1.csv is no copy of results/{TABLE}.csv"]


def test_a_table_of_another_config_is_never_shown_as_current(pretended, plan, said):
    assert said("table", "davchev/table1") == (0, "davchev/table1\n")
    code, text = said("table", "davchev/table1", "--config", "protocol=paper")
    assert code == 3 and text.startswith("> STALE: it was made for other values")
    assert "> protocol: corrected, now paper (--config)" in text and text.endswith("davchev/table1\n")


def test_far_from_the_config_results_can_still_be_read(pretended, said, monkeypatch):
    monkeypatch.chdir(pretended.results)
    assert said("--results", ".", "table", "davchev/table1")[0] == 0


def test_a_product_that_is_made_anew_is_current_again(pretended, said, values):
    pretended.set("seed", 1)
    assert values()[1]["studies"]["all"]["products"] == {"stale": 8, "made": 4}  # what is printed has no seed
    pretend(pretended.plan(), pretended.results)
    assert values()[0] == 0
    pretended.set("seed", 0)
    plan = pretended.plan()
    code, found = values()
    assert code == 3 and found["nodes"] == {} and found["products"][TABLE]["differing"][0]["path"] == "seed"
    pretend_product(plan.products[TABLE], plan, pretended.results)
    assert TABLE not in values()[1]["products"]
    assert store.read_card(pretended.results / f"{TABLE}.json")["plan"] == "0" * 12


# ---- kept tables ---------------------------------------------------------------------------------------------------


def test_tables_of_two_configs_lie_side_by_side(pretended, plan, said):
    assert said("table", "davchev/table1", "--keep")[0] == 0
    (first,) = pretended.results.glob("tables/davchev/table1.*.md")
    pretended.set("protocol", "paper")
    other = pretended.plan()
    pretend(other, pretended.results)
    assert said("table", "davchev/table1", "--keep")[0] == 0
    (second,) = {*pretended.results.glob("tables/davchev/table1.*.md")} - {first}
    listed = said("table", "davchev/table1", "--kept")[1].splitlines()
    assert [line.partition(":")[0] for line in sorted(listed)] == sorted([first.stem, second.stem])
    assert [line.endswith("as the plain name") for line in listed if line.startswith(second.stem)] == [True]
    assert sum(line.endswith("as the plain name") for line in listed) == 1
    assert said("table", f"davchev/{second.stem}") == (0, "davchev/table1\n")
    code, text = said("table", f"davchev/{first.stem}")
    assert code == 3 and "> protocol: corrected, now paper (config.yaml)" in text
    assert said("status")[0] == 0 and pretended.planned() == []


def test_a_kept_table_is_audited_like_any_other(pretended, said):
    said("table", "davchev/table1", "--keep")
    clean = said("audit", "--level", "integrity")[1]
    assert "damaged: " not in clean and "foreign" not in clean
    (kept,) = pretended.results.glob("tables/davchev/table1.*.csv")
    kept.write_text("R")
    assert f"damaged: results/tables/davchev/{kept.name}" in said("audit", "--level", "integrity")[1]


def test_a_damaged_table_is_not_kept(pretended, said):
    (pretended.results / "tables/davchev/table1.csv").write_text("R")
    assert "but was written with" in said("table", "davchev/table1", "--keep")[0]


@pytest.mark.parametrize("words", [["table", "davchev/table1"], ["claims"], ["summary"]], ids=" ".join)
def test_what_is_not_what_was_written_is_not_shown(pretended, said, words):
    stem = "tables/davchev/table1" if words[0] == "table" else "claims"
    for ending in ("md", "parquet"):
        path = pretended.results / f"{stem}.{ending}"
        path.write_bytes(path.read_bytes()[:-1])
    status, _ = said(*words)
    assert status.startswith(f"results/{stem}.") and "but was written with" in status and "\n" not in status
