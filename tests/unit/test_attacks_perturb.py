"""FGSM, PGD, and crafting a whole set."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robust_transfer.attacks.advertorch_compat import LinfPGDAttack, StockL2PGDAttack
from robust_transfer.attacks.budget import BudgetError, check_budget, to_float
from robust_transfer.attacks.craft import batch_seed, craft
from robust_transfer.attacks.perturb import perturb
from robust_transfer.plan.specs import Fgsm, Pgd


def attack(algorithm="pgd", **changes):
    # Unchecked: some budgets are larger than users may write.
    if algorithm == "fgsm":
        return Fgsm.model_construct(algorithm=algorithm, **{"eps": 0.1} | changes)
    values = {"eps": 0.1, "steps": 7, "step_size": 0.025, "random_start": True}
    return Pgd.model_construct(algorithm=algorithm, **values | changes)


class Linear(nn.Module):
    """Two classes, and a logit for the first that is w · x."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, x):
        first = x.flatten(1) @ self.weights
        return torch.stack([first, torch.zeros_like(first)], 1)


def image(*pixels):
    return torch.tensor(pixels).view(1, 1, 1, -1)


@pytest.fixture
def net():
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))


@pytest.fixture
def images():
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def test_fgsm_is_one_step_along_the_sign():
    # The gradient of the loss of class 0 is -(1 - p) w: pixels go against the sign of w, and stop at the pixel range.
    model = Linear([2.0, -3.0, 0.0, 0.5])
    adversarial = perturb(model, image(0.5, 0.5, 0.5, 0.02), torch.tensor([0]), attack("fgsm", eps=0.1))
    torch.testing.assert_close(adversarial, image(0.4, 0.6, 0.5, 0.0))
    adversarial = perturb(model, image(0.5, 0.5, 0.5, 0.02), torch.tensor([1]), attack("fgsm", eps=0.1))
    torch.testing.assert_close(adversarial, image(0.6, 0.4, 0.5, 0.12))


def test_fgsm_in_l2_is_one_step_along_the_gradient():
    adversarial = perturb(Linear([3.0, -4.0]), image(0.5, 0.5), torch.tensor([0]), attack("fgsm", norm="l2", eps=0.1))
    torch.testing.assert_close(adversarial, image(0.44, 0.58))


def test_linf_pgd_steps_and_projects():
    model, start, label = Linear([1.0, -1.0]), image(0.5, 0.99), torch.tensor([0])
    one = attack(steps=1, step_size=0.03, random_start=False)
    torch.testing.assert_close(perturb(model, start, label, one), image(0.47, 1.0))
    many = attack(steps=9, step_size=0.03, random_start=False)
    torch.testing.assert_close(perturb(model, start, label, many), image(0.4, 1.0))


def test_l2_pgd_steps_and_projects():
    model, start, label = Linear([3.0, -4.0]), image(0.5, 0.5), torch.tensor([0])
    one = attack(norm="l2", steps=1, step_size=0.05, random_start=False)
    torch.testing.assert_close(perturb(model, start, label, one), image(0.47, 0.54))
    many = attack(norm="l2", steps=9, step_size=0.05, random_start=False)
    torch.testing.assert_close(perturb(model, start, label, many), image(0.44, 0.58))


def test_the_gradient_is_taken_anew_at_every_step():
    class Bump(nn.Module):
        """Class 1 is likelier the nearer x is to 0.6."""

        def forward(self, x):
            first = (x.flatten(1).sum(1) - 0.6).square() * 10
            return torch.stack([first, torch.zeros_like(first)], 1)

    there = attack(steps=3, step_size=0.05, random_start=False, eps=0.3)
    adversarial = perturb(Bump(), image(0.52), torch.tensor([0]), there)
    torch.testing.assert_close(adversarial, image(0.57))  # 0.57, over the top to 0.62, back


def test_an_image_the_model_is_sure_of_takes_full_l2_steps():
    class Sure(nn.Module):
        """The gradient of class 0 is -50 e^-35 = -3e-14 long, far under advertorch's floor of 1e-6."""

        def forward(self, x):
            second = -x.flatten(1) @ torch.tensor([30.0, 40.0])
            return torch.stack([torch.zeros_like(second), second], 1)

    step = attack(norm="l2", steps=1, step_size=0.05, random_start=False)
    torch.testing.assert_close(perturb(Sure(), image(0.5, 0.5), torch.tensor([0]), step), image(0.47, 0.46))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("algorithm", ["fgsm", "pgd"])
