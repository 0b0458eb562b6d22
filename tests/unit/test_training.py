"""The training loop: schedules, losses, selection, and the state that survives a kill."""

import copy
import json
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

from robust_transfer import randomness
from robust_transfer.attacks.ready import attack_ready
from robust_transfer.data.augment import random_crop, random_flip, random_rotation
from robust_transfer.data.batches import taking_part
from robust_transfer.data.tensors import PreparedData, TensorSplit
from robust_transfer.errors import UserError
from robust_transfer.models import classifier, files
from robust_transfer.models.classifier import Observed
from robust_transfer.plan.specs import CifarResNet, Fgsm, Free, Inputs, Last, Pgd, Recipe, Schedule
from robust_transfer.randomness import derived, order, reseed
from robust_transfer.signals import Interrupted, StopRequest
from robust_transfer.training import checkpoint, loop, objective
from robust_transfer.training import run as training_run
from robust_transfer.training.averaging import Average
from robust_transfer.training.loop import train, validate
from robust_transfer.training.objective import Objective
from robust_transfer.training.schedule import learning_rate

pytestmark = pytest.mark.usefixtures("one_thread")

NETWORK = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1], width=4)
PGD = Pgd(algorithm="pgd", eps=0.1, steps=2, step_size="eps/2", random_start=True)
COUNT, BATCH = 26, 8
PER_EPOCH = 3  # the last two images of each epoch's order are left out


