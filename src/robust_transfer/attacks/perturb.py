"""Adversarial images by gradient steps on the pixels: FGSM and PGD through advertorch."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robust_transfer.attacks.advertorch_compat import (
    GradientAttack,
    GradientSignAttack,
    L2PGDAttack,
    LinfPGDAttack,
)
from robust_transfer.attacks.budget import Threat
from robust_transfer.attacks.ready import fast_convolutions, frozen
from robust_transfer.attacks.worst import Worst, within

LOSS_SCALE = 2.0**30
"""Times cross entropy. A power of two changes no gradient's direction or rounding, but keeps the small
gradients of images that the model is sure of from underflow and from advertorch's floor under l2 norms."""


class Attack(Threat, Protocol):
    """What an attack is; norm and eps as in Threat.

    steps, step_size: how many steps, and how long in pixels; FGSM takes one of length eps.
    random_start: begin at a random point of the ball.
    restarts: runs of which the worst case is kept, image by image.
    loss: of PGD, cross_entropy unless given: what is raised, that or the margin.
    labels: whose label the loss is raised for, the true one or the model's own prediction on the clean image,
        which guards training against label leaking (Kurakin et al. 2017).
    """

    @property
    def algorithm(self) -> Literal["fgsm", "pgd"]: ...

    @property
    def steps(self) -> int: ...

    @property
    def step_size(self) -> float: ...

    @property
    def random_start(self) -> bool: ...

    @property
    def restarts(self) -> int: ...

    @property
    def labels(self) -> Literal["true", "predicted"]: ...


def perturb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None,
    attack: Attack,
    *,
    generator_seed: int | None = None,
) -> Tensor:
    """Adversarial examples of images: N x C x H x W float32 pixels in [0, 1], and so is the result.

    FGSM is Goodfellow et al. 2015, section 4 (l2: the gradient itself at length eps); PGD is Madry et al.
    2018, section 2.1. The loss is cross entropy. The result is within eps of the images exactly, not just up
    to rounding. The model is used in the mode it is in and left as it was, without weight gradients.

    labels: N int64; None will do for an attack on predicted labels.
    generator_seed: of the random starts; torch's global generators stay untouched. Without it they are used.

    Raises:
        FloatingPointError: where the loss's gradient is not finite; its sign would leave the images as they are.
    """
    if attack.labels == "true" and labels is None:
        raise ValueError("this attack raises the loss of the true labels, so labels are needed")
    # A random start depends on the memory layout.
    images = images.detach().contiguous()
    if attack.eps == 0:
        return images.clone()
    cuda = [images.device] if images.is_cuda else []
    own_generator = nullcontext() if generator_seed is None else torch.random.fork_rng(devices=cuda)
    with own_generator, frozen(model), torch.enable_grad(), fast_convolutions(images):
        if generator_seed is not None:
            torch.manual_seed(generator_seed)
        if attack.labels == "predicted":
            with torch.no_grad():
                labels = model(images).argmax(1)
        return _worst(model, images, labels, attack)


def _worst(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack) -> Tensor:
    """Image by image the worst of all restarts."""
    first = _run(model, images, labels, attack)
    if attack.restarts == 1:
        return first
    worst = Worst(model, first, labels)
    for _ in range(attack.restarts - 1):
        worst.offer(_run(model, images, labels, attack), torch.arange(len(images), device=images.device))
    return worst.images


def _run(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack) -> Tensor:
    finite: list[Tensor] = []

    def predict(x: Tensor) -> Tensor:
        x.register_hook(lambda gradient: finite.append(gradient.isfinite().all()))
        return model(x)

    adversarial = _advertorch(attack, predict).perturb(images, labels)
    for step, well in enumerate(finite):
        if not well:
            raise FloatingPointError(f"the loss's gradient is not finite in step {step + 1} of the attack")
    return within(adversarial, images, attack)


def _advertorch(attack: Attack, predict: Callable[[Tensor], Tensor]):
    eps = float(attack.eps)
    loss = _margin if getattr(attack, "loss", "cross_entropy") == "margin" else _loss
    if attack.algorithm == "fgsm":
        one_step = {"linf": GradientSignAttack, "l2": GradientAttack}[attack.norm]
        return one_step(predict, loss_fn=_loss, eps=eps)
    if attack.algorithm == "pgd":
        many_steps = {"linf": LinfPGDAttack, "l2": L2PGDAttack}[attack.norm]
        return many_steps(
            predict,
            loss_fn=loss,
            eps=eps,
            nb_iter=attack.steps,
            eps_iter=float(attack.step_size),
            rand_init=attack.random_start,
        )
    raise ValueError(f"no attack algorithm {attack.algorithm!r}")


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    # Summed, so that an image's gradient doesn't depend on the batch it is in.
    return LOSS_SCALE * F.cross_entropy(logits, labels, reduction="sum")


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the best other class is above the label's, summed (Carlini & Wagner 2017, f_6, as Madry et al. 2018 use
    it in PGD).
    """
    own = F.one_hot(labels, logits.shape[1]).bool()
    return LOSS_SCALE * (logits.masked_fill(own, -torch.inf).amax(1) - logits[own]).sum()
