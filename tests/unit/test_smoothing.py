"""Certificates of smoothed classifiers, and what a set of them says."""

import json
import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from scipy.stats import binom, norm
from torch import nn

from robust_transfer.smoothing import certify as module
from robust_transfer.smoothing.certify import (
    Certificate,
    Tally,
    certificate,
    certify,
    certify_set,
    lower_bound,
)
from robust_transfer.smoothing.noise import noisy_predictions
from robust_transfer.smoothing.results import average_certified_radius, certified_accuracy, evenly_spaced


def smoothing(**changes):
    return SimpleNamespace(**{"sigma": 0.5, "n0": 100, "n": 1000, "alpha": 0.001} | changes)


class Plane(nn.Module):
    """Class 1 on one side of a plane in pixel space, class 0 on the other."""

    def __init__(self, weights, offset=0.0):
        super().__init__()
        self.weights, self.offset = nn.Parameter(torch.as_tensor(weights)), offset

    def forward(self, x):
        side = x.flatten(1) @ self.weights + self.offset
        return torch.stack([torch.zeros_like(side), side], 1)


class Witness(nn.Module):
    """Keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, x):
        self.shown.append(x.clone())
        return torch.zeros(len(x), 2)

    def all(self):
        return torch.cat(self.shown)


def shown(batch, samples=300, sigma=0.5, seed=0, index=0, image=None):
    witness = Witness()
    image = torch.full((3, 4, 5), 0.9) if image is None else image
    list(noisy_predictions(witness, image, samples, sigma, seed=seed, index=index, batch=batch))
    assert max(map(len, witness.shown)) <= batch
    return witness.all()


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    layers = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3)
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (9, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))


# ---- the bound ----------------------------------------------------------------------------------------------------


def test_the_bound_where_it_has_a_closed_form():
    # All of n: the p with p^n = alpha. One of n: the p with 1 - (1 - p)^n = alpha. None: nothing is known.
    assert lower_bound(100_000, 100_000, 0.001) == pytest.approx(0.001 ** (1 / 100_000), abs=1e-12)
    assert lower_bound(1, 50, 0.05) == pytest.approx(1 - 0.95 ** (1 / 50), abs=1e-12)
    assert lower_bound(0, 50, 0.05) == 0


def test_the_bound_is_one_sided():
    # As statsmodels' proportion_confint(count, n, 2 * alpha, method="beta")[0] gave it, too.
    assert lower_bound(50, 100, 0.001) == pytest.approx(0.34479800642531777, abs=1e-12)
    for count, n, alpha in ((33, 100, 0.05), (990, 1000, 0.001), (7, 8, 0.01)):
        assert binom.sf(count - 1, n, lower_bound(count, n, alpha)) == pytest.approx(alpha, rel=1e-9)


def test_a_certificate_of_hand_made_counts():
    largest = certificate(4, 100_000, smoothing(n=100_000))
    assert largest.prediction == 4 and largest.radius == pytest.approx(1.90573, abs=1e-5)
    # The bounds of 549 and 560 in 1000 are 0.49967 and 0.510716.
    assert certificate(4, 549, smoothing()) == Certificate(-1, 0.0, 4, 549)
    found = certificate(4, 560, smoothing(sigma=0.25))
    assert found.prediction == 4 and found.radius == pytest.approx(0.25 * norm.ppf(0.510716), abs=1e-6)


# ---- one image ----------------------------------------------------------------------------------------------------


def test_one_part_of_the_samples_selects_and_the_other_counts(monkeypatch):
    def certified(said):
        monkeypatch.setattr(module, "noisy_predictions", lambda *_, **__: [torch.tensor(said)])
        return certify(None, None, smoothing(n0=10), seed=0, index=0, batch=1)

    first = [2] * 6 + [0] * 4
    found = certified(first + [0] * 300 + [2] * 700)
    assert (found.top, found.count, found.prediction) == (2, 700, 2)
    found = certified(first + [0] * 700 + [2] * 300)
    assert (found.top, found.count, found.prediction) == (2, 300, -1)


@pytest.mark.parametrize("distance", [0.05, 0.3, -0.7, 1.0])
@pytest.mark.parametrize("sigma", [0.25, 0.5])
def test_the_radius_is_just_below_the_distance_to_a_plane(distance, sigma):
    weights = torch.randn(75, generator=torch.Generator().manual_seed(1))
    image = torch.full((3, 5, 5), 0.5)
    plane = Plane(weights, float(distance * weights.norm() - image.flatten() @ weights))
    how = smoothing(sigma=sigma, n=20_000)
    found = certify(plane, image, how, seed=0, index=0, batch=1024)
    assert found.prediction == (distance > 0)
    largest = sigma * norm.ppf(0.001 ** (1 / 20_000))
    assert 0.9 * min(abs(distance), largest) - 0.03 * sigma < found.radius < min(abs(distance), largest + 1e-9)
    assert abs(found.count / 20_000 - norm.cdf(abs(distance) / sigma)) < 0.015


def test_on_the_plane_itself_it_abstains():
    found = certify(Plane(torch.ones(4), -2.0), torch.full((1, 2, 2), 0.5), smoothing(), seed=0, index=0, batch=500)
    assert found.prediction == -1 and found.radius == 0 and 400 < found.count < 600


def test_without_noise_there_is_a_class_and_no_radius():
    witness = Witness()
    found = certify(witness, torch.rand(1, 2, 2), smoothing(sigma=0.0), seed=0, index=0, batch=8)
    assert found == Certificate(0, 0.0, 0, 1000) and len(witness.all()) == 1


def test_logits_that_are_not_finite_are_an_error(images):
    broken = Plane(torch.full((36,), torch.nan))
    with pytest.raises(FloatingPointError, match="image 5: the model's logits are not finite"):
        list(certify_set(broken, images, [5], smoothing(), seed=0, batch=64))


# ---- the noise ----------------------------------------------------------------------------------------------------


def test_a_sample_is_the_same_noise_whatever_the_batches():
    expected = shown(300)
    for batch in (1, 7, 100, 128, 200, 256):
        assert torch.equal(shown(batch), expected)
    assert torch.equal(shown(64, samples=130), expected[:130])


def test_other_places_seeds_and_samples_have_other_noise():
    noise = [shown(300), shown(300, index=1), shown(300, seed=1)]
    samples = torch.cat(noise).flatten(1)
    # 60 values each: the largest correlation of 900 independent samples is some 0.65.
    assert (samples.corrcoef() - torch.eye(900)).abs().max() < 0.9


def test_the_noise_has_its_standard_deviation_and_is_not_cut():
    image = torch.rand(3, 4, 5)
    noise = shown(512, samples=4000, sigma=0.7, image=image) - image
    assert noise.mean().abs() < 0.01 and abs(noise.std() - 0.7) < 0.01
    assert (noise.mean(0).abs() < 0.06).all() and (noise.std(0) - 0.7).abs().max() < 0.05
    assert shown(300).max() > 1.5 and shown(300).min() < 0


# ---- a set --------------------------------------------------------------------------------------------------------


def test_a_certificate_depends_on_the_image_and_its_place_alone(net, images):
    everything = list(certify_set(net, images, range(9), smoothing(), seed=2, batch=550))
    assert list(certify_set(net, images, [7, 2], smoothing(), seed=2, batch=96)) == [everything[7], everything[2]]
    assert list(certify_set(net, images, range(9), smoothing(), seed=2, batch=33, places=[3, 4])) == everything[3:5]
    assert list(certify_set(net, images, range(9), smoothing(), seed=2, batch=33, places=[])) == []
    assert any(100 < each.count < 900 for each in everything), "no count says anything"
    one = certify(net, images[7].float() / 255, smoothing(), seed=2, index=7, batch=550)
    assert one == everything[7]


@pytest.mark.parametrize("stop", [1, 2, 4])  # while samples select the class, at once after, later
def test_an_interrupted_image_goes_on_with_the_same_counts(net, images, stop):
    image, saved = images[4].float() / 255, []
    how = smoothing(n0=100, n=400)
    expected = certify(net, image, how, seed=2, index=4, batch=500)

    def save(tally):
        saved.append(tally.numbers())
        if len(saved) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        certify(net, image, how, seed=2, index=4, batch=64, pausing=lambda: True, pause=save)
    begun = Tally(*json.loads(json.dumps(saved[-1])))
    assert begun.samples == 64 * stop and begun.selecting.total() == min(100, 64 * stop)
    seen = []
    watching = lambda shown: (seen.append(len(shown)), net(shown))[1]  # noqa: E731
    assert certify(watching, image, how, seed=2, index=4, batch=64, begun=begun) == expected
    assert sum(seen) == 500 - 64 * stop
    other = Tally(3, *saved[-1][1:])
    (found,) = certify_set(net, images, [4], how, seed=2, batch=64, begun=other)
    assert found == expected, "the counts of another image were taken"


# ---- what a set says ----------------------------------------------------------------------------------------------


@pytest.fixture
def table():
    rows = [(0, 0, 1.5), (1, 1, 0.5), (2, 0, 0.9), (1, -1, 0.0), (2, 2, 0.2)]
    return pd.DataFrame(rows, columns=["label", "prediction", "radius"])


def test_certified_accuracy_counts_the_right_ones_that_reach_the_radius(table):
    assert [certified_accuracy(table, radius).value for radius in (0, 0.2, 0.5, 0.51, 2)] == [60, 60, 40, 20, 0]
    found = certified_accuracy(table, 0.5)
    # Wilson's interval of 2 in 5: (2 + z^2 / 2 -+ z sqrt(2 3 / 5 + z^2 / 4)) / (5 + z^2).
    z = 1.959964
    middle, half = 2 + z**2 / 2, z * math.sqrt(2 * 3 / 5 + z**2 / 4)
    assert found.low == pytest.approx(100 * (middle - half) / (5 + z**2)) and found.n == 5
    assert found.high == pytest.approx(100 * (middle + half) / (5 + z**2))


def test_the_average_radius_counts_nothing_for_wrong_and_abstaining(table):
    found = average_certified_radius(table)
    assert found.value == pytest.approx((1.5 + 0.5 + 0.2) / 5) and found.n == 5
    spread = math.sqrt(sum((x - 0.44) ** 2 for x in (1.5, 0.5, 0, 0, 0.2)) / 4)
    assert found.high - found.value == pytest.approx(1.959964 * spread / math.sqrt(5))
    assert found.value - found.low == pytest.approx(found.high - found.value)
    assert math.isnan(average_certified_radius(table[:1]).low)


def test_evenly_spaced_places():
    assert evenly_spaced(10_000, 500) == evenly_spaced(10_000, 500, whole_steps=True) == list(range(0, 10_000, 20))
    assert evenly_spaced(7, 3) == [0, 2, 4] and evenly_spaced(3, 500) == [0, 1, 2]
    flowers = evenly_spaced(6149, 500)
    assert len(flowers) == 500 and set(torch.tensor(flowers).diff().tolist()) == {12, 13}
    # Vaishnavi et al. certify 512 of the 6,149 flowers: every 12th.
    assert evenly_spaced(6149, 500, whole_steps=True) == list(range(0, 512 * 12, 12))
