"""Layer-wise adaptive rate scaling."""

import pytest
import torch
from torch import nn

from robust_transfer.training.lars import Lars


def weight(values, gradient):
    parameter = nn.Parameter(torch.tensor(values))
    parameter.grad = torch.tensor(gradient)
    return parameter


def test_two_steps_by_hand():
    # |w| = 5, |g| = 2: r = 0.1 * 5 / (2 + 0.5 * 5) = 1/9, and v = 0.9 * (1/9) * (g + 0.5 w).
    w = weight([[3.0, 4.0]], [[0.0, 2.0]])
    optimiser = Lars([w], lr=0.9, momentum=0.5, weight_decay=0.5, trust=0.1)
    optimiser.step()
    torch.testing.assert_close(w.data, torch.tensor([[3 - 0.15, 4 - 0.4]]))
    # Then with another rate, which the old velocity keeps out of: |w| = 4.591569..., |g| = 1.
    w.grad = torch.tensor([[1.0, 0.0]])
    optimiser.param_groups[0]["lr"] = 0.3
    length = (2.85**2 + 3.6**2) ** 0.5
    r = 0.1 * length / (1 + 0.5 * length)
    velocity = [0.5 * 0.15 + 0.3 * r * (1 + 0.5 * 2.85), 0.5 * 0.4 + 0.3 * r * 0.5 * 3.6]
    optimiser.step()
    torch.testing.assert_close(w.data, torch.tensor([[2.85 - velocity[0], 3.6 - velocity[1]]]))
    torch.testing.assert_close(optimiser.state[w]["momentum_buffer"], torch.tensor([velocity]))


def test_biases_and_batch_norms_take_plain_steps_without_weight_decay():
    bias = weight([3.0, 4.0], [0.0, 2.0])
    Lars([bias], lr=0.5, weight_decay=0.5, trust=0.1).step()
    torch.testing.assert_close(bias.data, torch.tensor([3.0, 3.0]))


def test_the_length_of_a_step_is_a_share_of_the_weights_whatever_the_gradient():
    for size in (1e-6, 1.0, 1e6):
        w = weight([[3.0, 4.0]], [[size, 0.0]])
        Lars([w], lr=1.0, trust=0.01).step()
        torch.testing.assert_close(w.data, torch.tensor([[3.0 - 0.05, 4.0]]))


@pytest.mark.parametrize(("start", "gradient"), [([[0.0, 0.0]], [[0.0, 2.0]]), ([[3.0, 4.0]], [[0.0, 0.0]])])
def test_zero_weights_and_zero_gradients_take_plain_steps(start, gradient):
    w = weight(start, gradient)
    Lars([w], lr=0.5, weight_decay=0.1, trust=0.01).step()
    expected = torch.tensor(start) - 0.5 * (torch.tensor(gradient) + 0.1 * torch.tensor(start))
    torch.testing.assert_close(w.data, expected)


def test_frozen_weights_stay_and_a_closure_gives_its_loss():
    frozen, moving = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimiser = Lars([frozen, moving], lr=0.1)

    def closure():
        loss = moving.square().sum()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() == 4
    assert (frozen == 1).all() and (moving < 1).all()


def test_a_restored_velocity_goes_on_with_the_same_bits():
    def optimiser_of(w):
        return Lars([w], lr=0.9, weight_decay=0.5, trust=0.1)

    def go(w, optimiser, steps):
        for _ in range(steps):
            w.grad = w.detach().sin()
            optimiser.step()

    whole = nn.Parameter(torch.rand(3, 4, generator=torch.Generator().manual_seed(0)))
    start = whole.detach().clone()
    go(whole, optimiser_of(whole), 4)
    first = nn.Parameter(start)
    optimiser = optimiser_of(first)
    go(first, optimiser, 2)
    second = nn.Parameter(first.detach().clone())
    resumed = optimiser_of(second)
    resumed.state[second]["momentum_buffer"] = optimiser.state[first]["momentum_buffer"].clone()
    go(second, resumed, 2)
    assert torch.equal(second, whole)