def part(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    images = torch.randint(0, 200, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)
    images[torch.arange(count), 0, labels] += 55  # a bright row tells the class
    return TensorSplit(images, labels)


DATA = PreparedData(part(COUNT, 1), part(12, 2), part(4, 3))


def network(seed=0):
    torch.manual_seed(seed)
    return files.build(NETWORK, 1, 4)


def recipe(attack=None, clean_weight=0.5, trainable="all", **schedule):
    schedule = {"epochs": 4, "batch_size": BATCH, "lr": 0.1, "weight_decay": 1e-3} | schedule
    return Recipe(trainable=trainable, inputs={"attack": attack, "clean_weight": clean_weight}, schedule=schedule)


def run(of, state, stop=None, data=DATA, name="pretrain.0123456789ab", every=math.inf, seed=0):
    """Train a new network; its weights and statistics, and the history without the seconds, never twice the same."""
    net = network(seed)
    torch.manual_seed(777)  # whatever the generators' state, it must not matter
    history = train(net, data, of, name, state, every, StopRequest() if stop is None else stop)
    assert all(entry.pop("seconds") >= 0 for entry in history)
    return net.state_dict(), history


def same(one, other):
    return list(one) == list(other) and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# ---- schedule and seeds --------------------------------------------------------------------------------------------


def rates(per_epoch, **schedule):
    of = Schedule(batch_size=2, **schedule)
    return [learning_rate(of, iteration, per_epoch) for iteration in range(of.epochs * per_epoch)]


def test_constant_rate():
    assert rates(3, epochs=2, lr=0.3) == [0.3] * 6


def test_steps_change_the_rate_between_epochs():
    found = rates(2, epochs=6, lr=0.8, decay="steps", milestones=[2, 5], gamma=0.5)
    assert found == [0.8] * 4 + [0.4] * 6 + [0.2] * 2


def test_davchevs_rates():
    # Text and code: 0.1, divided by ten at 100 and 150 of 200 epochs; in transfer every 20 of 50 epochs.
    from_scratch = rates(1, epochs=200, lr=0.1, decay="steps", milestones=[100, 150], gamma=0.1)
    assert [from_scratch[epoch] for epoch in (0, 99, 100, 149, 150, 199)] == pytest.approx(
        [0.1] * 2 + [0.01] * 2 + [0.001] * 2
    )
    transfer = rates(1, epochs=50, lr=0.1, decay="steps", milestones=[20, 40], gamma=0.1)
    assert [transfer[epoch] for epoch in (19, 20, 39, 40)] == pytest.approx([0.1, 0.01, 0.01, 0.001])


def test_half_a_cosine_over_all_iterations():
    found = rates(4, epochs=3, lr=0.6, decay="cosine")
    assert found[0] == 0.6
    assert found[6] == pytest.approx(0.3), "half of the way"
    assert found[4] == pytest.approx(0.6 * 0.75), "a third of the way: (1 + cos 60°) / 2"
    assert found[11] == pytest.approx(0.3 * (1 + math.cos(math.pi * 11 / 12)))
    assert found[11] > 0
    assert all(earlier > later for earlier, later in pairwise(found))


def test_the_optimiser_gets_the_rate_of_the_iteration(monkeypatch, tmp_path):
    seen = []
    step = torch.optim.SGD.step

    def noting(self, *arguments):
        seen.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", noting)
    run(recipe(lr=0.2, epochs=3, decay="steps", milestones=[1], gamma=0.5), tmp_path / "state")
    assert seen == [0.2] * 3 + [0.1] * 6


def test_derived_seeds_differ_by_seed_purpose_and_index():
    keys = [
        (seed, purpose, i) for seed in (0, 1, 11) for purpose in ("order", "iteration", "validation") for i in range(30)
    ]
    seeds = {derived(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived(3, "order") == derived(3, "order", 0)


def test_an_epochs_order_is_a_permutation_of_its_own():
    orders = [tuple(order(seed, epoch, 20).tolist()) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert len(set(orders)) == 6
    assert all(sorted(one) == list(range(20)) for one in orders)
    torch.manual_seed(5)
    assert tuple(order(0, 0, 20).tolist()) == orders[0]


def test_batches_follow_the_epochs_order_and_are_augmented_by_the_iterations_seed(monkeypatch, tmp_path):
    of = recipe(crop_padding=1, flip=True, epochs=2, seed=4)
    seen = []

    def noting(self, images, labels, _places):
        seen.append((images, labels))
        return self.network(images).sum() * 0

    monkeypatch.setattr(Objective, "__call__", noting)
    run(of, tmp_path / "state")
    assert len(seen) == 2 * PER_EPOCH
    for iteration, (images, labels) in enumerate(seen):
        epoch, position = divmod(iteration, PER_EPOCH)
        chosen = order(4, epoch, COUNT)[position * BATCH : (position + 1) * BATCH]
        reseed(4, "iteration", iteration)
        expected = random_flip(random_crop(DATA.train.images[chosen] / 255, 1))
        assert torch.equal(images, expected)
        assert torch.equal(labels, DATA.train.labels[chosen])


# ---- loss ----------------------------------------------------------------------------------------------------------


class Line(nn.Module):
    """One pixel x -> logits (w * x, 0)."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, images):
        first = images.flatten(1)[:, 0] * self.weight
        return torch.stack([first, torch.zeros_like(first)], 1)

    def observe(self, images, unit=None):
        return Observed([], images, self(images))


def loss_of(net, images, labels, of):
    return Objective(net, of, [])(images, labels, torch.arange(len(labels)))


@pytest.mark.parametrize("clean_weight", [0.0, 0.25, 0.5, 1.0])
def test_the_loss_is_the_weighted_sum_of_clean_and_adversarial(clean_weight):
    # Class 0 has probability s(2x); FGSM of 0.1 takes 0.5 to 0.4 and 0.3 to 0.2 (class 0), and 0.6 to 0.7 (class 1).
    images = torch.tensor([0.5, 0.3, 0.6]).view(3, 1, 1, 1)
    labels = torch.tensor([0, 0, 1])

    def cross_entropy(*pixels):
        a, b, c = (2 * x for x in pixels)
        return (math.log(1 + math.exp(-a)) + math.log(1 + math.exp(-b)) + math.log(1 + math.exp(c))) / 3

    clean, adversarial = cross_entropy(0.5, 0.3, 0.6), cross_entropy(0.4, 0.2, 0.7)
    of = recipe(attack=Fgsm(algorithm="fgsm", eps=0.1), clean_weight=clean_weight)
    found = loss_of(Line(2.0), images, labels, of)
    assert found.item() == pytest.approx(clean_weight * clean + (1 - clean_weight) * adversarial, rel=1e-6)
    assert loss_of(Line(2.0), images, labels, recipe()).item() == pytest.approx(clean, rel=1e-6)


def test_adversarial_examples_are_made_in_evaluation_mode_and_move_no_statistics(monkeypatch):
    net = network().train()
    with torch.no_grad():
        net(torch.rand(8, 1, 8, 8))  # statistics in which evaluation and training mode differ
    images, labels = DATA.train.images[:8] / 255, DATA.train.labels[:8]
    made = {}

    def noting(model, *arguments):
        made["training"] = any(module.training for module in model.modules())
        before = copy.deepcopy(model.state_dict())
        made["examples"] = perturb(model, *arguments)
        made["moved"] = not same(before, model.state_dict())
        return made["examples"]

    perturb = objective.perturb
    monkeypatch.setattr(objective, "perturb", noting)
    reference = attack_ready(net)
    torch.manual_seed(1)
    loss = loss_of(net, images, labels, recipe(PGD, clean_weight=0.0))
    assert made["training"] is False
    assert made["moved"] is False
    torch.manual_seed(1)
    assert torch.equal(made["examples"], perturb(reference, images, labels, PGD))
    assert net.stem[1].num_batches_tracked == 2, "one batch before, and the adversarial one"
    assert all(module.training for module in net.modules())
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert loss.item() == pytest.approx(F.cross_entropy(copy.deepcopy(net)(made["examples"]), labels).item())


def test_steps_are_those_of_sgd_with_momentum_and_weight_decay(tmp_path):
    of = recipe(epochs=1, momentum=0.8, weight_decay=0.05)
    found, history = run(of, tmp_path / "state")
    net = network().train()
    velocity, losses = {}, []
    for position in range(PER_EPOCH):
        chosen = order(0, 0, COUNT)[position * BATCH : (position + 1) * BATCH]
        loss = F.cross_entropy(net(DATA.train.images[chosen] / 255), DATA.train.labels[chosen])
        losses.append(loss.item())
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                gradient = parameter.grad + 0.05 * parameter
                velocity[name] = gradient if position == 0 else 0.8 * velocity[name] + gradient
                parameter -= 0.1 * velocity[name]
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(found[name], tensor, msg=name)
    assert history[0]["loss"] == pytest.approx(sum(losses) / 3)


# ---- selection -----------------------------------------------------------------------------------------------------


def selecting(monkeypatch, tmp_path, values, select="best_validation"):
    """The epoch whose weights a training ended with, given each epoch's selection metric."""
    weights = []

    def scripted(net, *_):
        weights.append(copy.deepcopy(net.state_dict()))
        return {"clean": 0.0, "selected_by": values[len(weights) - 1]}

    monkeypatch.setattr(loop, "validate", scripted)
    state, history = run(recipe(epochs=len(values), select=select), tmp_path / "state")
    assert [entry["selected_by"] for entry in history] == values
    assert [entry["epoch"] for entry in history] == list(range(1, len(values) + 1))
    return [epoch for epoch, kept in enumerate(weights, 1) if same(kept, state)]


@pytest.mark.parametrize(
    ("values", "epoch"),
    [([10.0, 30.0, 20.0], 2), ([30.0, 20.0, 30.0, 10.0], 3), ([0.0, 0.0], 2), ([50.0, 40.0, 30.0], 1)],
)
def test_the_best_epoch_is_kept_and_among_equals_the_later(monkeypatch, tmp_path, values, epoch):
    assert selecting(monkeypatch, tmp_path, values) == [epoch]


def test_or_simply_the_last_and_only_that_is_measured(monkeypatch, tmp_path):
    measured = []

    def scripted(net, *_):
        measured.append(copy.deepcopy(net.state_dict()))
        return {"clean": 0.0, "selected_by": 0.0}

    monkeypatch.setattr(loop, "validate", scripted)
    state, history = run(recipe(epochs=3), tmp_path / "state")
    assert ["clean" in entry for entry in history] == [False, False, True]
    assert len(measured) == 1
    assert same(measured[0], state)


def test_a_length_in_iterations_may_end_within_an_epoch(tmp_path):
    seven = recipe(epochs=None, iterations=PER_EPOCH * 2 + 1, decay="steps", milestones=[4])
    state, history = run(seven, tmp_path / "state")
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert [learning_rate(seven.schedule, i, PER_EPOCH) for i in range(7)] == pytest.approx([0.1] * 4 + [0.01] * 3)
    longer = run(recipe(epochs=None, iterations=PER_EPOCH * 3, decay="steps", milestones=[4]), tmp_path / "other")
    assert longer[1][:2] == history[:2], "the same batches in the same order"
    assert not same(longer[0], state)


# ---- a share of the images -----------------------------------------------------------------------------------------


def test_a_share_is_balanced_seeded_and_all_that_is_seen(monkeypatch, tmp_path):
    labels = torch.tensor([0] * 10 + [1] * 20 + [2] * 3)
    places = taking_part(labels, Inputs(share=0.33), seed=1)
    assert [(labels[places] == c).sum().item() for c in range(3)] == [3, 7, 1]
    assert torch.equal(places, taking_part(labels, Inputs(share=0.33), seed=1))
    assert not torch.equal(places, taking_part(labels, Inputs(share=0.33), seed=2))
    assert torch.equal(taking_part(labels, Inputs(), seed=1), torch.arange(33))
    few = taking_part(labels, Inputs(per_class=4), seed=1)
    assert [(labels[few] == c).sum().item() for c in range(3)] == [4, 4, 3]

    seen = []
    original = Objective.__call__
    monkeypatch.setattr(Objective, "__call__", lambda self, x, *rest: seen.append(x) or original(self, x, *rest))
    of = Recipe(inputs={"share": 0.5}, schedule={"epochs": 3, "batch_size": 4, "lr": 0.1})
    run(of, tmp_path / "state")
    kept = {
        tensor.numpy().tobytes()
        for tensor in DATA.train.images[taking_part(DATA.train.labels, Inputs(share=0.5), 0)] / 255
    }
    assert {image.numpy().tobytes() for batch in seen for image in batch} <= kept
    assert len(seen) == 3 * (len(kept) // 4)


# ---- the head first, the same batch again, a warm-up -----------------------------------------------------------------


def test_the_head_alone_moves_at_first(tmp_path):
    begin = network().state_dict()
    moved = {}
    for iterations in (5, 6):
        of = recipe(epochs=None, iterations=iterations, head_first=5, weight_decay=0.1)
        state, _ = run(of, tmp_path / f"state{iterations}")
        parameters = {name for name, _ in network().named_parameters()}
        moved[iterations] = {name for name in parameters if not torch.equal(begin[name], state[name])}
    assert moved[5] == {"head.weight", "head.bias"}
    assert len(moved[6]) == len(list(network().named_parameters()))


def test_a_warm_start_of_the_head_counts_epochs_where_the_length_does(tmp_path):
    seen = [run(recipe(head_first=2, epochs=epochs), tmp_path / f"state{epochs}")[0] for epochs in (2, 3)]
    begin = network().state_dict()
    assert [torch.equal(begin["stem.0.weight"], state["stem.0.weight"]) for state in seen] == [True, False]
    assert not torch.equal(begin["head.weight"], seen[0]["head.weight"])


def test_free_training_shows_each_batch_so_many_times(monkeypatch, tmp_path):
    seen = []
    original = Objective.__call__
    monkeypatch.setattr(Objective, "__call__", lambda self, x, *rest: seen.append(x) or original(self, x, *rest))
    run(recipe(FREE, clean_weight=0.0, epochs=None, iterations=8), tmp_path / "state")
    assert [torch.equal(a, b) for a, b in pairwise(seen)] == [True, True, False, True, True, False, True]


def test_a_warm_up_rises_in_a_straight_line_and_shifts_nothing():
    found = rates(4, lr=0.8, epochs=3, warm_up=1, decay="steps", milestones=[2])
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8] + [0.8] * 4 + [0.08] * 4)


def test_rotation_turns_about_the_centre(monkeypatch):
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 0, 2] = 1.0  # the middle of the upper edge
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, *_: self.fill_(math.pi / 2))
    turned = random_rotation(image, 90)
    assert turned.sum() == 1
    assert turned[0, 0, 2, 0] == 1 or turned[0, 0, 2, 4] == 1
    wide = torch.zeros(1, 1, 4, 8)
    wide[0, 0, 1:3, 3:5] = 1.0  # a square in the middle stays one
    assert torch.equal(random_rotation(wide, 90), wide)


# ---- images that a network cannot take ----------------------------------------------------------------------------


def test_a_network_is_shown_an_image_before_it_is_trained():
    net = network()
    before = copy.deepcopy(net.state_dict())
    training_run._must_take(net, NETWORK, DATA)
    assert same(net.state_dict(), before)
    net.stem.insert(0, nn.Conv2d(1, 1, 9))
    with pytest.raises(UserError, match=r"resnet6w4 cannot take images of 1 x 8 x 8 .*; take larger ones, or another"):
        training_run._must_take(net, NETWORK, DATA)


# ---- weight averaging ----------------------------------------------------------------------------------------------


def averaging(every=2, dropout=False, **parts):
    schedule = {"iterations": 9, "batch_size": BATCH, "lr": 0.1, "momentum": 0.5}
    return Recipe(averaging={"every": every, "dropout": dropout}, schedule=schedule, **parts)


def test_the_average_is_the_mean_of_the_weights_after_every_few_iterations(monkeypatch, tmp_path):
    taken = []
    take = Average.take
    monkeypatch.setattr(
        Average, "take", lambda self, net: taken.append(copy.deepcopy(net.state_dict())) or take(self, net)
    )
    state, _ = run(averaging(), tmp_path / "state")
    assert len(taken) == 4
    for iterations, snapshot in zip((2, 4, 6, 8), taken, strict=True):
        plain = Recipe(schedule={"iterations": iterations, "batch_size": BATCH, "lr": 0.1, "momentum": 0.5})
        assert same(run(plain, tmp_path / f"plain{iterations}")[0], snapshot)
    for name, parameter in network().named_parameters():
        mean = torch.stack([snapshot[name] for snapshot in taken]).mean(0)
        torch.testing.assert_close(state[name], mean, msg=name)
        assert parameter.shape == mean.shape


@pytest.mark.parametrize("count", [24, 25, 26])
def test_batch_norm_gets_the_mean_over_one_augmented_pass_in_which_every_image_counts_the_same(tmp_path, count):
    data = PreparedData(part(count, 1), part(12, 2), part(4, 3))
    state, _ = run(averaging(), tmp_path / "state", data=data)
    net = network()
    net.load_state_dict(state)
    means, variances = [], []
    sizes = {24: [8, 8, 8], 25: [8, 8, 9], 26: [8, 8, 8, 2]}[count]  # one alone, which has no variance, joins others
    reseed(0, "statistics")
    for images in data.train.images[torch.randperm(count)].split(sizes):
        x = net.stem[0](net.normalise(images / 255))
        means.append(x.mean((0, 2, 3)))
        variances.append(x.var((0, 2, 3)))
    weights = torch.tensor(sizes)[:, None] / count
    torch.testing.assert_close(state["stem.1.running_mean"], (weights * torch.stack(means)).sum(0))
    torch.testing.assert_close(state["stem.1.running_var"], (weights * torch.stack(variances)).sum(0))


def test_a_last_image_that_is_alone_and_has_one_value_a_channel_is_averaged_too(tmp_path):
    small = PreparedData(
        *(TensorSplit(each.images[:, :, :1, :1].contiguous(), each.labels) for each in (part(25, 1), part(12, 2))),
        DATA.test,
    )
    state, _ = run(averaging(), tmp_path / "state", data=small)
    assert all(value.isfinite().all() for value in state.values())


def test_statistics_that_had_become_nan_are_made_anew():
    net = network()
    net.stem[1].running_var.fill_(math.nan)
    momentum = net.stem[1].momentum
    net.eval()
    Average.renew_statistics(net, iter(DATA.train.images.float().split(BATCH)), dropout=False)
    assert net.stem[1].running_var.isfinite().all()
    assert net.stem[1].momentum == momentum and not net.training


def test_batch_norm_of_a_set_that_lies_class_by_class_is_that_of_a_mixed_one(tmp_path):
    labels = torch.arange(64) // 16
    images = (40 + 50 * labels).view(-1, 1, 1, 1) + torch.randint(0, 9, (64, 1, 8, 8))  # a brightness tells the class
    sorted_by_class = PreparedData(TensorSplit(images.to(torch.uint8), labels), DATA.validation, DATA.test)
    state, _ = run(averaging(), tmp_path / "state", data=sorted_by_class)
    net = network()
    net.load_state_dict(state)
    x = net.stem[0](net.normalise(images / 255))
    ratio = state["stem.1.running_var"] / x.var((0, 2, 3))
    assert ratio.min() > 0.75, "batches of one class have next to no variance"


def test_dropout_in_the_statistics_pass_is_a_switch(tmp_path):
    off, _ = run(averaging(dropout=False), tmp_path / "off")
    on, _ = run(averaging(dropout=True), tmp_path / "on")
    assert same(off, on), "there is no dropout at all"
    off, _ = run(with_dropout(False), tmp_path / "off2")
    on, _ = run(with_dropout(True), tmp_path / "on2")
    assert not torch.equal(off["stages.1.0.bn1.running_mean"], on["stages.1.0.bn1.running_mean"])
    assert torch.equal(off["stem.1.running_mean"], on["stem.1.running_mean"]), "before the first dropout"
    assert torch.equal(off["head.weight"], on["head.weight"])


def with_dropout(in_pass):
    return averaging(dropout=in_pass).with_(dropout=0.3)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"averaging": {"every": 7}}, r"ends after 6 iterations, before the first average; lower averaging\.every"),
    ],
)
def test_what_would_come_after_the_end_is_refused_before_the_first_iteration(monkeypatch, tmp_path, parts, sentence):
    monkeypatch.setattr(Objective, "__call__", lambda *_: pytest.fail("it began"))
    schedule = {"epochs": 2, "batch_size": BATCH, "lr": 0.1} | parts.pop("schedule", {})
    with pytest.raises(UserError, match=sentence):
        run(Recipe(schedule=schedule, **parts), tmp_path / "state")


