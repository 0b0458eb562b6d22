"""The audit as a command: its levels, its exit status, its JSON, and the manifest that is kept elsewhere."""

import json
import shutil
import subprocess

import pandas as pd
import pytest

from made import write
from robust_transfer import store
from robust_transfer.audit import manifest
from robust_transfer.cli import main


@pytest.fixture
def audit(small, monkeypatch, capsys):
    """Run `robust-transfer audit` in this process: (exit status, what it printed)."""

    def run(*words):
        monkeypatch.setattr("sys.argv", ["robust-transfer", "audit", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        text = capsys.readouterr().out
        return (ended.value.code, text) if isinstance(ended.value.code, int) else (1, text + str(ended.value))

    return run


def seal_anew(path, **entries):
    card = json.loads(path.read_text())
    del card["seal"]
    store.write_card(path, card | entries)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# ---- levels and status ---------------------------------------------------------------------------------------------


def test_whole_results_are_sound_at_every_level(audit):
    status, said = audit()
    assert status == 0 and said.endswith("5 nodes and 1 tables, figures and verdicts audited: 0 damaged\n"), said


def test_damage_is_found_by_integrity_alone(audit, small):
    flip(small.results / small.hit.artifact)
    assert audit("--level", "integrity")[0] == 1
    assert audit("--level", "currency")[0] == 0


def test_what_is_stale_is_found_by_currency_alone(audit, small):
    write(1)
    assert audit("--level", "integrity")[0] == 0
    status, said = audit("--level", "currency")
    assert status == 3 and said.count("stale: ") == 6 and "0 damaged, 6 stale" in said


def test_what_is_wrong_is_found_by_science_alone(audit, small):
    """Another confidence, in a file that the card describes."""
    path = small.results / small.clean.artifact
    frame = pd.read_parquet(path)
    frame.loc[0, "confidence"] = 0.123
    frame.to_parquet(path, index=False)
    seal_anew(small.results / small.clean.card, outputs={path.name: store.describe(path)})
    assert audit("--level", "integrity", "--level", "currency")[0] in (0, 3)
    status, said = audit("--level", "science")
    assert status == 4 and "1 wrong" in said and "on 1 of the 8 images" in said


def test_json_says_what_the_screen_says(audit, small):
    flip(small.results / small.hit.artifact)
    status, text = audit("--json")
    said = json.loads(text)
    assert status == 1 and said["counts"]["damaged"] == 1 and said["audited"] == {"nodes": 5, "products": 1}
    (found,) = [finding for finding in said["findings"] if finding["severity"] == "damaged"]
    assert (found["level"], found["about"]) == ("integrity", [small.hit.id])
    assert found["damaged"] == [f"results/{small.hit.artifact}"] and "was edited" in found["what"]


# ---- what a finding touches ----------------------------------------------------------------------------------------


def touched(text):
    """(what was found, the columns of the cells that it touches) of all findings with a word."""
    findings = json.loads(text)["findings"]
    return {found["what"]: [cell["column"] for cell in found["cells"]] for found in findings}


def test_a_finding_names_the_cells_behind_which_it_lies(audit, small):
    flip(small.results / small.model.artifact)
    flip(small.results / small.plan.nodes[small.hit.parents["examples"]].artifact)
    (small.results / "tables/s/table1.md").write_text("another")
    by = touched(audit("--json", "--level", "integrity")[1])
    assert [columns for what, columns in by.items() if "model.safetensors was edited" in what] == [["clean", "FGSM"]]
    assert [columns for what, columns in by.items() if "examples.safetensors was edited" in what] == [["FGSM"]]
    assert [columns for what, columns in by.items() if "table1.md has" in what] == [["clean", "FGSM"]]
    assert "    touches 1 of 2 cells of tables/s/table1\n" in audit("--level", "integrity")[1]


def test_cells_are_those_of_the_plan_where_a_table_s_card_is_damaged(audit, small):
    (small.results / "tables/s/table1.json").write_text("{}")
    assert list(touched(audit("--json", "--level", "integrity")[1]).values()) == [["clean", "FGSM"]]


def test_other_code_and_uncommitted_code_name_what_they_touch(audit, small):
    seal_anew(small.results / small.hit.card, code="0" * 12)
    by = touched(audit("--json", "--level", "currency")[1])
    assert by["1 evaluate nodes were made by other code than today's; delete results/evaluate to redo them"] == ["FGSM"]
    for node in small.plan.nodes.values():
        dirty = node.id == small.clean.id
        seal_anew(small.results / node.card, git={"commit": "0" * 40, "dirty": dirty})
    by = touched(audit("--json", "--level", "currency")[1])
    assert by["1 evaluate nodes were made from a clone with uncommitted changes"] == ["clean"]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"device": "NVIDIA H100"}, "device NVIDIA H100 and cpu"),
        ({"threads": 64}, "threads 1 and 64"),
        ({"versions": {"torch": "0.1"}}, "torch 0.1 and "),
    ],
)
def test_a_table_that_mixes_circumstances_is_named(audit, small, entries, words):
    assert "made from nodes of" not in audit("--level", "currency")[1]
    seal_anew(small.results / small.hit.card, **entries)
    status, said = audit("--level", "currency")
    assert status == 0 and f"note: tables/s/table1: made from nodes of {words}" in said


