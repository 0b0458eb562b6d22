"""Convolutions of few pixels as products: their values and gradients are a convolution's."""

import copy

import pytest
import torch
from torch import nn

from robust_transfer.models.few_pixels import as_matrix, carried, fast_on_few_pixels, flat, pays

CONVOLUTIONS = [
    (nn.Conv2d(3, 4, 3, padding=1), (4, 4)),
    (nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), (4, 5)),
    (nn.Conv2d(2, 2, (1, 3), padding=(0, 2), dilation=(1, 2)), (3, 4)),
    (nn.Conv2d(3, 2, 2), (2, 3)),
    (nn.Conv2d(3, 5, 1), (4, 4)),
    (nn.Conv2d(3, 5, 1, stride=2, bias=False), (3, 4)),
    (nn.Conv2d(4, 4, 3, padding=1, groups=2), (4, 4)),
    (nn.Conv2d(3, 4, 3, padding="same"), (4, 4)),
    (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (4, 4)),
]


@pytest.mark.parametrize(("module", "size"), CONVOLUTIONS[:4])
def test_a_convolution_is_a_matrix_of_pixels_by_pixels(module, size):
    images = torch.rand(2, module.in_channels, *size)
    assert pays(module, *size)
    expected = module(images) - (0 if module.bias is None else module.bias.view(-1, 1, 1))
    matrix = as_matrix(module.weight, carried(module, *size))
    torch.testing.assert_close(flat(images) @ matrix, flat(expected))


@pytest.mark.parametrize(("module", "size"), CONVOLUTIONS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_the_convolutions(module, size, layout):
    torch.manual_seed(0)
    images = torch.rand(3, module.in_channels, *size).to(memory_format=layout)
    weights = torch.randn_like(module(images))

    def found():
        leaf = images.detach().requires_grad_()
        made = module(leaf)
        return made, *torch.autograd.grad((made * weights).sum(), [leaf, *module.parameters()])

    expected = found()
    with fast_on_few_pixels(module):
        torch.testing.assert_close(found(), expected)


def test_what_a_convolution_makes_may_be_changed_in_place_and_be_of_any_kind():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1, bias=False), nn.ReLU(inplace=True))
    images = torch.rand(2, 4, 4, 4)
    expected = torch.autograd.grad(network(images).sum(), network[0].weight)
    with fast_on_few_pixels(network):
        torch.testing.assert_close(torch.autograd.grad(network(images).sum(), network[0].weight), expected)
        assert network(images[:0]).shape == (0, 4, 4, 4)
        assert network.double()(images.double()).dtype == torch.float64


def test_the_network_is_left_as_it_was():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3).requires_grad_(False))
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(KeyError), fast_on_few_pixels(network):
        assert "_conv_forward" in vars(network[0]) and "_conv_forward" not in vars(network[2])
        raise KeyError
    assert "_conv_forward" not in vars(network[0])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_small_matrices_pay():
    def of(channels_in, channels_out, stride=1, **settings):
        return nn.Conv2d(channels_in, channels_out, 3, stride, 1, **settings)

    assert pays(of(1, 8), 8, 8) and pays(of(32, 32), 2, 2) and pays(of(16, 32, 2), 4, 4)
    assert not pays(of(8, 8), 8, 8) and not pays(of(64, 64), 4, 4)
    assert not pays(nn.Conv2d(1, 1, 1), 2, 2) and not pays(of(2, 2, groups=2), 2, 2)
