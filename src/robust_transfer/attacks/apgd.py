"""Auto-PGD on the cross entropy (Croce & Hein 2020), as its authors published it: pyautoattack.

What to know of pyautoattack 0.2.0, and what is done about it here:

- Its own `perturb` gives back the clean image wherever no step was predicted wrong, seeds torch's global generators,
  and takes the last wrong step, however narrowly wrong. Here a single run is asked for, which shows both the step of
  highest loss and the last wrong one; the worse of the two is kept.
- In single precision the loss of an image that the model is sure of is 0 at every step, so that none is the best. Here
  logits are given in double precision.
- Its l2 step divides by the gradient's length + 1e-12, so images that the model is sure of take shorter steps or none.
- A gradient that is not a number leaves an image as it is: a broken model looks robust.
- Rounding lets a perturbation exceed eps by some 1e-7.
"""

from contextlib import nullcontext
from typing import Protocol

import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

from robust_transfer.attacks.budget import Threat
from robust_transfer.attacks.ready import frozen
from robust_transfer.attacks.worst import Worst, within

GRADIENT_SCALE = 2.0**30
"""Times the gradient. A power of two changes no direction, but lifts small gradients far over 1e-12."""


class Apgd(Threat, Protocol):
    """What the attack is; norm and eps as in Threat.

    steps: gradient steps of a run; the step begins at 2 eps and is halved as the loss demands.
    restarts: runs, each from a random point on the ball's surface (l2) or its hull (linf).
    rho: a step is halved where fewer than this share of the steps since the last look raised the loss.
    """

    @property
    def steps(self) -> int: ...

    @property
    def restarts(self) -> int: ...

    @property
    def rho(self) -> float: ...


def perturb_apgd(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Apgd, *, generator_seed: int | None = None
) -> Tensor:
    """Adversarial examples of images: N x C x H x W float32 pixels in [0, 1], and so is the result.

    The loss is the cross entropy of the true labels (N int64). An image is kept clean where that is its worst case;
    restarts after the first go on with the images that are still predicted right. The result is within eps of the
    images exactly. The model is used in the mode it is in and left as it was, without weight gradients.

    generator_seed: of the random starts; torch's global generators stay untouched. Without it they are used.

    Raises:
        FloatingPointError: where the loss's gradient is not finite.
    """
    images = images.detach().contiguous()
    if attack.eps == 0:
        return images.clone()
    cuda = [images.device] if images.is_cuda else []
    own_generator = nullcontext() if generator_seed is None else torch.random.fork_rng(devices=cuda)
    with own_generator, frozen(model), torch.enable_grad():
        if generator_seed is not None:
            torch.manual_seed(generator_seed)
        worst = Worst(model, images, labels)
        places = torch.arange(len(images), device=images.device)
        for _ in range(attack.restarts):
            for found in _run(model, images[places], labels[places], attack):
                worst.offer(within(found, images[places], attack), places)
            places = (~worst.wrong).nonzero().flatten()
            if not len(places):
                break
        return worst.images


def _run(model: nn.Module, images: Tensor, labels: Tensor, attack: Apgd) -> tuple[Tensor, Tensor]:
    """Of one run, each image's step of highest loss, and its last step that was predicted wrong (or any)."""
    finite: list[Tensor] = []

    def scaled(gradient: Tensor) -> Tensor:
        finite.append(gradient.isfinite().all())
        return gradient * GRADIENT_SCALE

    def predict(x: Tensor) -> Tensor:
        x.register_hook(scaled)
        return model(x).double()

    norm = {"linf": "Linf", "l2": "L2"}[attack.norm]
    run = APGDAttack(predict, n_iter=attack.steps, norm=norm, eps=float(attack.eps), loss="ce", rho=attack.rho)
    run.init_hyperparam(images)
    highest, _, _, wrong = run.attack_single_run(images, labels)
    for step, well in enumerate(finite):
        if not well:
            raise FloatingPointError(f"the loss's gradient is not finite in step {step + 1} of the attack")
    return highest.detach(), wrong.detach()