def test_a_warm_start_longer_than_the_run_is_refused_at_once():
    for unit in ("epochs", "iterations"):
        with pytest.raises(ValueError, match=f"head_first: 7 is more than all 6 {unit}; lower it"):
            Schedule(batch_size=BATCH, lr=0.1, head_first=7, **{unit: 6})
        with pytest.raises(ValueError, match=f"warm_up: 7 is more than all 6 {unit}; lower it"):
            Schedule(batch_size=BATCH, lr=0.1, warm_up=7, **{unit: 6})
    assert Schedule(iterations=6, batch_size=BATCH, lr=0.1, head_first=6).head_first == 6


def test_a_plateau_that_ends_before_the_first_average_is_noticed():
    with pytest.raises(UserError, match=r"before the first average; lower averaging\.every"):
        Average(network()).put(network())


def test_without_a_validation_split_the_last_is_kept_and_nothing_measured(tmp_path):
    data = PreparedData(DATA.train, TensorSplit(DATA.train.images[:0], DATA.train.labels[:0]), DATA.test)
    _, history = run(recipe(), tmp_path / "state", data=data)
    assert [sorted(entry) for entry in history] == [["epoch", "loss", "lr"]] * 4


def test_validation_attacks_as_many_images_at_once_as_their_size_allows(monkeypatch):
    part = TensorSplit(torch.full((10, 1, 1, 1), 0.9), torch.zeros(10, dtype=torch.int64))
    monkeypatch.setattr(classifier, "VALUES_AT_ONCE", 4)
    attacked = []
    monkeypatch.setattr(loop, "perturb", lambda model, images, *_: attacked.append(len(images)) or images)
    validate(Line(5.0), part, recipe(attack=PGD), adversarially=True)
    assert attacked == [4, 4, 2]


