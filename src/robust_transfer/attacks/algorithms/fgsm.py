"""The fast gradient sign method."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from robust_transfer.specs.attacks import Attack

if TYPE_CHECKING:
    from torch import Tensor, nn


class Fgsm(Attack):
    """One step of full length along the sign of the cross entropy's gradient (Goodfellow et al. 2015, section 4); under
    l2 along the gradient itself.
    """

    trains: ClassVar[bool] = True

    algorithm: Literal["fgsm"]

    # The same questions can be asked of every attack.
    steps: int = Field(1, exclude=True, ge=1, le=1)
    """Always 1."""
    restarts: int = Field(1, exclude=True, ge=1, le=1)
    """Always 1."""
    random_start: Literal[False] = Field(False, exclude=True)
    """Always false."""

    @property
    def step_size(self) -> float:
        return self.eps

    @property
    def slug(self) -> str:
        return f"fgsm-{self.norm}-{self.eps:.4g}"

    def perturb(
        self, model: "nn.Module", images: "Tensor", labels: "Tensor | None", *, seed: int | None = None
    ) -> "Tensor":
        from robust_transfer.attacks.advertorch_compat import GradientAttack, GradientSignAttack
        from robust_transfer.attacks.losses import log_odds
        from robust_transfer.attacks.perturb import raise_loss

        one_step = {"linf": GradientSignAttack, "l2": GradientAttack}[self.norm]

        def run(predict, images, labels):
            attacker = one_step(predict, loss_fn=lambda z, y: log_odds(z, y).sum(), eps=float(self.eps))
            return attacker.perturb(images, labels)

        return raise_loss(self, run, model, images, labels, seed)
