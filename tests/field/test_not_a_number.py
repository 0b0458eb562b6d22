"""A network that says NaN ends in a sentence that names it, never in a number."""

import json

import pytest
import torch

from robust_transfer import store
from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.models.classifier import predict
from robust_transfer.plan import build
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import Augmentation, CifarResNet, Digits, Fgsm, Recipe, Schedule
from robust_transfer.run import nodes

MACHINE = {"threads": 1, "gpus": 0, "memory_mb": 1000, "device": "cpu", "checkpoint_seconds": 600}
NETWORK = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=2)


def network():
    return files.build(NETWORK, 1, 10)


@pytest.mark.parametrize("part", ["head.weight", "head.bias", "running_var"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_written_nor_loaded(tmp_path, part, value, monkeypatch):
    broken = network()
    name = next(name for name in broken.state_dict() if name.endswith(part))
    broken.state_dict()[name].view(-1)[-1] = value
    with pytest.raises(UserError, match=f"{name} is not finite; the training has diverged"):
        files.save(tmp_path / "model.safetensors", broken, NETWORK, 1, 10)
    assert not (tmp_path / "model.safetensors").exists()
    with monkeypatch.context() as patch:
        patch.setattr(files, "_not_finite", lambda _: None)
        files.save(tmp_path / "model.safetensors", broken, NETWORK, 1, 10)
    with pytest.raises(UserError, match=rf"model\.safetensors: {name} is not finite"):
        files.load(tmp_path / "model.safetensors")


def test_logits_that_are_not_finite_are_no_prediction():
    broken = network()
    images = torch.full((2, 1, 8, 8), 255, dtype=torch.uint8)
    assert predict(broken, images).shape == (2, 10)
    with torch.no_grad():
        broken.head.bias[3] = float("inf")
    with pytest.raises(FloatingPointError, match="logits are not finite"):
        predict(broken, images)


@pytest.fixture(scope="module")
def overflown(tmp_path_factory):
    """(plan, results, data, model): a model with finite weights, whose features overflow."""
    results = tmp_path_factory.mktemp("overflown")
    plan = Plan({"config": {}, "main_study": "s", "machine": MACHINE, "data_root": "data"})
    data = build.prepare(plan, Digits(reader="sklearn-digits", limit=4))
    recipe = Recipe(network=NETWORK, schedule=Schedule(iterations=1, batch_size=8, lr=0.1))
    model = build.pretrain(plan, data, recipe)
    for node in (data, model):
        nodes.make(node, plan, "test", results, 1)
    path = results / model.artifact
    broken, spec, channels, classes = files.load(path)
    with torch.no_grad():
        for parameter in broken.parameters():  # all of them: gradients are taken in double precision
            parameter.fill_(3e38)
        broken.head.weight[::2].neg_()
    files.save(path, broken, spec, channels, classes)
    card = json.loads((results / model.card).read_text()) | {"outputs": {path.name: store.describe(path)}}
    store.write_card(results / model.card, {key: value for key, value in card.items() if key != "seal"})
    return plan, results, data, model


CONSUMERS = {
    "evaluate": lambda plan, data, model: build.evaluate(plan, model, data),
    "evaluate on train": lambda plan, data, model: build.evaluate(plan, model, data, split="train"),
    "craft": lambda plan, data, model: build.craft(plan, model, data, Fgsm(algorithm="fgsm", eps=0.1), 0),
    "choose": lambda plan, data, model: build.choose(plan, data, [({"lr": 0.1}, model)]),
    "features": lambda plan, data, model: build.features(plan, model, data),
    "gradients": lambda plan, data, model: build.gradients(plan, model, data, 2),
    "displacement": lambda plan, data, model: build.displacement(plan, model, data, Augmentation(flip=True), 0),
    "measure": lambda plan, data, model: build.measure(plan, model, model, data),
}


@pytest.mark.parametrize("name", CONSUMERS)
def test_whoever_looks_at_such_a_network_names_it(overflown, name):
    plan, results, data, model = overflown
    node = CONSUMERS[name](plan, data, model)
    with pytest.raises(UserError, match=rf"not finite.*{model.id} has diverged"):
        nodes.make(node, plan, "test", results, 1)
    assert not (results / node.artifact).exists() and not (results / node.card).exists()
