"""The feature attack, which needs a feature extractor and no labels, through advertorch."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from robust_transfer.attacks.advertorch_compat import LinfPGDAttack
from robust_transfer.attacks.ready import fast_convolutions, frozen
from robust_transfer.plan.specs import FeatureAttack


class FeaturesOf(nn.Module):
    """A classifier without its head: N x C x H x W pixels -> N x width penultimate features."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Pixels -> features."""
        return self.network.features(images)


def feature_loss(features: Tensor, attack: FeatureAttack) -> Tensor:
    """What the attack brings down, for N x width features: N values.

    distance: the squared distance to the target vector (Chin et al. 2020, Eq. 4). mean_rest: what their code has, the
    square of the one feature's distance and a tenth of the mean square of the others.

    Raises:
        ValueError: where there is no such feature.
    """
    if attack.neuron >= features.shape[1]:
        raise ValueError(f"feature {attack.neuron} is to be driven, but the network has 0 to {features.shape[1] - 1}")
    driven = (features[:, attack.neuron] - attack.value).square()
    rest = features.square().sum(1) - features[:, attack.neuron].square()
    return driven + (0.1 * rest / (features.shape[1] - 1) if attack.loss == "mean_rest" else rest)


def perturb_features(
    extractor: nn.Module, images: Tensor, attack: FeatureAttack, *, generator_seed: int | None = None
) -> Tensor:
    """Images (N x C x H x W float32 pixels in [0, 1]) moved so that one feature grows; the result has the same form.

    extractor: images -> N x width features, in evaluation mode. generator_seed: of the random start; torch's global
    generators stay untouched. Without it they are used.

    Under space: normalised the steps, the budget and the clip are those of the network's input, and what leaves [0, 1]
    in pixels is cut at the end; in pixels the result is within eps up to float32's rounding.

    Raises:
        FloatingPointError: where a gradient is not finite.
    """
    images = images.detach().contiguous()
    mean, std = _a_channel(attack.mean, images), _a_channel(attack.std, images)
    normalised = attack.space == "normalised"
    if normalised and attack.clip:
        low, high = -attack.clip, attack.clip
    elif normalised:
        low, high = float(((0 - mean) / std).min()), float(((1 - mean) / std).max())
    else:
        low, high = 0.0, 1.0
    finite: list[Tensor] = []

    def predict(x: Tensor) -> Tensor:
        x.register_hook(lambda gradient: finite.append(gradient.isfinite().all()))
        return extractor(x * std + mean if normalised else x)

    attacker = LinfPGDAttack(
        predict,
        # Summed, so that an image's gradient doesn't depend on the batch it is in.
        loss_fn=lambda features, _target: feature_loss(features, attack).sum(),
        eps=float(attack.eps),
        nb_iter=attack.steps,
        eps_iter=float(attack.step_size),
        rand_init=attack.random_start,
        clip_min=low,
        clip_max=high,
        targeted=True,
    )
    cuda = [images.device] if images.is_cuda else []
    with nullcontext() if generator_seed is None else torch.random.fork_rng(devices=cuda):
        if generator_seed is not None:
            torch.manual_seed(generator_seed)
        with frozen(extractor), torch.enable_grad(), fast_convolutions(images):
            begin = (images - mean) / std if normalised else images
            moved = attacker.perturb(begin, torch.zeros(len(images), dtype=torch.int64, device=images.device))
    if not all(finite):
        raise FloatingPointError("the gradient of the feature attack's loss is not finite")
    return (moved * std + mean).clamp(0, 1) if normalised else moved


def _a_channel(value: float | list[float], like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)
