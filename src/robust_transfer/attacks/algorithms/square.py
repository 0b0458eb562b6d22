"""Square attack."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from robust_transfer.errors import UserError
from robust_transfer.specs.attacks import OnTrueLabels
from robust_transfer.specs.fields import Count, Number
from robust_transfer.specs.passes import PerImage

if TYPE_CHECKING:
    from torch import Tensor, nn


class Square(OnTrueLabels):
    """Random search by squares, which asks for logits and for no gradient (Andriushchenko et al. 2020, algorithms 1 to
    3), as its authors published it. It lowers the margin z_y - max_j z_j over other classes j.
    """

    algorithm: Literal["square"]
    queries: Count
    """How many images are shown to the model for each one that is attacked."""
    p_init: Annotated[Number, Field(gt=0, le=1)] = 0.8
    """Share of the pixels in the first square; it falls at fixed numbers of queries."""

    @property
    def slug(self) -> str:
        return f"square{self.queries}-{self.norm}-{self.eps:.4g}"

    def unfit_size(self, height: int, width: int) -> str | None:
        """The first l2 perturbation is made of tiles, a fifth of the height wide, that must not stick out."""
        tile = height // 5
        begin = (height - 5 * tile) // 2
        fits = tile == 1 or (tile > 1 and all(begin + side // tile * tile <= side for side in (height, width)))
        if fits or self.norm == "linf":
            return None
        return f"the square attack under l2 has no start for images of {height} x {width} pixels; write linf"

    def passes(self, classes: int) -> PerImage:
        """As many as queries, for an image that withstands them all, and a look before and after."""
        return PerImage(self.queries + 2, 0)

    def perturb(
        self, model: "nn.Module", images: "Tensor", labels: "Tensor | None", *, seed: int | None = None
    ) -> "Tensor":
        from robust_transfer.attacks.perturb import until_wrong

        return until_wrong(self, [self._run], model, images, labels, seed)

    def _run(self, model, images, labels):
        from robust_transfer.attacks.pyautoattack_compat import NORMS, SquareAttack

        def predict(x):
            logits = model(x)
            if not logits.isfinite().all():
                raise FloatingPointError("a logit is not finite")
            return logits

        if words := self.unfit_size(*images.shape[2:]):
            raise UserError(words)
        attack = SquareAttack(
            predict, NORMS[self.norm], self.queries, float(self.eps), self.p_init, resc_schedule=False
        )
        attack.init_hyperparam(images)
        _, found = attack.attack_single_run(images, labels)
        return (found,)
