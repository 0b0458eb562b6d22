"""What a training leaves beside its model: a row an epoch; how it is checked and drawn. And the rates in the logs."""

import json
import logging
import shutil
import sys

import pandas as pd
import pytest

from made import TABLE, table1
from robust_transfer import audit, pace, store
from robust_transfer.errors import UserError
from robust_transfer.figures.history import draw
from robust_transfer.run import nodes
from robust_transfer.share import crate
from robust_transfer.share.verify import verify
from robust_transfer.stages.node import KINDS
from robust_transfer.training.run import as_csv
from workspace import run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(a folder of results with one evaluated model, its plan). Nobody changes it."""
    root = tmp_path_factory.mktemp("made") / "results"
    return root, table1(root, rows=1, columns=1)


@pytest.fixture
def results(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "results")
    return tmp_path / "results"


def history_in(results):
    (path,) = results.glob("pretrain/*/history.csv")
    return path


# ---- the file ------------------------------------------------------------------------------------------------------


def test_a_row_an_epoch_and_the_card_describes_the_file(made):
    path = history_in(made[0])
    found, card = pd.read_csv(path), store.read_card(path.with_name("card.json"))
    assert list(found.columns) == ["epoch", "loss", "lr", "clean", "selected_by", "seconds"]
    assert list(found.epoch) == [1, 2] and list(found.lr.round(6)) == [0.1, 0.01]
    assert card["beside"] == {"history.csv": store.describe(path)}
    assert card["outputs"].keys() == {"model.safetensors"}, "what the chain is about"
    last = found.iloc[-1]
    assert card["metrics"] == {name: last[name] for name in ("epoch", "loss", "clean", "selected_by")} | {
        "best": found.selected_by.max()
    }
    assert all(store.read_card(path)["beside"] == {} for path in made[0].glob("evaluate/*/card.json"))


def test_made_again_it_differs_in_seconds_alone_and_the_model_not_at_all(made, results):
    path, plan = history_in(results), made[1]
    node = plan.nodes[path.parent.name]
    nodes.make(node, plan, "plan", results, 1)
    before, after = pd.read_csv(history_in(made[0])), pd.read_csv(path)
    pd.testing.assert_frame_equal(before.drop(columns="seconds"), after.drop(columns="seconds"), check_exact=True)
    one, other = (store.read_card(root / node.card)["outputs"] for root in (made[0], results))
    assert one == other


def test_what_was_not_measured_is_blank():
    history = [{"epoch": 1, "loss": 0.1 + 0.2, "lr": 0.1, "seconds": 1.0}, {"epoch": 1, "loss": 0.5, "clean": 50.0}]
    assert as_csv(history) == "epoch,loss,lr,clean,seconds\n1,0.30000000000000004,0.1,,1.0\n1,0.5,,50.0,\n"


# ---- the audit -----------------------------------------------------------------------------------------------------


def findings(results):
    found = list(audit.findings(audit.Stored(results)))
    what = {kind: [each.what for each in found if (each.severity == "note") == kind] for kind in (False, True)}
    return what[False], [remark for remark in what[True] if "uncommitted" not in remark]


def test_a_history_belongs_there_and_one_without_is_sound_too(made, results):
    assert findings(made[0]) == ([], [])
    path = history_in(results).with_name("card.json")
    card = json.loads(path.read_text())
    del card["beside"], card["seal"]
    store.write_card(path, card)
    damages, remarks = findings(results)
    assert damages == []
    assert f"{history_in(results)} is foreign" in remarks[-1], "the card does not say that it was written"


def test_an_edited_history_is_damage_that_costs_no_training(results):
    path = history_in(results)
    path.write_text(path.read_text().replace("epoch", "Epoch"))
    damages, _ = findings(results)
    assert damages == [f"{path} was edited: its content is not what was written"]
    assert audit.repair(audit.findings(audit.Stored(results))) == [], "nothing is to be made anew"
    damages, remarks = findings(results)
    assert damages == []
    assert remarks == [f"deleted: 1 histories of trainings, {path} first; nothing is made from them"]
    assert store.checked_artifact(path.parent, "model.safetensors").exists()


@pytest.mark.parametrize("beside", [3, [], {"history.csv": 1}, {"../x": {"sha256": "", "bytes": 1}}])
def test_a_card_with_something_else_there_is_no_card(results, beside):
    path = history_in(results).with_name("card.json")
    card = json.loads(path.read_text()) | {"beside": beside}
    del card["seal"]
    store.write_card(path, card)
    assert any("is damaged" in what for what in findings(results)[0])


def test_it_goes_into_an_archive_and_is_checked_there(results, tmp_path):
    crate.pack(TABLE, results, tmp_path / "a.zip", "none")
    assert verify(tmp_path / "a.zip").findings == []
    history_in(results).write_text("epoch\n")
    crate.pack(TABLE, results, tmp_path / "b.zip", "none")
    assert [what.rpartition("/")[2] for what in verify(tmp_path / "b.zip").findings] == ["history.csv was edited"]


# ---- curves --------------------------------------------------------------------------------------------------------


def test_curves_draws_the_models_named(made, tmp_path, capsys):
    target = tmp_path / "curves.png"
    assert run("--results", made[0], "curves", "resnet8w4.nat", "-o", target) == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    assert history_in(made[0]).parent.name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("prepare",), "no node is named prepare"),
        (("digits-5to9.b",), "no node is named digits-5to9.b"),
        (("resnet8w4.nat", "-o", "curves.txt"), "is no .png"),
    ],
)
def test_what_cannot_be_drawn_is_said(made, words, what):
    assert what in run("--results", made[0], "curves", *words)


def test_curves_exports_every_number_to_tensorboard(made, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run("--results", made[0], "curves", "resnet8w4.nat", "--tensorboard", tmp_path / "events") == 0
    (folder,) = (tmp_path / "events").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    (path,) = made[0].glob("*/*resnet8w4.nat.*/history.csv")
    history = pd.read_csv(path).set_index("epoch")
    assert folder.name == path.parent.name and {*events.Tags()["scalars"]} == {*history}
    for column in history:
        found = {event.step: event.value for event in events.Scalars(column)}
        assert found == pytest.approx(history[column].dropna().to_dict())


def test_without_tensorboard_it_is_named(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    words = ("--results", made[0], "curves", "resnet8w4.nat", "--tensorboard", tmp_path / "events")
    assert "`pip install tensorboard`" in run(*words)


def test_a_model_of_before_has_no_curves(results):
    history_in(results).unlink()
    assert "has no history.csv" in run("--results", results, "curves", "resnet8w4.nat")


def test_the_lines_are_the_numbers():
    nat = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "lr": [0.1, 0.1, 0.01], "clean": [None, None, 90]})
    adv = pd.DataFrame({"epoch": [1, 2, 2], "loss": [3, 2, 2], "lr": [0.1, 0.1, None], "adversarial": [5, 6, 60]})
    figure = draw({"nat": nat, "adv": adv})
    loss, rate, accuracy = figure.axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[3, 2, 1], [3, 2]]
    assert [list(line.get_ydata()) for line in rate.lines] == [[0.1, 0.1, 0.01], [0.1, 0.1]]
    drawn = [(line.get_linestyle(), list(line.get_ydata())) for line in accuracy.lines if len(line.get_ydata())]
    assert drawn == [("-", [90]), ("--", [5, 6]), ("None", [60])]


def test_a_node_is_found_by_a_part_that_is_its_alone(made):
    folder = history_in(made[0]).parent
    for name in (folder.name, folder.name[-12:], f"{folder}/", f"{folder}/card.json"):
        assert store.find(made[0], name, KINDS) == folder
    with pytest.raises(UserError, match=r"2 nodes have resnet8w4\.nat in their name"):
        store.find(made[0], "resnet8w4.nat", KINDS)
    with pytest.raises(UserError, match="no node is named"):
        store.find(made[0], "nothing", KINDS)


# ---- rates in the log ----------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """The time, in a list of one."""
    now = [100.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    return now


def test_the_log_has_rate_and_time_left_at_most_every_ten_seconds(clock, caplog):
    caplog.set_level(logging.INFO)
    images = pace.Pace("images", 10_000, done=1000)
    for second in range(35):
        clock[0] = 100.0 + second
        images.tell(1000 + 50 * second, " (epoch 2)")
    assert caplog.messages == [
        "1500 of 10000 images (epoch 2): 50 a second, 3 min left",
        "2000 of 10000 images (epoch 2): 50 a second, 3 min left",
        "2500 of 10000 images (epoch 2): 50 a second, 2 min left",
    ]


def test_slow_things_and_those_that_may_end_earlier(clock):
    slow = pace.Pace("iterations", 5000, at_most=True)
    assert slow.rate(0) == ""
    clock[0] += 60
    assert slow.rate(20) == "3 s each, 4.2 h left at most"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h"), (2e5, "2.3 days")]
)
def test_times_in_words(seconds, words):
    assert pace.in_words(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (163e6, "163 MB"), (999.6e6, "1 GB"), (5.04e9, "5.04 GB"),
     (0.36e12, "360 GB"), (1.44e12, "1.44 TB")],
)  # fmt: skip
def test_sizes_in_words(count, words):
    assert pace.in_bytes(count) == words