def test_validation_weighs_accuracies_as_the_loss_is_weighed():
    # x > 0 is class 0. FGSM of 0.1 lets the images at 0.05 cross: 1 of 4 is wrong clean, 3 of 4 are adversarially.
    class Sign(Line):
        def forward(self, images):
            return super().forward(images - 0.5)

    pixels = torch.tensor([0.9, 0.55, 0.55, 0.3]).view(4, 1, 1, 1)
    labels = torch.tensor([0, 0, 0, 0])
    of = recipe(attack=Fgsm(algorithm="fgsm", eps=0.1), clean_weight=0.25, select="best_validation")
    found = validate(Sign(5.0), TensorSplit(pixels, labels), of)
    assert found == {"clean": 75.0, "adversarial": 25.0, "selected_by": 0.25 * 75 + 0.75 * 25}
    natural = recipe(select="best_validation")
    assert validate(Sign(5.0), TensorSplit(pixels, labels), natural) == {
        "clean": 75,
        "selected_by": 75,
    }


# ---- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("iteration", "epoch"), [(1, 1), (3, 1), (5, 2), (12, 4)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(monkeypatch, tmp_path, iteration, epoch, value):
    loss, count = Objective.__call__, iter(range(1, 100))
    monkeypatch.setattr(Objective, "__call__", lambda *a: loss(*a) + (value if next(count) == iteration else 0.0))
    with pytest.raises(
        UserError, match=rf"the loss is {value} at iteration {iteration} \(epoch {epoch}\).*lower the learning"
    ):
        run(recipe(select="best_validation"), tmp_path / "state")


