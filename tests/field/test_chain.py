"""Data that changed underneath, and tables that are not of this plan: what is out of date is told from the cards."""

import json
import os
import shutil

import pytest

from made import Small, write
from robust_transfer import chain, store
from robust_transfer.audit import Stored, findings, repair
from robust_transfer.canonical import canonical_json
from robust_transfer.errors import UserError
from robust_transfer.plan.specs import Folder
from robust_transfer.run import nodes, products


def found(small):
    return [finding.what for finding in findings(Stored(small.results)) if finding.severity != "note"]


def test_cards_say_which_bytes_were_read(small):
    card = json.loads((small.results / small.clean.card).read_text())
    model = small.results / small.model.artifact
    assert card["read"]["model"]["id"] == small.model.id
    assert card["read"]["model"]["sha256"] == store.sha256_of(model)
    (entry,) = json.loads((small.results / small.data.card).read_text())["files"]
    assert (entry["path"], entry["sha256"]) == ("mine.npz", store.sha256_of("data/mine.npz"))
    assert card["data"] == {small.data.id: chain.content_of([entry])}
    assert small.out_of_date() == set() and found(small) == []


def test_edited_data_makes_everything_out_of_date(small):
    write(1)
    assert small.out_of_date() == small.everything
    assert len(found(small)) == len(small.everything)
    small.make()
    assert small.out_of_date() == set() and found(small) == []


def test_data_that_is_only_touched_or_is_away_changes_nothing(small):
    os.utime("data/mine.npz", (1e9, 1e9))
    assert small.out_of_date() == set()
    os.unlink("data/mine.npz")
    assert small.out_of_date() == set() and found(small) == []


def test_a_prepared_set_that_was_deleted_hides_no_edit(small):
    shutil.rmtree(small.results / small.data.folder)
    assert small.out_of_date() == set()
    write(1)
    assert small.out_of_date() == small.everything - {small.data.id}
    shutil.rmtree(small.results / small.model.folder)
    assert small.out_of_date() == small.everything - {small.data.id, small.model.id}


def test_two_versions_never_meet(small):
    """One evaluation is of the old data, its model and its table's other column of the new one."""
    write(1)
    small.make(small.data, small.model, small.clean)
    assert small.out_of_date() == small.everything - {small.data.id, small.model.id, small.clean.id}
    with pytest.raises(UserError, match="do not go back to the same bytes"):
        products.make(small.table, small.plan, "0" * 12, small.results)
    with pytest.raises(UserError, match="do not go back to the same bytes"):
        nodes.make(small.hit, small.plan, "0" * 12, small.results, 1)
    assert any(small.hit.id in line and "out of date" in line for line in found(small))


def test_data_that_changes_while_it_is_read_is_refused(small, monkeypatch):
    from robust_transfer.data import tensors

    plain = tensors.save
    monkeypatch.setattr(tensors, "save", lambda *a: (plain(*a), write(2)))
    with pytest.raises(UserError, match="changed while it was read"):
        small.make(small.data)
    assert not (small.results / small.data.card).exists()


def test_what_the_audit_takes_away_is_what_is_out_of_date(small):
    write(1)
    taken = repair(findings(Stored(small.results)))
    assert {path.parent.name for path in taken if path.parent.name in small.plan.nodes} == set(small.plan.nodes)
    small.make()
    assert found(small) == []


def test_a_table_of_another_plan_is_out_of_date(small):
    other = Small(small.results, limit=3)
    assert other.out_of_date() == {f"{other.table.stem}.json"}
    assert small.out_of_date() == set()


@pytest.mark.parametrize("edit", [{"version": 0}, {"spec": {}}, {"read": {}}, {"outputs": []}])
def test_a_table_whose_card_says_something_else_is_out_of_date(small, edit):
    path = small.results / f"{small.table.stem}.json"
    store.write_card(path, json.loads(path.read_text()) | edit)
    assert small.out_of_date() == {f"{small.table.stem}.json"}


def test_why_a_table_is_out_of_date_tells_the_config_from_the_version(small):
    path, table = small.results / f"{small.table.stem}.json", small.plan.products[small.table.stem]
    card = json.loads(path.read_text())
    for edit, other in ({"version": 0}, "version of this project"), ({"spec": {}}, "config"):
        store.write_card(path, card | edit)
        why = chain.out_of_date(small.plan, small.results)[f"{table.stem}.json"]
        assert why.endswith(f"shows what another {other} asked for")


def test_a_table_made_anew_to_the_same_bytes_is_not_out_of_date(small):
    (small.results / small.model.artifact).unlink()
    small.make(small.model)
    assert small.out_of_date() == set() and found(small) == []
    assert any("were written anew" in finding.what for finding in findings(Stored(small.results)))


def test_a_copy_that_is_no_copy_is_out_of_date(small):
    table, copy = small.results / "tables/s/table1.csv", small.results / "tables/table1.csv"
    shutil.copy(table, copy)
    assert small.out_of_date() == set() and found(small) == []
    copy.write_text(copy.read_text().replace("R", "Q"))
    assert small.out_of_date() == {"tables/table1.csv"}
    assert found(small) == [f"{copy} is no copy of {table}"]


def test_malformed_cards_stop_no_planning(small):
    path = small.results / small.model.card
    for text in ("", "[]", "{}", '{"outputs": {"a": null}}', '{"outputs": NaN}', "[" * 100_000, '{"read": [1]}'):
        path.write_text(text)
        assert small.out_of_date() == set()
    path.unlink()
    path.mkdir()
    assert small.out_of_date() == set()


# ---- what a data set is read from ----------------------------------------------------------------------------------


def folder_of(root):
    spec = Folder(reader="folder", folder="pets", size=4)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (root / "pets" / split / name).mkdir(parents=True)
            (root / "pets" / split / name / "1.png").write_bytes(f"{split} {name}".encode())
    return spec


def test_a_folder_counts_by_the_content_of_its_files(tmp_path):
    spec = folder_of(tmp_path)
    before = chain.files_of(spec, tmp_path)
    assert [entry["path"] for entry in before] == ["pets/train", "pets/test"]
    image = tmp_path / "pets/test/dog/1.png"
    (image.parent / ".DS_Store").write_bytes(b"x")
    os.utime(image, (1e9, 1e9))
    touched = chain.files_of(spec, tmp_path, before)
    assert touched != before and chain.content_of(touched) == chain.content_of(before)
    image.write_bytes(b"test DOG")
    assert chain.content_of(chain.files_of(spec, tmp_path, before)) != chain.content_of(before)
    image.rename(image.with_name("2.png"))
    image.with_name("2.png").write_bytes(b"test dog")
    assert chain.content_of(chain.files_of(spec, tmp_path, before)) != chain.content_of(before)
    shutil.rmtree(tmp_path / "pets/test")
    assert chain.files_of(spec, tmp_path, before) is None


def test_loops_dangling_links_and_odd_names_are_taken_as_they_are(tmp_path):
    spec = folder_of(tmp_path)
    top = tmp_path / "pets/train"
    (top / "loop").symlink_to(top)
    (top / "cat/gone.png").symlink_to("nowhere")
    (tmp_path / os.fsdecode(b"pets/train/cat/\xff.png")).write_bytes(b"1")
    os.mkfifo(top / "cat/pipe.png")
    entries = chain.files_of(spec, tmp_path)
    assert chain.files_of(spec, tmp_path, entries) == entries == json.loads(canonical_json(entries))