@pytest.mark.parametrize("eps", [0.0, 1e-6, 8 / 255, 0.3, 1.0, 50.0])
def test_the_budget_is_kept_strictly(net, images, norm, algorithm, eps):
    images[0], images[1] = 0.0, 1.0
    spec = attack(algorithm, norm=norm, eps=eps, step_size=eps / 4)
    adversarial = perturb(net.eval(), images, LABELS, spec)
    assert adversarial.min() >= 0 and adversarial.max() <= 1 and adversarial.dtype == torch.float32
    offset = (adversarial.double() - images.double()).flatten(1)
    size = offset.abs().amax(1) if norm == "linf" else offset.norm(dim=1)
    assert (size <= eps).all()
    if 0.01 < eps < 1:
        assert (size[2:] > 0.95 * eps).all()
    if eps == 0:
        assert torch.equal(adversarial, images)


@pytest.mark.parametrize(
    ("norm", "stock", "random_start"),
    [("linf", LinfPGDAttack, True), ("linf", LinfPGDAttack, False), ("l2", StockL2PGDAttack, False)],
)
def test_results_are_advertorchs(net, images, norm, stock, random_start):
    net.eval()
    torch.manual_seed(2)
    theirs = stock(net, eps=0.1, nb_iter=7, eps_iter=0.025, rand_init=random_start).perturb(images, LABELS)
    torch.manual_seed(2)
    mine = perturb(net, images, LABELS, attack(norm=norm, random_start=random_start))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