@pytest.mark.parametrize("attack", [None, PGD], ids=["clean", "adversarial"])
@pytest.mark.parametrize("lr", [1e4, 1e30])
def test_a_real_divergence_is_noticed(tmp_path, attack, lr):
    with pytest.raises(
        UserError, match=r"at iteration \d+ \(epoch \d\); the training has diverged: lower the learning rate"
    ):
        run(recipe(attack, lr=lr, momentum=0.99, epochs=10), tmp_path / "state")


def test_a_divergence_that_only_the_validation_meets_is_noticed(monkeypatch, tmp_path):
    def broken(*_):
        raise FloatingPointError("the loss's gradient is not finite in step 1 of the attack")

    monkeypatch.setattr(loop, "validate", broken)
    with pytest.raises(UserError, match=r"step 1 of the attack at iteration 3 \(epoch 1\); the training has diverged"):
        run(recipe(PGD, select="best_validation"), tmp_path / "state")


def test_a_diverged_state_is_never_saved(monkeypatch, tmp_path):
    loss = Objective.__call__
    monkeypatch.setattr(Objective, "__call__", lambda *a: loss(*a) * math.nan)
    with pytest.raises(UserError, match="at iteration 1 "):
        run(recipe(), tmp_path / "state", every=0)
    assert not (tmp_path / "state").exists()


