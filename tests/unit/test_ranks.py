"""A training in two processes against the same in one: equal but for rounding, stopped and continued alike."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from made import MACHINE
from robust_transfer.errors import UserError
from robust_transfer.plan import build, freeze
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import CifarResNet, Npz, Recipe
from robust_transfer.run import nodes
from robust_transfer.stages.job import HISTORY
from robust_transfer.store import read_card
from robust_transfer.training.ranks import LOST, count_for

PACKAGE = Path(nodes.__file__).parents[1]
TWO = MACHINE | {"gpus": 2}
NETWORK = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=4)
PGD = {"algorithm": "pgd", "eps": 0.1, "steps": 2, "step_size": 0.05, "random_start": True}
RECIPES = {
    "everything": {
        "inputs": {"attack": PGD},
        "dropout": 0.2,
        "terms": {"feature_distance": {"weight": 0.1, "units": 2}, "head_penalty": 0.01},
        "schedule": {"select": "best_validation"},
    },
    "contrastive": {"terms": {"contrastive": {"temperature": 0.5, "batch_norm": True}}},
    "free": {"inputs": {"attack": {"algorithm": "free", "eps": 0.1, "replay": 2}, "clean_weight": 0}},
}


class Place:
    """A plan of one training, and folders in which it is made."""

    def __init__(self, folder, machine=MACHINE, length=8, **recipe):
        self.results = folder
        self.plan = Plan({"config": {}, "main_study": "s", "machine": machine, "data_root": "data"})
        schedule = {"iterations": length, "batch_size": 8, "lr": 0.05} | recipe.pop("schedule", {})
        data = build.prepare(self.plan, Npz(reader="npz", file="mine.npz", validation=0.5))
        self.node = build.pretrain(self.plan, data, Recipe(network=NETWORK, schedule=schedule, **recipe))
        self.path = freeze.freeze(self.plan, folder)
        os.environ.pop(freeze.VARIABLE, None)
        nodes.make(data, self.plan, self.path.stem, folder, 1)

    def make(self):
        nodes.make(self.node, self.plan, self.path.stem, self.results, 1)
        return self.made()

    def made(self):
        folder = self.results / self.node.folder
        return load_file(folder / "model.safetensors"), read_card(folder / "card.json"), (folder / HISTORY).read_text()

    def start(self):
        words = ["node", self.node.id, "--plan", str(self.path), "--results", str(self.results)]
        environment = os.environ | {"ROBUST_TRANSFER_WARM": "0"}
        command = [sys.executable, "-P", str(PACKAGE / "run/__main__.py"), *words]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)

    @property
    def checkpoint(self):
        return self.results / "checkpoints" / f"{self.node.id}.safetensors"


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), np.uint8)
    given = {"images": images, "labels": np.arange(32) % 2}
    np.savez("data/mine.npz", **{f"{split}_{name}": of for split in ("train", "test") for name, of in given.items()})


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


# ---- the same ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_as_one(name, tmp_path):
    one, two = (Place(tmp_path / word, machine, **RECIPES[name]) for word, machine in (("1", MACHINE), ("2", TWO)))
    assert one.node.id == two.node.id
    (alone, card, history), (together, of_two, its_history) = one.make(), two.make()
    assert (card["computed"]["processes"], of_two["computed"]["processes"]) == (1, 2)
    apart = {key: float((alone[key].float() - together[key].float()).abs().max()) for key in alone}
    assert max(apart.values()) < 1e-4, apart
    columns = zip(*(text.replace("\n", ",").split(",") for text in (history, its_history)), strict=True)
    numbers = [(float(a), float(b)) for a, b in columns if a.replace(".", "").isdigit()]
    assert len(numbers) >= 4
    assert not [path for path in (tmp_path / "2").rglob("*") if path.name.endswith(".tmp")]


def test_batches_that_cannot_be_divided_are_said(tmp_path, caplog):
    def count(gpus, size, **more):
        of = Recipe(network=NETWORK, schedule={"iterations": 1, "batch_size": size, "lr": 0.1}, **more)
        place.plan.origin["machine"] = MACHINE | {"gpus": gpus}
        return count_for(nodes.job_of(place.node, place.plan, tmp_path, 1, tmp_path), of)

    place = Place(tmp_path / "r")
    caplog.clear()
    assert [count(gpus, 12) for gpus in (0, 1, 2, 3, 4)] == [1, 1, 2, 3, 4]
    assert not caplog.text
    assert count(4, 10) == 2
    assert "a batch of 10 is divided among 2 devices, not 4" in caplog.text
    assert count(4, 4) == 2, "batch norm takes no single image"
    with pytest.raises(UserError, match="is not compiled"):
        count(2, 8, compile=True)
    place.plan.origin["machine"] = MACHINE | {"gpus": 3, "device": "auto"}
    if not torch.cuda.is_available():
        assert count_for(nodes.job_of(place.node, place.plan, tmp_path, 1, tmp_path), place_recipe()) == 1
        assert "machine.gpus is 3, but here is 1" in caplog.text


def place_recipe():
    return Recipe(network=NETWORK, schedule={"iterations": 1, "batch_size": 6, "lr": 0.1})


# ---- stopped -------------------------------------------------------------------------------------------------------


def others(process):
    """The processes that a training has started."""
    found = psutil.Process(process.pid).children(recursive=True)
    return [each for each in found if any("multiprocessing.spawn" in word for word in each.cmdline())]


@pytest.fixture
def running(tmp_path):
    """A training of two processes that has saved its state."""
    place = Place(tmp_path / "stopped", TWO | {"checkpoint_seconds": 0.05}, length=60, inputs={"attack": PGD})
    process = place.start()
    wait_for(lambda: place.checkpoint.exists() or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()
    yield place, process
    if process.poll() is None:
        process.kill()


@pytest.mark.slow
def test_asked_to_stop_all_stop_and_the_same_command_ends_with_the_same_bits(running, tmp_path):
    place, process = running
    helpers = others(process)
    assert len(helpers) == 1
    os.killpg(process.pid, signal.SIGTERM)  # as Slurm and a terminal do: to every process
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "stopped by SIGTERM; the state is saved" in said
    psutil.wait_procs(helpers, timeout=10)
    assert not any(helper.is_running() for helper in helpers)
    saved = json.loads(_about(place.checkpoint))["iteration"]
    assert 0 < saved < 60
    continued, card, _ = place.make()
    whole, *_ = Place(tmp_path / "whole", TWO, length=60, inputs={"attack": PGD}).make()
    assert card["computed"]["processes"] == 2
    assert all(torch.equal(whole[name], continued[name]) for name in whole)


def _about(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()["about"]


def test_one_that_is_killed_ends_all_with_a_sentence_and_the_state_stays(running):
    place, process = running
    (helper,) = others(process)
    helper.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert LOST in said
    assert place.checkpoint.exists()
    assert not (place.results / place.node.card).exists()


def test_when_the_first_is_killed_the_others_end(running):
    _, process = running
    helpers = others(process)
    process.kill()
    process.wait(10)
    psutil.wait_procs(helpers, timeout=10)
    assert helpers and not any(helper.is_running() for helper in helpers)
