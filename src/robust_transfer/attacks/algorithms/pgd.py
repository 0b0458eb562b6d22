"""Projected gradient descent."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from robust_transfer.specs.attacks import Stepped
from robust_transfer.specs.fields import Count, NonNegative

if TYPE_CHECKING:
    from torch import Tensor, nn


class Pgd(Stepped):
    """Projected gradient steps (Madry et al. 2018, section 2.1)."""

    trains: ClassVar[bool] = True

    algorithm: Literal["pgd"]
    steps: Count
    """Gradient steps of each run."""
    step_size: NonNegative
    """Length of a step, in pixels, or in parts of the budget: eps/4."""
    random_start: bool
    """Whether the steps begin at a random point of the ball."""
    restarts: Count = 1
    """Runs whose per-image worst is kept; more than one only makes sense with a random start."""
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"
    """What is raised: cross entropy, or the margin max_j z_j - z_y over other classes j (Carlini & Wagner 2017)."""

    @model_validator(mode="after")
    def _restarts_differ(self):
        if self.restarts > 1 and not self.random_start:
            raise ValueError("restarts: without random_start every restart is the same; set random_start: true")
        return self

    @property
    def slug(self) -> str:
        return f"{'cw' if self.loss == 'margin' else 'pgd'}{self.steps}-{self.norm}-{self.eps:.4g}"

    def perturb(
        self, model: "nn.Module", images: "Tensor", labels: "Tensor | None", *, seed: int | None = None
    ) -> "Tensor":
        from robust_transfer.attacks.advertorch_compat import L2PGDAttack, LinfPGDAttack
        from robust_transfer.attacks.losses import log_odds, margin
        from robust_transfer.attacks.perturb import raise_loss

        many_steps = {"linf": LinfPGDAttack, "l2": L2PGDAttack}[self.norm]
        loss = {"cross_entropy": log_odds, "margin": margin}[self.loss]

        def run(predict, images, labels):
            return many_steps(
                predict,
                loss_fn=lambda z, y: loss(z, y).sum(),
                eps=float(self.eps),
                nb_iter=self.steps,
                eps_iter=float(self.step_size),
                rand_init=self.random_start,
            ).perturb(images, labels)

        return raise_loss(self, run, model, images, labels, seed, self.restarts)
