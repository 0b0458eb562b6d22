"""SimCLR: the loss, the projection head, the views."""

import math

import pytest
import torch
from torch import nn
from torchvision.transforms import functional as reference

from robust_transfer.data import views
from robust_transfer.data.views import jitter, random_resized_crop, turn_hue, two_views
from robust_transfer.models import files
from robust_transfer.plan.specs import CifarResNet
from robust_transfer.terms.contrastive import Contrastive, nt_xent, projection_head


@pytest.fixture
def colour():
    return torch.rand(64, 3, 6, 8, generator=torch.Generator().manual_seed(1))


# ---- the loss -----------------------------------------------------------------------------------------------------


def test_nt_xent_is_the_formula():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    every = torch.cat([first, second]).double()
    total = 0.0
    for i in range(10):
        partner = (i + 5) % 10
        alike = [float(every[i] @ z / (every[i].norm() * z.norm())) / 0.1 for z in every]
        total += math.log(sum(math.exp(a) for k, a in enumerate(alike) if k != i)) - alike[partner]
    assert float(nt_xent(first, second, 0.1)) == pytest.approx(total / 10, rel=1e-5)


def test_nt_xent_of_two_orthogonal_images():
    # Partners are alike (1), the two others at right angles (0): -ln(e^2 / (e^2 + 2)) at temperature 1/2.
    views_of_two = torch.eye(2)
    expected = math.log(1 + 2 / math.exp(2))
    assert float(nt_xent(3 * views_of_two, views_of_two, 0.5)) == pytest.approx(expected)


def test_nt_xent_brings_partners_together():
    torch.manual_seed(0)
    first, second = nn.Parameter(torch.randn(8, 16)), nn.Parameter(torch.randn(8, 16))
    optimiser = torch.optim.SGD([first, second], 5.0)
    for _ in range(60):
        optimiser.zero_grad()
        nt_xent(first, second, 0.5).backward()
        optimiser.step()
    alike = torch.nn.functional.normalize(first) @ torch.nn.functional.normalize(second).T
    assert alike.diagonal().min() > 0.95 and (alike - 2 * torch.eye(8)).max() < 0.3


def test_the_projection_head():
    head = projection_head(6, 4)
    x = torch.randn(5, 6)
    expected = head[2](head[0](x).relu())
    assert torch.equal(head(x), expected) and expected.shape == (5, 4) and head[0].out_features == 6
    assert [type(layer) for layer in projection_head(6, batch_norm=True)] == [
        nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear
    ]  # fmt: skip
    assert projection_head(6)(x).shape == (5, 128)


def test_the_projection_head_stands_there_for_the_training_alone():
    network = files.build(CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=4), 1, 3)
    term = Contrastive(temperature=0.5, size=5, batch_norm=True)
    term.equip(network)
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 5)
    assert [type(layer) for layer in network.head][1] is nn.BatchNorm1d
    term.strip(network, 3)
    assert isinstance(network.head, nn.Linear) and network.head.out_features == 3


# ---- the views ----------------------------------------------------------------------------------------------------


def test_a_crop_of_everything_is_the_image(colour):
    # No box of the whole area fits but one of the image's own form, and that is what is left where none fits.
    torch.testing.assert_close(random_resized_crop(colour, 1.0), colour)


def test_crops_show_boxes_of_the_wanted_areas_and_ratios():
    # The image is its own coordinates, so that a crop tells where it is from.
    size = 32
    middle = (torch.arange(size) + 0.5) / size
    image = torch.stack([middle.expand(size, size), middle[:, None].expand(size, size), torch.zeros(size, size)])
    torch.manual_seed(0)
    seen = random_resized_crop(image.expand(4000, -1, -1, -1), 0.3)
    inner = slice(8, 24)  # away from the border, where bilinear weights meet the edge
    steps = seen[:, 0, :, inner].diff(dim=-1), seen[:, 1, inner].diff(dim=-2)
    for step in steps:  # a stretched image, and nothing else
        assert (step - step.mean((1, 2), keepdim=True)).abs().max() < 1e-5
    width, height = (step.mean((1, 2)) * size for step in steps)
    area, ratio = width * height, width / height
    assert area.min() > 0.3 - 1e-4 and area.min() < 0.31 and 0.97 < area.max() < 1 + 1e-4
    assert ratio.min() > 3 / 4 - 1e-4 and ratio.min() < 0.76 and 1.31 < ratio.max() < 4 / 3 + 1e-4
    # Large boxes that don't fit are drawn again, so that the mean area is a little under (0.3 + 1) / 2.
    assert 0.55 < area.mean() < 0.65 and ratio.log().mean().abs() < 0.02
    centre = seen[:, :2, inner, inner].mean((2, 3))
    assert ((width > 0.999) & (height > 0.999)).sum() < 10
    for middle, length in ((centre[:, 0], width), (centre[:, 1], height)):
        free = length < 0.9
        place = ((middle - length / 2) / (1 - length))[free]  # of the box, in parts of the room there is
        assert -1e-3 < place.min() < 0.01 and 0.99 < place.max() < 1 + 1e-3 and abs(place.mean() - 0.5) < 0.02
    assert (centre.mean(0) - 0.5).abs().max() < 0.02


