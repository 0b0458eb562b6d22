"""Archives of a table: an RO-Crate by the specification's text, and a check that needs nothing but the file."""

import json
import shutil
import zipfile
from urllib.parse import unquote

import pandas as pd
import pytest

from made import TABLE, table1
from robust_transfer import store
from robust_transfer.errors import UserError
from robust_transfer.share import crate
from robust_transfer.share.verify import verify
from workspace import run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of results with one table of four cells. Nobody changes it."""
    root = tmp_path_factory.mktemp("made") / "results"
    table1(root, rows=2, columns=2)
    return root


@pytest.fixture(scope="module")
def packed(made):
    """(the archive with all artifacts, what was said of it)."""
    target = made.with_name("table1.zip")
    return target, crate.pack(TABLE, made, target, "all")


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def entities(path):
    content = json.loads(members(path)[crate.METADATA])
    return content, {entity["@id"]: entity for entity in content["@graph"]}


def ids(value):
    return [entity["@id"] for entity in (value if isinstance(value, list) else [value])]


# ---- the specification ---------------------------------------------------------------------------------------------


def test_the_metadata_are_what_ro_crate_1_1_says_they_must_be(packed):
    content, found = entities(packed[0])
    assert content["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    assert len(found) == len(content["@graph"]), "flattened: every entity once"
    descriptor, root = found["ro-crate-metadata.json"], found["./"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert descriptor["about"] == {"@id": "./"}
    assert root["@type"] == "Dataset"
    assert {"name", "description", "datePublished", "license", "hasPart"} <= root.keys()
    assert pd.Timestamp(root["datePublished"])
    for entity in content["@graph"]:
        for value in entity.values():
            assert not (isinstance(value, list) and len(value) < 2), "compacted: one alone is no list"
            for each in value if isinstance(value, list) else [value]:
                assert not isinstance(each, dict) or each.keys() == {"@id"}, "flattened: references alone"


def test_every_file_is_described_once_and_linked_to_from_the_root(packed):
    _, found = entities(packed[0])
    linked, to_see = [], ["./"]
    while to_see:
        entity = found[to_see.pop()]
        linked.append(entity["@id"])
        to_see += ids(entity["hasPart"]) if "hasPart" in entity else []
    files = {unquote(i) for i in linked if found[i]["@type"] == "File"}
    assert files == members(packed[0]).keys() - {crate.METADATA}
    assert all(entity["@id"] in linked for entity in found.values() if entity["@type"] in ("File", "Dataset"))
    assert len(linked) == len(set(linked))


def test_every_node_is_an_action_on_what_it_was_made_from(packed, made):
    _, found = entities(packed[0])
    actions = {entity["name"]: entity for entity in found.values() if entity["@type"] == "CreateAction"}
    cards = [store.read_card(path) for path in made.glob("*/*/card.json")]
    assert actions.keys() == {f"{card['kind']} {card['id']}" for card in cards} | {"table davchev/table1"}
    for card in cards:
        action = actions[f"{card['kind']} {card['id']}"]
        parents = {i.rstrip("/").split("/")[1] for i in ids(action["object"])} if "object" in action else set()
        assert parents == set(card["parents"].values())
        assert found[action["instrument"]["@id"]]["@type"] == "SoftwareApplication"
        assert action["endTime"] >= action["startTime"]
    for action in actions.values():
        assert {*ids(action.get("object", [])), *ids(action["result"])} <= found.keys()


def test_no_licence_and_no_author_is_invented(packed, made, tmp_path):
    _, found = entities(packed[0])
    assert found["./"]["license"] == crate.NO_LICENCE
    assert "author" not in found["./"]
    assert not [entity for entity in found.values() if entity["@type"] == "Person"]
    address = "https://creativecommons.org/licenses/by/4.0/"
    crate.pack(TABLE, made, tmp_path / "a.zip", "none", address, ["A. Author", "B. Author"])
    _, found = entities(tmp_path / "a.zip")
    assert found["./"]["license"] == {"@id": address} and found[address]["@type"] == "CreativeWork"
    assert [found[i]["name"] for i in ids(found["./"]["author"])] == ["A. Author", "B. Author"]


# ---- what is packed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("artifacts", "held", "computed"), [("none", 0, 0), ("shown", 4, 4), ("all", 11, 4)])
def test_an_archive_has_all_cards_and_the_artifacts_asked_for(made, tmp_path, artifacts, held, computed):
    said = crate.pack(TABLE, made, tmp_path / "a.zip", artifacts)
    assert (said["nodes"], said["artifacts"], said["absent"]) == (11, held, [])
    found = verify(tmp_path / "a.zip")
    assert (found.findings, found.notes) == ([], [])
    assert (found.table, found.nodes, found.artifacts) == ("davchev/table1", 11, held)
    assert found.numbers == {"all": 4, "computed": computed, "same": computed}
    assert found.sha256 == said["sha256"]


def test_the_same_content_is_the_same_archive(packed, made, tmp_path):
    assert crate.pack(TABLE, made, tmp_path / "again.zip", "all") == packed[1]


def test_artifacts_that_are_gone_are_left_out_and_named(made, tmp_path):
    shutil.copytree(made, tmp_path / "results")
    (gone,) = (tmp_path / "results").glob("craft/*/examples.safetensors")
    gone.unlink()
    said = crate.pack(TABLE, tmp_path / "results", tmp_path / "a.zip", "all")
    assert said["absent"] == [gone.parent.name]
    assert verify(tmp_path / "a.zip").findings == []


def test_what_would_not_be_believed_is_not_packed(made, tmp_path, capsys):
    shutil.copytree(made, tmp_path / "results")
    (path,) = (tmp_path / "results").glob("prepare/digits-5to9.*/card.json")
    card = store.read_card(path)
    card["outputs"]["data.safetensors"]["sha256"] = "0" * 64
    store.write_card(path, {key: value for key, value in card.items() if key != "seal"})
    said = run("--results", tmp_path / "results", "pack", "davchev/table1", "-o", tmp_path / "a.zip")
    assert "is not packed" in said and "other bytes of digits-5to9" in said
    assert not (tmp_path / "a.zip").exists()
    assert "there is no" in run("--results", tmp_path / "results", "pack", "davchev/table9", "-o", tmp_path / "a.zip")


def test_the_command_packs_and_verifies_where_nothing_else_is(made, tmp_path, capsys, monkeypatch):
    target = tmp_path / "elsewhere" / "table1.zip"
    assert run("--results", made, "pack", "davchev/table1", "-o", target, "--artifacts", "--json") == 0
    packed = json.loads(capsys.readouterr().out)
    monkeypatch.chdir(target.parent)
    assert run("verify", "table1.zip") == 0
    said = capsys.readouterr().out
    assert "4 of 4 numbers were computed anew: 4 came out the same" in said and packed["sha256"] in said
    assert run("verify", "table1.zip", "--json") == 0
    assert json.loads(capsys.readouterr().out)["sound"] is True
    assert [path.name for path in target.parent.iterdir()] == ["table1.zip"]


# ---- what verify finds ---------------------------------------------------------------------------------------------


def unpacked(path, folder):
    for name, data in members(path).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def redescribed(folder, target):
    """Pack a folder again, as an editor would who makes the list of files right again."""
    content = json.loads((folder / crate.METADATA).read_text())
    for entity in content["@graph"]:
        if entity["@type"] == "File":
            described = store.describe(folder / unquote(entity["@id"]))
            entity |= {"sha256": described["sha256"], "contentSize": str(described["bytes"])}
    (folder / crate.METADATA).write_text(json.dumps(content))
    files = [path for path in folder.rglob("*") if path.is_file()]
    return written(target, {path.relative_to(folder).as_posix(): path.read_bytes() for path in files})


def sealed(path, change):
    """Change a card and seal it anew; returns its new seal."""
    card = store.read_card(path)
    change(card)
    store.write_card(path, {key: value for key, value in card.items() if key != "seal"})
    return store.read_card(path)["seal"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda c: c | {n: d[:-1] + bytes([d[-1] ^ 1]) for n, d in c.items() if n.endswith(".csv")}, "was changed"),
        (lambda c: {n: d for n, d in c.items() if "evaluate" not in n}, "is missing"),
        (lambda c: c | {"evaluate/more.txt": b"more"}, "evaluate/more.txt is foreign"),
        (lambda c: c | {"../outside.txt": b"out"}, "'../outside.txt' is no name"),
        (lambda c: c | {"/outside.txt": b"out"}, "'/outside.txt' is no name"),
        (lambda c: {n: d for n, d in c.items() if n != crate.METADATA}, "this is no RO-Crate"),
        (lambda c: c | {crate.METADATA: b"[]"}, "does not describe an RO-Crate"),
        (lambda c: c | {crate.METADATA: b'{"@graph": [{"@id": 1}]}'}, "does not describe an RO-Crate"),
    ],
)
def test_an_archive_that_is_not_as_its_list_has_it(packed, tmp_path, change, what):
    found = verify(written(tmp_path / "a.zip", change(members(packed[0]))))
    assert what in found.findings[0]
    assert not (tmp_path.parent / "outside.txt").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", "cut"])
def test_what_is_no_archive_is_refused_in_a_sentence(packed, tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(packed[0].read_bytes()[:-2000] if content == "cut" else content)
    with pytest.raises(UserError, match=r"a\.zip is no zip archive, or was cut short"):
        verify(path)
    with pytest.raises(UserError, match="cannot be read"):
        verify(tmp_path / "nothing.zip")


def test_a_flipped_bit_anywhere_is_found(packed, tmp_path):
    whole = packed[0].read_bytes()
    for at in range(100, len(whole), len(whole) // 40):
        (tmp_path / "a.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            found = verify(tmp_path / "a.zip")
        except UserError:
            continue
        assert found.findings or members(tmp_path / "a.zip") == members(packed[0]), at


def another_id(folder):
    (card, *_) = sorted(folder.glob("craft/*/card.json"))
    sealed(card, lambda card: card["spec"].update(seed=7))


def other_bytes(folder):
    (card,) = folder.glob("prepare/digits-5to9.*/card.json")
    artifact = card.with_name("data.safetensors")
    artifact.write_bytes(artifact.read_bytes() + b" ")
    sealed(card, lambda card: card["outputs"].update({artifact.name: store.describe(artifact)}))


def unsealed(folder):
    (card, *_) = sorted(folder.glob("evaluate/*/card.json"))
    card.write_text(card.read_text().replace('"seconds": ', '"seconds": 1'))


def better_csv(folder):
    path = folder / "tables/davchev/table1.csv"
    path.write_text(path.read_text().replace("R_nat,", "R_nat,9", 1))
    sealed(path.with_suffix(".json"), lambda card: card["outputs"].update({path.name: store.describe(path)}))


def another_plan(folder):
    (path,) = folder.glob("plans/*.json")
    path.write_text(path.read_text().replace('"seed":0', '"seed":1', 1))


def another_product(folder):
    sealed(folder / "tables/davchev/table1.json", lambda card: card["spec"].update(title="Better"))


def another_table(folder):
    sealed(folder / "tables/davchev/table1.json", lambda card: card.update(key="davchev/table2"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (another_id, "its spec and parents do not give its id"),
        (other_bytes, "was made from other bytes of digits-5to9"),
        (unsealed, "it is not what was written"),
        (better_csv, "table1.csv does not show what the .parquet says"),
        (another_plan, "its content does not give its name"),
        (another_product, "does not show what the plan"),
        (another_table, "belongs to another table"),
    ],
)
def test_an_editor_who_makes_list_and_seals_right_again_is_found_by_what_else_they_say(packed, tmp_path, change, what):
    folder = unpacked(packed[0], tmp_path / "folder")
    change(folder)
    found = verify(redescribed(folder, tmp_path / "a.zip"))
    assert any(what in sentence for sentence in found.findings), found
    assert str(tmp_path) not in str(found.findings)


def test_a_number_that_its_outcomes_do_not_give_is_found(packed, tmp_path, capsys):
    folder = unpacked(packed[0], tmp_path / "folder")
    table = folder / "tables/davchev/table1.parquet"
    frame = pd.read_parquet(table)
    frame.loc[0, "value"] += 1
    frame.to_parquet(table, index=False)
    sealed(table.with_suffix(".json"), lambda card: card["outputs"].update({table.name: store.describe(table)}))
    found = verify(redescribed(folder, tmp_path / "a.zip"))
    assert any(what.startswith("davchev/table1, R_nat, clean: value is") for what in found.findings)
    assert (found.numbers["computed"], found.numbers["same"]) == (4, 3)
    assert run("verify", tmp_path / "a.zip") == 1
    assert "damaged: davchev/table1, R_nat, clean" in capsys.readouterr().out


def test_a_card_that_was_written_anew_with_the_same_bytes_is_noted(packed, tmp_path):
    folder = unpacked(packed[0], tmp_path / "folder")
    (card,) = folder.glob("transfer/*/card.json")
    sealed(card, lambda card: card.update(seconds=1.0))
    found = verify(redescribed(folder, tmp_path / "a.zip"))
    assert found.findings == []
    assert found.notes and all("was written anew, or edited" in note for note in found.notes)
