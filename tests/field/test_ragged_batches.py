"""A last batch of one image, and splits smaller than a batch: they change no result of any stage."""

import json
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from made import MACHINE
from robust_transfer.plan import build, freeze
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import Augmentation, CifarResNet, Fgsm, Npz, Recipe, Smoothing
from robust_transfer.run import nodes

AFTER_TRAINING = ("features", "craft", "evaluate", "certify", "measure", "gradients", "displacement")


def planned():
    plan = Plan({"config": {}, "main_study": "s", "machine": MACHINE, "data_root": "data"})
    data = build.prepare(plan, Npz(reader="npz", file="mine.npz", validation=0))
    network = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=2)
    short = {"iterations": 2, "batch_size": 2, "lr": 0.1}
    source = build.pretrain(plan, data, Recipe(network=network, schedule=short))
    target = build.transfer(plan, data, Recipe(schedule=short), start=source)
    build.features(plan, target, data)
    build.evaluate(plan, target, data)
    build.attacked(plan, target, data, Fgsm(algorithm="fgsm", eps=0.1), 0)
    build.certify(plan, target, data, Smoothing(sigma=0.1, n=129, n0=3, images=100), 0)
    build.measure(plan, target, source, data)
    build.gradients(plan, target, data, 100)
    build.displacement(plan, target, data, Augmentation(flip=True), 0)
    return plan


def values(file):
    """The numbers that an artifact holds, by name."""
    if file.suffix == ".parquet":
        return {name: column.to_numpy() for name, column in pd.read_parquet(file).items()}
    if file.suffix == ".json":
        return json.loads(file.read_text(encoding="utf-8"))
    return {name: array.astype(float) for name, array in load_file(file).items()}


@pytest.mark.parametrize("count", [9, 3], ids=["2 x 4 + 1 images", "fewer than 4"])
def test_batches_change_nothing(tmp_path, monkeypatch, count):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(freeze.VARIABLE, "")
    (tmp_path / "data").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (2, count, 8, 8, 1), np.uint8)
    labels = np.arange(count) % 2
    np.savez("data/mine.npz", train_images=images[0], train_labels=labels, test_images=images[1], test_labels=labels)
    plan = planned()
    made = {}
    for batch in (4, 1000):
        for kind in AFTER_TRAINING:
            monkeypatch.setattr(import_module(f"robust_transfer.stages.{kind}"), "BATCH", batch, raising=False)
        results = tmp_path / f"results{batch}"
        path = freeze.freeze(plan, results)
        for node in plan.ancestry(plan.nodes):
            nodes.make(node, plan, path.stem, results, 1)
        after = [node for node in plan.nodes.values() if node.kind in AFTER_TRAINING]
        made[batch] = {node.id: values(results / node.artifact) for node in after}
    assert len(made[4]) == 8
    for name, whole in made[1000].items():
        for what, value in whole.items():
            np.testing.assert_allclose(made[4][name][what], value, rtol=1e-4, atol=1e-5, err_msg=f"{name} {what}")