@pytest.mark.parametrize("turn", [0.0, 0.07, -0.2, 0.5])
def test_hues_turn_as_in_torchvision(colour, turn):
    colour[0] = 0.5  # grey: no hue to turn
    colour[1] = 0.0
    colour[2, 1] = colour[2, 0]  # two channels are the brightest or the palest
    colour[3] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    found = turn_hue(colour, torch.full((64, 1, 1, 1), turn))
    torch.testing.assert_close(found, reference.adjust_hue(colour, turn), atol=1e-5, rtol=0)


def test_a_jitter_is_torchvisions_four_changes(colour, monkeypatch):
    spread = iter([0.7, 1.3, 1.6, 1.05])
    monkeypatch.setattr(views, "_factor", lambda x, _: torch.full((len(x), 1, 1, 1), next(spread)))
    monkeypatch.setattr(torch, "randperm", lambda _: torch.tensor([3, 1, 0, 2]))
    expected = reference.adjust_hue(colour, -0.3)
    for change, factor in (("contrast", 1.3), ("brightness", 1.6), ("saturation", 1.05)):
        expected = getattr(reference, f"adjust_{change}")(expected, factor)
    torch.testing.assert_close(jitter(colour, 1.0), expected, atol=1e-3, rtol=0)


def test_factors_differ_from_image_to_image_within_their_range():
    torch.manual_seed(0)
    found = views._factor(torch.zeros(2000, 1, 1, 1), 0.4).flatten()
    assert 0.6 <= found.min() < 0.61 and 1.39 < found.max() <= 1.4
    assert views._factor(torch.zeros(2000, 1, 1, 1), 1.6).min() >= 0


def test_grey_images_change_in_brightness_and_contrast_alone():
    torch.manual_seed(0)
    grey = torch.rand(32, 1, 8, 8) * 0.2 + 0.4  # so that nothing is cut
    changed = jitter(grey, 0.5)
    # Every pixel of an image by the same straight line.
    slope = (changed[:, :, 0, 0] - changed[:, :, 5, 5]) / (grey[:, :, 0, 0] - grey[:, :, 5, 5])
    line = slope[..., None, None] * (grey - grey[:, :, :1, :1]) + changed[:, :, :1, :1]
    torch.testing.assert_close(changed, line, atol=1e-4, rtol=0)
    assert slope.std() > 0.05
    torch.testing.assert_close(jitter(grey, 0.0), grey)


def test_views_come_from_the_global_generator_and_differ(colour):
    def draw(seed):
        torch.manual_seed(seed)
        return two_views(colour, 0.5, 0.2, True)

    first, second = draw(0)
    assert first.shape == second.shape == colour.shape and not torch.allclose(first, second)
    assert min(first.min(), second.min()) >= 0 and max(first.max(), second.max()) <= 1
    assert all(torch.equal(a, b) for a, b in zip(draw(0), (first, second), strict=True))
    assert not torch.equal(draw(1)[0], first)


def test_a_fifth_of_the_colour_views_is_grey_and_a_fifth_unjittered():
    torch.manual_seed(0)
    images = torch.rand(3000, 3, 1, 1).expand(-1, -1, 4, 4).contiguous()  # crops of one colour are the image
    seen, _ = two_views(images, 0.5, 0.2, False)
    grey = (seen.amax(1) - seen.amin(1)).flatten(1).amax(1) < 1e-6
    same = (seen - images).flatten(1).abs().amax(1) < 1e-5
    assert abs(grey.float().mean() - 0.2) < 0.03 and abs(same.float().mean() - 0.2 * 0.8) < 0.03


@pytest.mark.parametrize("side", [33, 64, 224])
def test_a_blur_is_torchvisions_over_a_tenth_of_the_image(side):
    torch.manual_seed(0)
    images, deviations = torch.rand(3, 3, side, side), torch.tensor([0.1, 0.9, 2.0])
    window = side // 20 * 2 + 1
    for image, deviation, found in zip(images, deviations, views.blur(images, deviations), strict=True):
        expected = reference.gaussian_blur(image, [window, window], [float(deviation)] * 2)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("side", "share"), [(32, 0), (33, 0.5)])
def test_half_of_the_views_are_blurred_where_images_are_large(side, share, monkeypatch):
    monkeypatch.setattr(views, "DEVIATIONS", (1.0, 1.0))
    torch.manual_seed(0)
    stripes = (torch.arange(side) % 2.0).expand(400, 1, side, side).contiguous()
    crops = torch.stack([stripes, stripes], 1)
    one, other = two_views(crops, 0.0, 0.2, False)
    for seen in (one, other):
        assert (seen.diff(dim=-1).abs().mean((1, 2, 3)) < 0.99).float().mean() == pytest.approx(share, abs=0.1 * share)


def test_of_two_crops_each_view_is_one():
    torch.manual_seed(0)
    crops = torch.rand(16, 2, 1, 8, 8)
    one, other = two_views(crops, 0.0, 0.2, False)  # without jitter, and small: nothing else is done to them
    torch.testing.assert_close(torch.stack([one, other], 1), crops)


def test_views_are_mirrored_only_where_that_is_wanted():
    torch.manual_seed(0)
    slope = (torch.arange(8) / 8).expand(500, 1, 8, 8).contiguous()

    def mirrored(flip):
        return (two_views(slope, 0.5, 0.2, flip)[0].diff(dim=-1).mean((1, 2, 3)) < 0).float().mean()

    assert mirrored(False) == 0 and 0.4 < mirrored(True) < 0.6
