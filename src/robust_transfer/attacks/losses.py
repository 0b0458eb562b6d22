"""What attacks raise, image by image, and how its gradient is brought to a size that no floor or rounding harms."""

import torch
import torch.nn.functional as F
from torch import Tensor


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """N x classes logits, N labels -> N log odds against the label: log sum_j exp z_j - z_y over the other classes j.

    Cross entropy is log(1 + exp(log odds)): it rises with them, and its gradient is theirs times 1 - p_y. So attacks go
    the same way; but from a margin of 17 on (37 in double precision) p_y is rounded to 1, and nothing of the log odds'
    gradient is lost.
    """
    others, own = _others_and_own(logits, labels)
    return others.logsumexp(1) - own


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """N x classes logits, N labels -> N: how far the best other class is above the label's (Carlini & Wagner 2017, f_6,
    as Madry et al. 2018 use it in PGD).
    """
    others, own = _others_and_own(logits, labels)
    return others.amax(1) - own


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """N x classes logits, N labels -> N cross entropies, log(1 + exp(log odds)): torch's numbers, but with a gradient
    that keeps its direction where p_y is rounded to 1.
    """
    return F.softplus(log_odds(logits, labels))


def over_0(odds: Tensor) -> Tensor:
    """N log odds -> N losses that rise with them and are over 0, with the odds' own gradient: auto-PGD's library
    compares the first step's loss with 0, and cross entropy is always over it.
    """
    return _Over0.apply(odds)


class _Over0(torch.autograd.Function):
    """(1 + max(x, 0)) / (1 - min(x, 0)), which loses none of x's precision; its slope would only round the gradient."""

    @staticmethod
    def forward(odds):
        return (1 + odds.clamp(min=0)) / (1 - odds.clamp(max=0))

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def size(gradient: Tensor) -> Tensor:
    """What to divide each of N gradients by: N x 1 x 1 ..., the power of two over its largest entry, as that rounds no
    entry; 1 where all are 0.
    """
    largest = gradient.flatten(1).abs().amax(1)
    power = largest / torch.frexp(largest).mantissa
    return torch.where(largest > 0, power, 1).view(-1, *[1] * (gradient.ndim - 1))


def _others_and_own(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    labels = labels.unsqueeze(1)
    return logits.scatter(1, labels, -torch.inf), logits.gather(1, labels).squeeze(1)
