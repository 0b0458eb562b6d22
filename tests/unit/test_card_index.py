"""Cards that nobody touched are not read again, and every touch shows."""

import os
from pathlib import Path

import pytest

from robust_transfer import card_index, chain, outlook, store
from robust_transfer.card_index import CardIndex
from robust_transfer.plan import build
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import CifarResNet, Digits, Recipe, Schedule
from robust_transfer.stages.node import KINDS


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A data set and a model, made long ago, in the folder `results`."""
    monkeypatch.chdir(tmp_path)
    plan = Plan({"config": {}, "main_study": "s", "data_root": "data"})
    data = build.prepare(plan, Digits(reader="sklearn-digits"))
    network = CifarResNet(family="cifar-resnet", depth_per_stage=[1])
    schedule = Schedule(epochs=1, batch_size=2, lr=0.1)
    model = build.pretrain(plan, data, Recipe(network=network, schedule=schedule))
    for node, read in ((data, {}), (model, {"data": data.id})):
        written(node, dict.fromkeys(read, "0" * 64))
    monkeypatch.setattr(card_index, "SETTLED_NS", -(10**12))  # as if they were
    return plan


def card_of(node, read, sha256="0" * 64):
    entries = {role: {"id": node.parents[role], "sha256": of, "seal": "0" * 64} for role, of in read.items()}
    outputs = {KINDS[node.kind].artifact: {"sha256": sha256, "bytes": 0}}
    return {"id": node.id, "outputs": outputs, "read": entries, "data": {}, "files": []}


def written(node, read, **more):
    store.write_card(Path("results", node.card), card_of(node, read, **more))
    Path("results", node.artifact).touch()


def looked(plan):
    """What is out of date and what is settled, and how many cards were read for that."""
    reads, plain = [], store.glance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "glance", lambda path, node=None: reads.append(path) or plain(path, node))
        found, settled = outlook.look(plan, Path("results"))
    assert found == chain.out_of_date(plan, Path("results"))
    return found, settled, len(reads)


def test_a_second_look_reads_no_card(plan):
    assert looked(plan) == ({}, set(plan.nodes), 2)
    assert looked(plan) == ({}, set(plan.nodes), 0)


def replaced(path, text):
    path.with_suffix(".new").write_bytes(text)
    path.with_suffix(".new").replace(path)


def in_place(path, text):
    with open(path, "r+b") as file:
        file.write(text)


@pytest.mark.parametrize("edit", [replaced, in_place])
def test_other_bytes_show_whatever_their_size_and_time(plan, edit):
    looked(plan)
    data, model = plan.nodes.values()
    path = Path("results", data.card)
    before = path.stat()
    edit(path, path.read_bytes().replace(b'"' + b"0" * 64, b'"' + b"1" * 64, 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and path.stat().st_mtime_ns == before.st_mtime_ns
    found, settled, reads = looked(plan)
    assert list(found) == [model.card] and "other bytes" in found[model.card]
    assert (settled, reads) == ({data.id}, 1)


def test_a_card_that_is_gone_or_no_card_is_not_remembered(plan):
    looked(plan)
    data, model = plan.nodes.values()
    Path("results", model.card).unlink()
    assert looked(plan)[1] == {data.id}
    Path("results", data.card).write_text("{")
    cards = CardIndex(Path("results"))
    assert cards.glance(data) is None and cards.glance(model) is None


def test_what_was_touched_just_now_is_read_again(plan, monkeypatch):
    monkeypatch.setattr(card_index, "SETTLED_NS", 10**12)
    assert looked(plan)[2] == looked(plan)[2] == 2


@pytest.mark.parametrize(
    "change", [lambda text: text[:-9], lambda text: text.replace(b"1", b"2"), lambda _: b"\xff\n["]
)
def test_a_damaged_index_counts_as_none(plan, change):
    looked(plan)
    path = Path("results", card_index.NAME)
    path.write_bytes(change(path.read_bytes()))
    assert looked(plan) == ({}, set(plan.nodes), 2)
    assert looked(plan)[2] == 0


def test_where_no_index_can_be_written_cards_are_read(plan):
    Path("results", card_index.NAME).mkdir()
    assert looked(plan)[2] == looked(plan)[2] == 2