def test_what_no_image_passes_through_may_be_made_elsewhere(audit, small):
    seal_anew(small.results / small.data.card, threads=64)
    assert "made from nodes of" not in audit("--level", "currency")[1]


# ---- the manifest --------------------------------------------------------------------------------------------------


def test_roots_are_those_of_rfc_6962():
    """The test vectors of certificate transparency."""
    words = "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
    leaves = [bytes.fromhex(word) for word in words]
    assert manifest.merkle_root([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert manifest.merkle_root(leaves[:1]) == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert manifest.merkle_root(leaves[:3]) == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert manifest.merkle_root(leaves) == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_recorded_results_are_as_recorded(audit, small):
    status, said = audit("--record")
    path = small.results / "manifest.sha256"
    assert status == 0 and "ssh-keygen -Y sign" in said
    assert audit("--against", path)[0] == 0
    assert "foreign" not in audit("--against", path)[1]  # the manifest itself is no foreign file
    root = path.read_text().split("\n")[0].split()[-1]
    assert root in said and audit("--against", root)[0] == 0


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_a_manifest_is_what_sha256sum_checks(audit, small):
    audit("--record")
    check = ["sha256sum", "--check", "--strict", "--quiet", "manifest.sha256"]
    assert subprocess.run(check, cwd=small.results).returncode == 0
    flip(small.results / small.hit.artifact)
    assert subprocess.run(check, cwd=small.results, capture_output=True).returncode != 0


def forge(small):
    """Other bytes, with a card, sealed anew, that describes them."""
    artifact = small.results / small.hit.artifact
    flip(artifact)
    seal_anew(small.results / small.hit.card, outputs={artifact.name: store.describe(artifact)})
    return [f"results/{small.hit.artifact} is not what", f"results/{small.hit.card} is not what"]


def reseal(small):
    """Another device in a card, sealed anew."""
    seal_anew(small.results / small.hit.card, device="NVIDIA H100")
    return [f"results/{small.hit.card} is not what"]


def take(small):
    shutil.rmtree(small.results / small.hit.folder)
    return [f"results/{small.hit.artifact} is gone", f"results/{small.hit.card} is gone"]


def take_the_table(small):
    for ending in ("csv", "parquet", "md", "json"):
        (small.results / f"tables/s/table1.{ending}").unlink()
    return [f"results/tables/s/table1.{ending} is gone" for ending in ("csv", "parquet", "md", "json")]


@pytest.mark.parametrize("change", [forge, reseal, take, take_the_table])
def test_a_manifest_names_what_seals_do_not_show(audit, small, change):
    audit("--record", "kept.sha256")
    named = change(small)
    status, said = audit("--against", "kept.sha256")
    assert status == 1 and all(f"damaged: {sentence}" in said for sentence in named), said


def test_what_is_new_is_a_note(audit, small):
    from robust_transfer.plan import build

    audit("--record", "kept.sha256")
    more = build.evaluate(small.plan, small.model, small.data, split="train")
    small.make(more)
    status, said = audit("--against", "kept.sha256", "--level", "integrity")
    assert status == 0 and "note: 3 files are new since kept.sha256" in said and more.id in said


def test_what_was_let_go_on_purpose_is_not_gone(audit, small):
    audit("--record", "kept.sha256")
    assert f"{small.model.folder}/history.csv" in (small.results.parent / "kept.sha256").read_text()
    examples = small.plan.nodes[small.hit.parents["examples"]]
    store.release(small.results / examples.artifact)
    status, said = audit("--against", "kept.sha256")
    assert status == 0, said


def test_an_edited_manifest_is_refused(audit, small):
    audit("--record")
    path = small.results / "manifest.sha256"
    path.write_text(path.read_text().replace("  evaluate/", "  evaluat/", 1))
    status, said = audit("--against", path)
    assert status == 1 and "was edited" in said
    assert "cannot be read" in audit("--against", "nowhere")[1]
    path.write_bytes(b"\xff\xfe\0" * 9)
    assert "is no manifest" in audit("--against", path)[1]


def test_nothing_is_recorded_of_what_is_not_sound(audit, small):
    flip(small.results / small.hit.artifact)
    status, said = audit("--record")
    assert status == 1 and "mend it first" in said and not (small.results / "manifest.sha256").exists()
