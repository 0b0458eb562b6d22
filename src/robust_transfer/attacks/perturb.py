"""Perturbing a batch of images: the call that every attack answers, and what attacks have in common."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robust_transfer.attacks.losses import size
from robust_transfer.attacks.ready import fast_convolutions, frozen
from robust_transfer.attacks.worst import Worst, within
from robust_transfer.randomness import seed_all
from robust_transfer.specs.attacks import Attack

Predict = Callable[[Tensor], Tensor]
"""N x C x H x W pixels -> N x classes logits."""


def perturb(
    model: nn.Module, images: Tensor, labels: Tensor | None, attack: Attack, *, generator_seed: int | None = None
) -> Tensor:
    """Adversarial examples of images: N x C x H x W float32 pixels in [0, 1], and so is the result; see Attack.perturb.

    labels: N int64. generator_seed: of the random starts; torch's global generators stay untouched. Without it they are
    used.
    """
    return attack.perturb(model, images, labels, seed=generator_seed)


def raise_loss(
    attack: Attack,
    run: Callable[[Predict, Tensor, Tensor], Tensor],
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None,
    seed: int | None,
    restarts: int = 1,
) -> Tensor:
    """What `run` makes of the images, or the worst case of some runs for each image; within eps exactly.

    run: called under gradients with the model as a function, images, and labels, true or predicted as the attack says.
    The model is used in the mode it is in and left as it was, without weight gradients.

    Raises:
        FloatingPointError: where the loss's gradient is not finite; its sign would leave the images as they are.
        ValueError: where the attack needs labels, and there are none.
    """
    if attack.labels == "true" and labels is None:
        raise ValueError("this attack raises the loss of the true labels, so labels are needed")
    images = images.detach().contiguous()  # a random start depends on the memory layout
    if attack.eps == 0:
        return images.clone()

    def once(labels: Tensor) -> Tensor:
        with finite_gradients(model) as predict:
            found = run(predict, images, labels)
        return within(found, images, attack)

    with seeded(seed, images.device), frozen(model), torch.enable_grad(), fast_convolutions(images):
        if attack.labels == "predicted":
            with torch.no_grad():
                labels = model(images).argmax(1)
        assert labels is not None
        found = once(labels)
        if restarts == 1:
            return found
        worst = Worst(model, found, labels)
        for _ in range(restarts - 1):
            worst.keep_worse(once(labels), torch.arange(len(images), device=images.device))
        return worst.images


Run = Callable[[nn.Module, Tensor, Tensor], Iterable[Tensor]]
"""Model, images and true labels -> one or more versions of all these images, or none."""


def until_wrong(
    attack: Attack,
    runs: Iterable[Run],
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None,
    seed: int | None,
    also_wrong: bool = False,
) -> Tensor:
    """Each image's worst case of several runs, each run being for the images that are still predicted right.

    An image stays clean where that is its worst case. The result is within eps of the images exactly. The model is used
    in the mode it is in and left as it was, without weight gradients.

    also_wrong: whether the first run is for images too that are wrong from the beginning.

    Raises:
        ValueError: where there are no labels.
    """
    if labels is None:
        raise ValueError("this attack looks for images that are predicted wrong, so labels are needed")
    images = images.detach().contiguous()
    if attack.eps == 0:
        return images.clone()
    with seeded(seed, images.device), frozen(model), torch.enable_grad():
        worst = Worst(model, images, labels)
        indices = (~worst.wrong | also_wrong).nonzero().flatten()
        for run in runs:
            if not len(indices):
                break
            for found in run(model, images[indices], labels[indices]):
                worst.keep_worse(within(found, images[indices], attack), indices)
            indices = (~worst.wrong).nonzero().flatten()
        return worst.images


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Torch's generators begun from a seed, and put back at the end; without a seed they are used as they are."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed_all(seed)
        yield


@contextmanager
def finite_gradients(model: Predict, even: bool = True) -> Iterator[Predict]:
    """The model as a function, whose inputs' gradients are looked at, at the end, as each look would wait for a GPU.

    even: whether each image's gradient is divided so that its largest entry is between 1/2 and 1. Its direction stays,
        and no floor under its norm (1e-6 in advertorch, 1e-12 in pyautoattack) shortens steps where logits are small.

    Raises:
        FloatingPointError: where one was not finite.
    """
    finite: list[Tensor] = []

    def noted(gradient: Tensor) -> Tensor | None:
        finite.append(gradient.isfinite().all())
        return gradient / size(gradient) if even else None

    def predict(images: Tensor) -> Tensor:
        if images.requires_grad:
            images.register_hook(noted)
        return model(images)

    yield predict
    for step, well in enumerate(finite):
        if not well:
            raise FloatingPointError(f"the loss's gradient is not finite in step {step + 1} of the attack")