class Start(nn.Module):
    """Shows what it was given first; its gradient is nothing to speak of."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, x):
        self.shown.append(x.detach())
        return torch.stack([x.flatten(1).sum(1) * 1e-3, torch.zeros(len(x))], 1)


def random_starts(eps, pixels, count=2000):
    """Offsets, count x pixels, at which l2 PGD begins around images of mid-tones that nothing clips."""
    model, clean = Start(), torch.rand(count, 1, 1, pixels, generator=torch.Generator().manual_seed(3)) * 0.2 + 0.7
    spec = attack(norm="l2", eps=eps, steps=1, step_size=eps / 10)
    perturb(model, clean, torch.zeros(count, dtype=torch.int64), spec, generator_seed=4)
    return (model.shown[0] - clean).flatten(1)


def test_an_l2_start_has_a_random_direction():
    # Around bright images; an advertorch start would point to mid-grey (mean offset -0.4 eps / sqrt(pixels) or so).
    offsets = random_starts(0.1, 192)
    assert offsets.norm(dim=1).max() <= 0.1 * (1 + 1e-5)
    one, other = (offsets / offsets.norm(dim=1, keepdim=True)).chunk(2)
    cosines = (one * other).sum(1)  # mean 0, deviation 1 / sqrt(192) = 0.07
    assert cosines.mean().abs() < 4 * 0.072 / math.sqrt(1000)
    assert cosines.std() == pytest.approx(1 / math.sqrt(192), rel=0.1)


def test_an_l2_start_is_uniform_in_the_ball():
    # In 3 dimensions a share t^3 of the ball's points lies within t of its radius: 1/8 within a half.
    within = (random_starts(0.1, 3).norm(dim=1) < 0.05).float().mean()
    assert within == pytest.approx(1 / 8, abs=4 * math.sqrt(1 / 8 * 7 / 8 / 2000))


@pytest.mark.parametrize("algorithm", ["fgsm", "pgd"])
def test_the_predicted_label_is_the_one_used(net, images, algorithm):
    net.eval()
    predicted = net(images).argmax(1)
    wrong = (predicted + 1) % 4
    guarded = attack(algorithm, labels="predicted", random_start=False)
    naive = attack(algorithm, random_start=False)
    adversarial = perturb(net, images, wrong, guarded)
    assert torch.equal(adversarial, perturb(net, images, None, guarded))
    assert torch.equal(adversarial, perturb(net, images, predicted, naive))
    assert not torch.equal(adversarial, perturb(net, images, wrong, naive))
    with pytest.raises(ValueError, match="true labels"):
        perturb(net, images, None, naive)


def test_the_model_is_left_as_it_was(net, images):
    net[0].weight.requires_grad_(False)
    net[0].weight.grad = None
    net.eval()
    with torch.no_grad():
        perturb(net, images, LABELS, attack())
    assert all(p.grad is None for p in net.parameters())
    assert [p.requires_grad for p in net.parameters()] == [False] + [True] * 5
    assert not images.requires_grad


def test_the_same_seed_gives_the_same_images(net, images):
    net.eval()
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(perturb(net, images, LABELS, attack(restarts=2)))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])

    torch.manual_seed(9)
    undisturbed = torch.rand(3)
    torch.manual_seed(9)
    own = perturb(net, images, LABELS, attack(restarts=2), generator_seed=1)
    assert torch.equal(torch.rand(3), undisturbed)
    assert torch.equal(own, runs[0])


def test_memory_layout_makes_no_difference(net, images):
    net.eval()
    strided = images.contiguous(memory_format=torch.channels_last)
    same = [perturb(net, x, LABELS, attack(steps=1), generator_seed=4) for x in (images, strided)]
    torch.testing.assert_close(*same, rtol=0, atol=1e-6)


def test_restarts_keep_each_images_worst_case():
    # The start decides where an image ends: steps have no length.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    images = torch.full((64, 3, 8, 8), 0.5)
    label = model(images).argmax(1)
    single = attack(step_size=0.0, steps=1, eps=0.3)
    several = attack(step_size=0.0, steps=1, eps=0.3, restarts=3)

    def outcome(adversarial):
        logits = model(adversarial)
        return logits.argmax(1) != label, F.cross_entropy(logits, label, reduction="none")

    torch.manual_seed(1)
    runs = [perturb(model, images, label, single) for _ in range(3)]
    torch.manual_seed(1)
    worst = perturb(model, images, label, several)
    outcomes = [outcome(run) for run in runs]
    expected = [
        max(range(3), key=lambda run: (outcomes[run][0][i].item(), outcomes[run][1][i].item())) for i in range(64)
    ]
    assert set(expected) == {0, 1, 2}
    # For some image a wrong prediction comes with a lower loss than a right one.
    assert any(max(range(3), key=lambda run: outcomes[run][1][i].item()) != expected[i] for i in range(64))
    for i in range(64):
        assert torch.equal(worst[i], runs[expected[i]][i])


def test_a_gradient_that_is_no_number_is_an_error(images):
    class Broken(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4] * math.nan

    with pytest.raises(FloatingPointError, match="step 1"):
        perturb(Broken(), images, LABELS, attack())
    clean = (images * 255).to(torch.uint8)
    with pytest.raises(FloatingPointError, match="images 0 to 3"):
        craft(Broken(), clean, LABELS, attack(), batch_size=4, seed=0)


@pytest.fixture
def clean():
    return torch.randint(0, 256, (10, 3, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


TEN = torch.arange(10) % 4


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_crafting_keeps_the_budget_and_raises_the_loss(net, clean, norm):
    spec = attack(norm=norm, eps=0.2, step_size=0.05)
    stored = craft(net.train(), clean, TEN, spec, batch_size=4, seed=0)
    check_budget(stored, clean, spec)
    assert stored.dtype == torch.uint16 and net.training
    net.eval()
    assert F.cross_entropy(net(to_float(stored)), TEN) > F.cross_entropy(net(to_float(clean)), TEN)


def test_each_batch_has_its_own_labels_and_start(net, clean):
    labels = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0, 1, 2])
    start_at_the_image = attack(random_start=False)
    stored = craft(net, clean, labels, start_at_the_image, batch_size=4, seed=0)
    whole = perturb(net.eval(), to_float(clean), labels, start_at_the_image)
    # Where rounding turns the sign of a gradient near zero, a pixel may differ.
    assert ((to_float(stored) - whole).abs() < 1e-4).float().mean() > 0.99

    twins = clean[:4].repeat(2, 1, 1, 1)
    stored = craft(net, twins, labels[:4].repeat(2), attack(), batch_size=4, seed=0)
    assert not torch.equal(stored[:4], stored[4:])


def test_a_resumed_run_has_the_same_bits(net, clean):
    saved = []
    whole = craft(net, clean, TEN, attack(), batch_size=4, seed=7, progress=lambda made: saved.append(made.clone()))
    assert [len(made) for made in saved] == [4, 8, 10]
    for done in saved:
        torch.manual_seed(123)
        assert torch.equal(craft(net, clean, TEN, attack(), batch_size=4, seed=7, done=done), whole)
    assert not torch.equal(craft(net, clean, TEN, attack(), batch_size=4, seed=8), whole)
    with pytest.raises(BudgetError, match="whole number of batches"):
        craft(net, clean, TEN, attack(), batch_size=4, seed=7, done=whole[:5])
    with pytest.raises(BudgetError, match="image 0 lies outside"):
        craft(net, clean, TEN, attack(), batch_size=4, seed=7, done=whole.flip(0)[:8])


def test_each_batch_has_its_own_seed():
    seeds = {batch_seed(seed, first) for seed in range(20) for first in range(0, 2000, 100)}
    assert len(seeds) == 400 and all(0 <= seed < 2**63 for seed in seeds)
    assert batch_seed(0, 0) == 6956993988634818902
