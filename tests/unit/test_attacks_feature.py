"""The feature attack: its losses, what it reaches, and the budgets of its two spaces."""

import pytest
import torch

from robust_transfer.attacks.budget import ONE, BudgetError, check_budget, quantise, to_float
from robust_transfer.attacks.craft import craft
from robust_transfer.attacks.ready import FeaturesOf
from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.plan.specs import CifarResNet, FeatureAttack

NETWORK = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1], width=4)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def attack(**values):
    values = {"algorithm": "feature", "eps": 0.1, "steps": 10, "step_size": 0.02, "neuron": 1} | values
    return FeatureAttack(**values)


def normalised(**values):
    return attack(space="normalised", mean=MEAN, std=STD, clip=2.2, eps=0.1, step_size=0.01, **values)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return files.build(NETWORK, 3, 5).eval()


@pytest.fixture(scope="module")
def images():
    clean = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    clean[0], clean[1] = 0, 255  # the darkest and the brightest
    return clean


FEATURES = torch.tensor([[1.0, 3.0, 2.0], [0.0, 10.0, 0.0]])


def test_the_distance_to_the_target_vector():
    found = attack(value=10).loss_of(FEATURES)
    assert found.tolist() == [7**2 + 1 + 4, 0.0]


def test_the_codes_loss_averages_the_rest():
    found = attack(value=10, loss="mean_rest").loss_of(FEATURES)
    assert found.tolist() == pytest.approx([7**2 + 0.1 * (1 + 4) / 2, 0.0])


def test_a_feature_beyond_the_last_is_refused():
    with pytest.raises(UserError, match="0 to 2"):
        attack(neuron=3).loss_of(FEATURES)


@pytest.mark.parametrize("spec", [attack(), attack(loss="mean_rest"), normalised()])
def test_the_chosen_feature_rises(network, images, spec):
    extractor, clean = spec.view(network), to_float(images[2:])  # a clip may move black and white the wrong way
    moved = spec.perturb(extractor, clean, None, seed=0)
    with torch.no_grad():
        before, after = extractor(clean), extractor(moved)
    assert (after[:, 1] > before[:, 1]).all()
    assert spec.loss_of(after).sum() < spec.loss_of(before).sum()


def test_the_seed_decides_and_torchs_own_generator_is_left_alone(network, images):
    extractor = FeaturesOf(network)
    state = torch.get_rng_state()
    one, same, other = (attack().perturb(extractor, to_float(images), None, seed=s) for s in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_the_stored_set_keeps_its_budget_bit_for_bit(network, images):
    spec = attack(steps=40)
    stored = craft(network, images, None, spec, batch_size=4, seed=0)
    check_budget(stored, images, spec)
    offset = (stored.int() - 257 * images.int()).abs()
    assert offset.max() == int(0.1 * ONE)  # the budget is used to the last unit, and not one more
    broken = stored.int().clone()
    broken[2, 0, 0, 0] = 257 * int(images[2, 0, 0, 0]) + int(0.1 * ONE) + 1
    with pytest.raises(BudgetError, match="image 2"):
        check_budget(broken.to(torch.uint16), images, spec)


def test_the_codes_space_and_clip(network, images):
    """eps is 0.1 of a channel's deviation; what lies beyond the clip is moved to it, however far that is (D1)."""
    spec = normalised(steps=40)
    stored = craft(network, images, None, spec, batch_size=4, seed=0)
    check_budget(stored, images, spec)
    offset = (to_float(stored) - to_float(images)).abs()
    within = [0.1 * std + 2 / ONE for std in STD]
    ordinary = images[2:].clamp(40, 200) == images[2:]  # far from the clip
    for channel, most in enumerate(within):
        assert offset[2:, channel][ordinary[:, channel]].max() <= most
    # White is at 2.64 in the last channel: clipped to 2.2, it moves by 0.44 deviations, over four times eps.
    assert offset[1, 2].min() >= (1 - (MEAN[2] + 2.2 * STD[2])) - 2 / ONE > 0.09
    with pytest.raises(BudgetError, match="normalised units"):
        check_budget((257 * images.int()).to(torch.uint16), images, spec)  # the clean white image breaks the clip


def test_what_left_the_normalised_budget_is_refused_and_not_mended(images):
    spec = normalised()
    centre = to_float(images)[2:3]
    with pytest.raises(BudgetError, match="image 0"):
        quantise((centre + 0.1).clamp(0, 1), images[2:3], spec)


def test_a_gradient_that_is_not_finite_is_noticed(images):
    class Broken(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4] * float("nan")

    with pytest.raises(FloatingPointError):
        attack().perturb(Broken(), to_float(images), None)
