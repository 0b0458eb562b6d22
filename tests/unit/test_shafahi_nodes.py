"""Nodes that look at features and gradients: input gradients, displacement by augmentation, distance from a source."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from robust_transfer.data import tensors
from robust_transfer.data.augment import random_crop
from robust_transfer.figures import arrays
from robust_transfer.models import files
from robust_transfer.plan.specs import WideResNet
from robust_transfer.randomness import reseed
from robust_transfer.stages import displacement, gradients, measure
from robust_transfer.stages.node import KINDS
from robust_transfer.tables.metrics import accuracy_and_robustness

NETWORK = WideResNet(family="wide-resnet", depth=8, widen=1, width=4, shortcut="pad", normalise="per-image")
N = 7
"""Images of the test split; the training split has more than a batch."""


@pytest.fixture
def place(tmp_path):
    """A model with statistics of its own, and a data set of random images."""
    torch.manual_seed(0)
    network = files.build(NETWORK, 1, 3)
    for _ in range(3):
        network.train()(torch.rand(8, 1, 8, 8))
    files.save(tmp_path / "model", network.eval(), NETWORK, 1, 3)
    random = np.random.RandomState(0)

    def split(n):
        return random.randint(0, 256, (n, 8, 8, 1)).astype(np.uint8), random.randint(0, 3, n)

    tensors.save(tmp_path / "data", {"train": split(530), "validation": split(5), "test": split(N)}, ["a", "b", "c"])
    return tmp_path


def job(place, spec, output="out"):
    return SimpleNamespace(
        spec=spec,
        parent=lambda role: place / role,
        data_root=place,
        device=torch.device("cpu"),
        output=place / output,
        blaming=lambda role: nullcontext(),
        computed={},
    )


def made(place, stage, spec):
    """The stage's one tensor, and its metrics."""
    wanted = job(place, KINDS[stage.__name__.rpartition(".")[2]].parse(spec))
    metrics = stage.run(wanted)
    (tensor,) = load_file(wanted.output).values()
    return tensor, metrics


def network_and(place, split):
    return files.load(place / "model")[0], tensors.load(place / "data").split(split)


def margin(logits, label):
    """By how much the logit of a label is above the others', of one image."""
    return logits[label] - logits[[other for other in range(3) if other != label]].max()


# ---- gradients -----------------------------------------------------------------------------------------------------


def test_gradients_are_each_images_own(place):
    found, metrics = made(place, gradients, {"split": "test", "count": 3})
    network, part = network_and(place, "test")
    assert (found.dtype, tuple(found.shape)) == (torch.float32, (3, 1, 8, 8))
    losses = []
    for gradient, which in zip(found, (0, 3, 6), strict=True):
        pixels = part.images[which : which + 1] / 255
        pixels.requires_grad_()
        loss = -network(pixels).log_softmax(1)[0, part.labels[which]]
        loss.backward()
        assert torch.allclose(gradient, pixels.grad[0], rtol=1e-3, atol=1e-5 * float(pixels.grad.abs().max()))
        losses.append(loss.item())
    assert metrics == {"n": 3, "loss": pytest.approx(sum(losses) / 3, rel=1e-4)}


def test_a_gradient_is_the_slope_of_the_loss(place):
    """Against finite differences, in double precision: no autograd on this side."""
    found, _ = made(place, gradients, {"split": "test", "count": N})
    network, part = network_and(place, "test")
    network.double()
    label = part.labels[2]

    @torch.no_grad()
    def loss(pixels):
        return float(-network(pixels[None]).log_softmax(1)[0, label])

    pixels = part.images[2].double() / 255
    for row, column in ((0, 0), (3, 4), (7, 2)):
        step = torch.zeros_like(pixels)
        step[0, row, column] = 1e-6
        slope = (loss(pixels + step) - loss(pixels - step)) / 2e-6
        assert float(found[2, 0, row, column]) == pytest.approx(slope, rel=1e-4)