def test_fewer_images_than_a_batch_are_refused(tmp_path):
    with pytest.raises(UserError, match="26 training images take part, fewer than one batch of 27; lower batch_size"):
        run(recipe(batch_size=27), tmp_path / "state")


# ---- going on after an interruption --------------------------------------------------------------------------------

FREE = Free(algorithm="free", eps=0.1, replay=3)
RECIPES = {
    "natural": recipe(decay="cosine"),
    "augmented": recipe(crop_padding=1, flip=True, decay="steps", milestones=[2]),
    "natural, selected": recipe(select="best_validation"),
    "adversarial": recipe(PGD),
    "adversarial, selected": recipe(PGD, crop_padding=1, flip=True, select="best_validation"),
    "last stage": recipe(PGD, trainable=Last(last=1, of="stages"), select="best_validation"),
    "averaged, with dropout": Recipe(
        averaging={"every": 2},
        dropout=0.3,
        schedule={"iterations": 12, "batch_size": BATCH, "lr": 0.1, "crop_padding": 1, "flip": True},
    ),
    "for free": recipe(FREE, clean_weight=0.0, flip=True),
    "head first": recipe(head_first=2, rotation=20, warm_up=1),
}
TOTAL = 4 * PER_EPOCH


class StopAfter(StopRequest):
    """Asks to stop once `iterations` of this process are done (the loop looks once an iteration)."""

    def __init__(self, iterations):
        super().__init__()
        self.left = iterations

    def __bool__(self):
        self.left -= 1
        if self.left <= 0:
            self.signal = 15
        return super().__bool__()


