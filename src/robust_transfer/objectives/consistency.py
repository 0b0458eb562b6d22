"""Consistency regularisation for smoothed classifiers (Jeong & Shin 2020)."""

import math

import torch.nn.functional as F
from torch import Tensor


def consistency(logits: Tensor, labels: Tensor, weight: float, entropy_weight: float) -> Tensor:
    """Cross entropy over noisy copies of a batch, and how little the copies agree: a scalar.

    logits: m x N x classes, of m copies of N images under independent noise. labels: N int64.
    weight, entropy_weight: lambda and eta of Jeong & Shin 2020, section 3. With q the mean of p_1..p_m, the predictions
    for an image's copies, its loss is mean_i CE(p_i, label) + lambda mean_i KL(q || p_i) + eta H(q); the batch's is the
    mean. Gradients flow through q too, as they do in the authors' code.
    """
    copies = logits.log_softmax(-1)
    # Means of probabilities as logarithms: a probability that float32 rounds to zero has a finite logarithm still.
    mean = copies.logsumexp(0) - math.log(len(logits))
    entropy = -(mean.exp() * mean).sum(-1)
    divergence = (mean.exp() * (mean - copies)).sum(-1).mean(0)
    fit = F.nll_loss(copies.flatten(0, 1), labels.repeat(len(logits)))
    return fit + (weight * divergence + entropy_weight * entropy).mean()