def test_the_gradient_of_a_network_that_is_sure(place):
    """It is the sum over other classes j of p_j (grad z_j - grad z_y), and small; the softmax loses the last."""
    network, part = network_and(place, "test")
    pixels, label = (part.images[:1] / 255).requires_grad_(), part.labels[0]
    with torch.no_grad():
        network.head.bias[label] += 60 - margin(network(pixels)[0], label)
    files.save(place / "model", network, NETWORK, 1, 3)
    found, _ = made(place, gradients, {"split": "test", "count": N})

    logits = network.double()(pixels.double())[0]
    others = [other for other in range(3) if other != label]
    slope = {j: torch.autograd.grad(logits[j], pixels, retain_graph=True)[0][0] for j in range(3)}
    wanted = sum((logits[j] - logits[label]).exp().item() * (slope[j] - slope[int(label)]) for j in others)
    assert torch.allclose(found[0], wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
    (lost,) = torch.autograd.grad(F.cross_entropy(network(pixels.double()), label[None]), pixels)
    assert not torch.allclose(lost[0], wanted, rtol=0.1, atol=0.1 * float(wanted.abs().max()))


def test_the_figure_shows_the_images_that_the_gradients_are_of(place):
    made(place, gradients, {"split": "test", "count": 3})
    wanted = {
        "images": {"nodes": ["data"], "read": "images", "split": "test", "count": 3},
        "of": {"nodes": ["out"], "read": "gradients"},
    }
    found = arrays.read(wanted, lambda node: place / node)
    images = tensors.load(place / "data").test.images[[0, 3, 6]].numpy()
    assert np.array_equal(found["images"], images / np.float32(255))
    assert found["of"].shape == found["images"].shape


# ---- displacement --------------------------------------------------------------------------------------------------


def test_nothing_moves_without_augmentation(place):
    distances, metrics = made(place, displacement, {"augmentation": {}, "split": "train", "seed": 0})
    assert distances.tolist() == [0.0] * 530
    assert metrics == {"n": 530, "mean": 0.0}


def test_how_far_a_mirror_moves_each_image(place):
    """Half of the images are mirrored, and the others stay."""
    spec = {"augmentation": {"flip": True}, "split": "train", "seed": 0}
    distances, metrics = made(place, displacement, spec)
    network, part = network_and(place, "train")
    images = part.images / 255
    with torch.no_grad():
        moved = (network.features(images) - network.features(images.flip(-1))).square().sum(1).sqrt()
    mirrored = distances > 1e-6
    assert 200 < int(mirrored.sum()) < 330
    assert torch.allclose(distances[mirrored], moved[mirrored], rtol=1e-3)
    assert metrics["mean"] == pytest.approx(float(distances.mean()))


def test_the_split_and_the_seed_count(place):
    def distances(**other):
        return made(place, displacement, {"augmentation": {"crop_padding": 1}, "split": "test", "seed": 0} | other)[0]

    network, part = network_and(place, "test")
    images = part.images / 255
    reseed(0, "displacement")
    with torch.no_grad():
        wanted = (network.features(images) - network.features(random_crop(images, 1))).norm(dim=1)
    assert torch.allclose(distances(), wanted, atol=1e-6)
    assert torch.equal(distances(), distances())
    assert not torch.equal(distances(), distances(seed=1))
    assert len(distances(split="validation")) == 5


def test_the_figure_reads_the_distances(place):
    made(place, displacement, {"augmentation": {"flip": True}, "split": "test", "seed": 0})
    (found,) = arrays.read({"x": {"nodes": ["out"], "read": "distances"}}, lambda node: place / node).values()
    assert np.array_equal(found, load_file(place / "out")["distances"].numpy())


# ---- the mean of accuracy and robustness ---------------------------------------------------------------------------


def outcomes(path, predictions, labels=(0, 1, 2, 0)):
    columns = {"index": range(len(labels)), "label": labels, "prediction": predictions, "confidence": 1.0}
    pd.DataFrame(columns).to_parquet(path, index=False)
    return path


def test_mean_of_accuracy_and_robustness(tmp_path):
    clean, adversarial = outcomes(tmp_path / "a", [0, 1, 2, 1]), outcomes(tmp_path / "b", [0, 0, 0, 1])
    found = accuracy_and_robustness(clean, adversarial)
    assert (found.value, found.n) == (50.0, 4)  # 75 and 25 %
    # Images are right on both, one, one and none: a standard deviation of the mean of 40.82 / 2.
    assert (found.low, found.high) == pytest.approx((50 - 1.96 * 20.41, 50 + 1.96 * 20.41), abs=0.01)


def test_outcomes_of_other_images_have_no_mean(tmp_path):
    clean, adversarial = outcomes(tmp_path / "a", [0, 1, 2, 1]), outcomes(tmp_path / "b", [0, 0, 0, 1], (0, 1, 2, 1))
    with pytest.raises(ValueError, match="different images"):
        accuracy_and_robustness(clean, adversarial)


# ---- measure -------------------------------------------------------------------------------------------------------


def test_the_distance_of_features_is_that_of_the_images_as_they_are_or_augmented(place):
    network, part = network_and(place, "train")
    torch.manual_seed(1)
    source = files.build(NETWORK, 1, 3).eval()
    files.save(place / "source", source, NETWORK, 1, 3)

    def distance(**spec):
        wanted = job(place, measure.Measure(**spec))
        measure.run(wanted)
        return json.loads(wanted.output.read_text())["feature_distance"]

    def by_hand(images):
        with torch.no_grad():
            pairs = zip(network.observe(images).stages, source.observe(images).stages, strict=True)
            return sum((a - b).square().flatten(1).mean(1) for a, b in pairs).mean().item()

    images = part.images / 255
    assert distance() == distance(seed=1) == pytest.approx(by_hand(images), rel=1e-4)
    reseed(3, "measure")
    cropped = torch.cat([random_crop(each, 2) for each in images.split(measure.BATCH)])
    assert distance(augmentation={"crop_padding": 2}, seed=3) == pytest.approx(by_hand(cropped), rel=1e-4)
    assert by_hand(cropped) != pytest.approx(by_hand(images), rel=1e-4)