def interrupted(of, state, at):
    """Train with an interruption after each of these numbers of iterations, then to the end."""
    for i, iterations in enumerate(at):
        with pytest.raises(Interrupted) as end:
            run(of, state, StopAfter(iterations), seed=i)
        assert end.value.exit_status == 143
        assert state.exists()
    return run(of, state, seed=len(at))  # the random start does not matter any more, either


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """name -> what a run in one go ends with."""
    folder = tmp_path_factory.mktemp("whole")
    return {name: run(of, folder / "state") for name, of in RECIPES.items()}


@pytest.mark.parametrize(
    "at", [(1,), (3,), (4,), (TOTAL - 1,), (TOTAL,), (2, 1, 5), (1,) * TOTAL], ids=lambda at: "-".join(map(str, at))
)
@pytest.mark.parametrize("name", RECIPES)
def test_an_interrupted_run_ends_with_the_same_bits(uninterrupted, tmp_path, name, at):
    weights, history = interrupted(RECIPES[name], tmp_path / "state", at)
    assert same(weights, uninterrupted[name][0])
    assert history == uninterrupted[name][1]


@pytest.mark.parametrize("at", [1, 3, 8])
def test_an_interrupted_run_keeps_the_start_that_its_terms_look_back_to(tmp_path, at):
    terms = {"start_distance": 0.5, "head_penalty": 0.1, "label_smoothing": 0.1, "trades": 2}
    attack = PGD.with_(random_start=False)
    of = Recipe(
        inputs={"attack": attack, "clean_weight": 1},
        terms=terms,
        schedule={"epochs": 4, "batch_size": BATCH, "lr": 0.1},
    )
    whole, history = run(of, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(of, tmp_path / "state", StopAfter(at))
    weights, other = run(of, tmp_path / "state")
    assert same(weights, whole) and other == history
    assert not same(run(of.with_(terms=terms | {"start_distance": 0}), tmp_path / "plain")[0], whole)


def test_saving_now_and_then_does_not_disturb(uninterrupted, tmp_path):
    weights, history = run(RECIPES["adversarial, selected"], tmp_path / "state", every=0)
    assert (tmp_path / "state").exists()
    assert same(weights, uninterrupted["adversarial, selected"][0])
    assert history == uninterrupted["adversarial, selected"][1]


def test_how_often_it_is_saved(monkeypatch, tmp_path):
    clock, saved = iter(range(0, 10_000, 10)), []
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(checkpoint, "save", lambda _path, _run, progress, *_: saved.append(progress.iteration))
    run(recipe(), tmp_path / "state", every=25)
    # One look at the clock an iteration and one after each saving, 10 s each.
    assert saved == [3, 6, 9, 12]


def test_the_history_has_the_rate_of_each_epochs_last_iteration(tmp_path):
    of = recipe(decay="steps", milestones=[2], gamma=0.5, warm_up=1)
    _, history = run(of, tmp_path / "state")
    assert [entry["lr"] for entry in history] == [0.1, 0.1, 0.05, 0.05]


def test_an_epochs_seconds_are_those_of_all_runs_that_worked_on_it(tmp_path, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(checkpoint.time, "perf_counter", lambda: float(next(clock)))
    net, state = network(), tmp_path / "state"
    with pytest.raises(Interrupted):
        train(net, DATA, recipe(), "run", state, math.inf, StopAfter(PER_EPOCH + 1))
    with safe_open(state, "pt") as file:
        saved = json.loads(file.metadata()["about"])
    (first,) = saved["history"]
    assert first["seconds"] > 0 and saved["seconds"] > 0, "what the second epoch took so far"
    history = train(net, DATA, recipe(), "run", state, math.inf, StopRequest())
    assert history[0] == first
    whole = train(network(), DATA, recipe(), "other", tmp_path / "other", math.inf, StopRequest())
    assert history[1]["seconds"] > whole[1]["seconds"], "the clock was looked at more often"
    assert [entry["loss"] for entry in history] == [entry["loss"] for entry in whole]


def test_the_saved_state_is_safetensors_bound_to_the_node(tmp_path):
    with pytest.raises(Interrupted):
        run(RECIPES["natural, selected"], tmp_path / "state", StopAfter(5))
    with safe_open(tmp_path / "state", "pt") as file:
        assert file.metadata()["run"] == "pretrain.0123456789ab"
        kinds = {name.partition("/")[0] for name in file.keys()}  # noqa: SIM118 (no mapping)
    assert kinds == {"network", "momentum", "kept", "losses"}
    assert [path.name for path in tmp_path.iterdir()] == ["state"], "no temporary file is left"


@pytest.mark.parametrize("damage", ["another node's", "cut short", "empty", "no safetensors", "no metadata"])
def test_a_state_that_cannot_be_believed_is_ignored(uninterrupted, tmp_path, damage):
    state, of = tmp_path / "state", RECIPES["natural, selected"]
    with pytest.raises(Interrupted):
        run(
            of,
            state,
            StopAfter(7),
            name="pretrain.ffffffffffff" if damage == "another node's" else "pretrain.0123456789ab",
        )
    content = state.read_bytes()
    if damage == "cut short":
        state.write_bytes(content[:-100])
    elif damage == "empty":
        state.write_bytes(b"")
    elif damage == "no safetensors":
        state.write_bytes(b"{}" * 1000)
    elif damage == "no metadata":
        state.write_bytes((2).to_bytes(8, "little") + b"{}")
    weights, history = run(of, state)
    assert same(weights, uninterrupted["natural, selected"][0])
    assert history == uninterrupted["natural, selected"][1]


def test_momentum_is_restored(uninterrupted, tmp_path, monkeypatch):
    state, of = tmp_path / "state", RECIPES["natural"]
    net, optimisers = network(), []
    sgd = torch.optim.SGD
    monkeypatch.setattr(torch.optim, "SGD", lambda *a, **k: optimisers.append(sgd(*a, **k)) or optimisers[-1])
    with pytest.raises(Interrupted):
        train(net, DATA, of, "run", state, math.inf, StopAfter(5))
    other = network(1)
    optimiser = sgd(other.parameters(), 0.1, 0.9)
    checkpoint.restore(state, "run", other, optimiser)
    before, after = optimisers[0].state, optimiser.state
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(before[one]["momentum_buffer"], after[two]["momentum_buffer"])
        assert before[one]["momentum_buffer"].any()
    # And it counts: without it the run ends elsewhere.
    restore = checkpoint.restore

    def forgetting(path, name, net, *_):
        return restore(path, name, net, sgd(net.parameters(), 0.1))

    monkeypatch.setattr(checkpoint, "restore", forgetting)
    train(other, DATA, of, "run", state, math.inf, StopRequest())
    assert not same(other.state_dict(), uninterrupted["natural"][0])


def test_seeding_prints_no_stack_and_gives_torchs_draws(monkeypatch):
    # torch.manual_seed keeps a printed stack of each call for devices that may come.
    torch.manual_seed(derived(3, "iteration", 5))
    expected = torch.rand(4)
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("torch.manual_seed was called"))
    monkeypatch.setattr(randomness, "_has_accelerator", lambda: False)
    reseed(3, "iteration", 5)
    assert torch.equal(torch.rand(4), expected)
