"""A batch that passes in parts, because memory does not hold it: the step is that of the whole."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from robust_transfer.attacks.ready import attack_ready
from robust_transfer.data.batches import Part
from robust_transfer.data.tensors import PreparedData, TensorSplit
from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.plan.specs import CifarResNet, Pgd, Recipe
from robust_transfer.signals import Interrupted, StopRequest
from robust_transfer.terms.trades import diverging
from robust_transfer.training import gradients
from robust_transfer.training.loop import train
from robust_transfer.training.objective import Objective
from robust_transfer.training.parts import AsPart

pytestmark = pytest.mark.usefixtures("one_thread")

NETWORK = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1], width=4)
PGD = {"algorithm": "pgd", "eps": 0.1, "steps": 2, "step_size": 0.05, "random_start": True}
FREE = {"algorithm": "free", "eps": 0.1, "replay": 2}
RECIPES = {
    "random start": {"inputs": {"attack": PGD}},
    "one of both": {"inputs": {"attack": PGD, "mixing": "either"}},
    "l2": {"inputs": {"attack": PGD | {"norm": "l2"}, "clean_weight": 0}},
    "dropout": {"dropout": 0.5},
    "a sum": {"inputs": {"attack": PGD}, "terms": {"feature_distance": {"weight": 0.1, "units": 2}}},
    "noisy copies": {"inputs": {"noise": 0.1}, "terms": {"consistency": {"weight": 1, "entropy": 0.1, "copies": 3}}},
    "free": {"inputs": {"attack": FREE, "clean_weight": 0}},
}


def part(count, seed):
    draw = torch.Generator().manual_seed(seed)
    return TensorSplit(
        torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=draw), torch.arange(count) % 4
    )


DATA = PreparedData(part(24, 1), part(8, 2), part(4, 3))


def recipe(**more):
    schedule = {"epochs": 2, "batch_size": 12, "lr": 0.05, "crop_padding": 1} | more.pop("schedule", {})
    return Recipe(schedule=schedule, **({"trained_statistics": "freeze"} | more))


def trained(of, tmp_path, stop=None, computed=None):
    torch.manual_seed(0)
    net = files.build(NETWORK, 1, 4)
    given = {"stop": StopRequest() if stop is None else stop, "computed": computed}
    history = train(net, DATA, of, "pretrain.0", tmp_path / "state", math.inf, **given)
    return net.state_dict(), history


class Card:
    """A device that holds so many images at once in training, and tells when they are more."""

    def __init__(self, monkeypatch, holds):
        self.holds, self.seen, call = holds, [], Objective.__call__

        def counting(objective, images, *others):
            self.seen.append(len(images))
            loss = call(objective, images, *others)  # it has drawn, and changed statistics, before it fails
            if len(images) > self.holds:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return loss

        monkeypatch.setattr(Objective, "__call__", counting)
        monkeypatch.setattr(gradients, "may_run_out", lambda network: True)


@pytest.mark.parametrize("name", RECIPES)
def test_the_step_is_that_of_the_whole_batch(name, tmp_path, monkeypatch, caplog):
    of = recipe(**RECIPES[name])
    whole, history = trained(of, tmp_path)
    card, computed = Card(monkeypatch, 4), {}
    parts, in_parts = trained(of, tmp_path, computed=computed)
    assert card.seen[:6] == [12, 6, 4, 4, 4, 4]
    assert set(card.seen[6:]) == {4}, "it does not try again what does not fit"
    apart = {key: float((whole[key] - parts[key]).abs().max()) for key in whole}
    assert max(apart.values()) < 1e-4, apart
    for one, other in zip(history, in_parts, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    assert computed == {"parts": 3}
    assert "batches of 12 pass in 3 parts" in caplog.text


def test_a_network_without_buffers_is_split_too(tmp_path, monkeypatch):
    build = files.build

    def without(*given):
        net = build(*given)
        for module in net.modules():
            for name in [*module._buffers]:
                kept = module._buffers.pop(name)
                setattr(module, name, kept)
        assert not [*net.buffers()]
        return net

    monkeypatch.setattr(files, "build", without)
    card = Card(monkeypatch, 4)
    trained(recipe(), tmp_path)
    assert card.seen[:4] == [12, 6, 4, 4]


def test_batch_norm_counts_each_part_by_itself_and_what_failed_not_at_all(tmp_path, monkeypatch):
    of = recipe(trained_statistics="update")
    Card(monkeypatch, 4)
    parts, _ = trained(of, tmp_path)
    assert {int(value) for key, value in parts.items() if key.endswith("num_batches_tracked")} == {3 * 2 * 2}


def test_a_saved_state_says_how_many_parts(tmp_path, monkeypatch):
    class After(StopRequest):
        left = 3

        def __bool__(self):
            self.left -= 1
            self.signal = None if self.left else 15
            return not self.left

    of = recipe(inputs={"attack": PGD})
    Card(monkeypatch, 4)
    once, _ = trained(of, tmp_path)
    with pytest.raises(Interrupted):
        trained(of, tmp_path, After())
    with safe_open(tmp_path / "state", "pt") as file:
        assert json.loads(file.metadata()["about"])["parts"] == 3
    card = Card(monkeypatch, 4)
    again, _ = trained(of, tmp_path)
    assert set(card.seen) == {4}
    assert all(torch.equal(once[key], again[key]) for key in once)


@pytest.mark.parametrize(
    ("more", "holds"),
    [({}, 1), ({"terms": {"contrastive": {"temperature": 0.5}}}, 6), ({"compile": True}, 6)],
    ids=["too few", "compared with each other", "compiled"],
)
def test_what_cannot_be_split_ends_with_a_sentence(more, holds, tmp_path, monkeypatch):
    monkeypatch.setattr(Objective, "_compile", lambda self: None)
    Card(monkeypatch, holds)
    with pytest.raises(UserError, match=r"does not hold (2|12) images of a batch .* lower batch_size"):
        trained(recipe(**more), tmp_path)


def test_what_runs_out_of_memory_elsewhere_than_on_a_card_is_no_matter_of_parts(tmp_path, monkeypatch):
    Card(monkeypatch, 4)
    monkeypatch.setattr(gradients, "may_run_out", lambda network: False)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        trained(recipe(), tmp_path)


# ---- draws ---------------------------------------------------------------------------------------------------------

DRAWS = {
    "rand": lambda n: torch.rand(n, 3),
    "randn of a size": lambda n: torch.randn((n, 3), dtype=torch.float64),
    "like": lambda n: torch.rand_like(torch.empty(n, 2)),
    "filled": lambda n: torch.empty(n, 1, 8, 8).uniform_(-1, 1),
    "copies": lambda n: torch.randn(n * 2, 5).unflatten(0, (2, n)).transpose(0, 1),
    "attempts": lambda n: torch.rand(7, n).T,
    "dropout": lambda n: F.dropout(torch.ones(n, 9), 0.3),
    "dropout of channels": lambda n: F.dropout2d(torch.ones(n, 9, 2, 2), 0.3),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_part_draws_its_rows_of_the_whole(name):
    draw = DRAWS[name]
    torch.manual_seed(5)
    whole, after = draw(12), torch.rand(3)
    for index in range(3):
        torch.manual_seed(5)
        with AsPart(Part(index, 3), rows=4):
            assert torch.equal(draw(4), whole[4 * index : 4 * index + 4])
        assert torch.equal(torch.rand(3), after)


def test_the_attack_of_a_term_starts_from_its_rows():
    """Not held by whole trainings: signs of gradients near zero turn with the last bit."""
    torch.manual_seed(0)
    ready, images = attack_ready(files.build(NETWORK, 1, 4).eval()), torch.rand(12, 1, 8, 8)
    attack = Pgd(**PGD | {"random_start": False})
    torch.manual_seed(1)
    whole = diverging(ready, images, attack)
    torch.manual_seed(1)
    with AsPart(Part(1, 3), rows=4):
        assert torch.allclose(diverging(ready, images[4:8], attack), whole[4:8], atol=1e-6)


def test_what_is_drawn_for_no_image_is_the_same_for_all_parts():
    def draw():
        torch.manual_seed(5)
        return torch.rand(()), torch.rand(5), F.dropout(torch.ones(8, 8), 0.5, training=False)

    with AsPart(Part(1, 3), rows=4):
        inside = draw()
    assert all(map(torch.equal, inside, draw()))
