"""Adversarial images by gradient steps on the pixels: FGSM and PGD through advertorch.

A new algorithm is a new branch of _advertorch.
"""

import hashlib
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
from robust_transfer.attacks.budget import BudgetError, Threat, check_budget, quantise, to_float
from robust_transfer.attacks.feature import FeaturesOf, perturb_features
from robust_transfer.attacks.ready import attack_ready, fast_convolutions, frozen

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


def craft(
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None,
    attack: Attack,
    batch_size: int,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Callable[[Tensor], None] | None = None,
    done: Tensor | None = None,
) -> Tensor:
    """Adversarial examples of a whole set, in the stored form of budget.py (uint16, on the CPU), budget kept.

    images: N x C x H x W uint8; labels: N int64. The model, on `device`, is attacked in evaluation mode.
    seed: of the random starts; each batch has its own, made from this and its first image's place in the set.
    progress: called after each batch with all images made so far, to save them or to count.
    done: what such a call was given, to go on from there; the result has the same bits as a run in one go.

    Raises:
        BudgetError: where `done` is not from these images and this attack, or an attack leaves its budget.
        FloatingPointError: where the loss's gradient is not finite.
    """
    made = torch.empty(images.shape, dtype=torch.uint16)
    begin = 0 if done is None else len(done)
    if begin:
        if begin > len(images) or (begin % batch_size and begin < len(images)):
            raise BudgetError(f"{begin} images were made before, which is no whole number of batches of {batch_size}")
        check_budget(done, images[:begin].cpu(), attack)
        made[:begin] = done
    if begin == len(images):
        return made
    on_features = attack.algorithm == "feature"
    ready = attack_ready(FeaturesOf(model) if on_features else model, sample=to_float(images[:batch_size].to(device)))
    for first in range(begin, len(images), batch_size):
        batch = slice(first, first + batch_size)
        clean = images[batch].to(device)
        truth = None if labels is None else labels[batch].to(device)
        try:
            own = {"generator_seed": batch_seed(seed, first)}
            if on_features:
                adversarial = perturb_features(ready, to_float(clean), attack, **own)
            else:
                adversarial = perturb(ready, to_float(clean), truth, attack, **own)
        except FloatingPointError as error:
            raise FloatingPointError(f"images {first} to {first + len(clean) - 1}: {error}") from None
        made[batch] = quantise(adversarial, clean, attack).cpu()
        if progress:
            progress(made[: first + len(clean)])
    return made


def batch_seed(seed: int, first: int) -> int:
    """The seed of the batch that begins with image number `first`, in 0..2^63-1."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{first}".encode()).digest()[:8], "little") >> 1


def _worst(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack) -> Tensor:
    """Image by image, a restart that ends in a wrong prediction, and among equals the one of highest loss."""
    worst = _run(model, images, labels, attack)
    if attack.restarts == 1:
        return worst
    wrong, loss = _outcome(model, worst, labels)
    for _ in range(attack.restarts - 1):
        other = _run(model, images, labels, attack)
        other_wrong, other_loss = _outcome(model, other, labels)
        better = (other_wrong & ~wrong) | ((other_wrong == wrong) & (other_loss > loss))
        worst = torch.where(better.view(-1, 1, 1, 1), other, worst)
        wrong, loss = torch.where(better, other_wrong, wrong), torch.where(better, other_loss, loss)
    return worst


@torch.no_grad()
def _outcome(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = model(images)
    return logits.argmax(1) != labels, F.cross_entropy(logits, labels, reduction="none")


def _run(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack) -> Tensor:
    finite: list[Tensor] = []

    def predict(x: Tensor) -> Tensor:
        x.register_hook(lambda gradient: finite.append(gradient.isfinite().all()))
        return model(x)

    adversarial = _advertorch(attack, predict).perturb(images, labels)
    for step, well in enumerate(finite):
        if not well:
            raise FloatingPointError(f"the loss's gradient is not finite in step {step + 1} of the attack")
    return _within(adversarial, images, attack)


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


def _within(adversarial: Tensor, images: Tensor, threat: Threat) -> Tensor:
    """Float32 images pulled back into the ball, exactly: in double precision, then rounded inwards."""
    centre = images.double()
    offset = adversarial.double() - centre
    if threat.norm == "linf":
        offset = offset.clamp(-threat.eps, threat.eps)
    else:
        length = torch.linalg.vector_norm(offset, dim=(1, 2, 3), keepdim=True)
        offset = offset * (threat.eps / length.clamp(min=threat.eps))
    inside = (centre + offset).float()
    too_far = (inside.double() - centre).abs() > offset.abs()
    return torch.where(too_far, torch.nextafter(inside, images), inside)
