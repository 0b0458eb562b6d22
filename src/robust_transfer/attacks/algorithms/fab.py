"""The fast adaptive boundary attack."""

from functools import partial
from typing import TYPE_CHECKING, Literal

from robust_transfer.specs.attacks import OnTrueLabels
from robust_transfer.specs.fields import Count
from robust_transfer.specs.passes import PerImage

if TYPE_CHECKING:
    from torch import Tensor, nn


class FabT(OnTrueLabels):
    """Looks for the nearest image on the other side of a linearised decision boundary, towards one target class after
    the other (Croce & Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack",
    algorithm 1), from the clean image on: nothing is drawn at random. As its authors published it.
    """

    algorithm: Literal["fab-t"]
    steps: Count
    """Steps towards each target class."""
    targets: Count = 9
    """How many of the likeliest other classes are tried, each for the images that the former left right; all where
    there are fewer.
    """

    @property
    def slug(self) -> str:
        return f"fabt{self.steps}-{self.norm}-{self.eps:.4g}"

    def passes(self, classes: int) -> PerImage:
        """A step towards a class linearises the boundary and looks whether it is crossed; each class ends with a search
        along the last step (3 passes) and a look at the outcome.
        """
        runs = min(self.targets, classes - 1)
        return PerImage(1 + runs * (2 * self.steps + 5), runs * self.steps)

    def perturb(
        self, model: "nn.Module", images: "Tensor", labels: "Tensor | None", *, seed: int | None = None
    ) -> "Tensor":
        from robust_transfer.attacks.perturb import until_wrong

        runs = [partial(self._run, rank=rank) for rank in range(2, self.targets + 2)]
        return until_wrong(self, runs, model, images, labels, seed)

    def _run(self, model, images, labels, rank):
        from robust_transfer.attacks.perturb import finite_gradients
        from robust_transfer.attacks.pyautoattack_compat import NORMS, Fab

        if rank > model(images[:1]).shape[1]:
            return ()
        with finite_gradients(model, even=False) as predict:
            attack = Fab(predict, NORMS[self.norm], n_iter=self.steps, eps=float(self.eps), targeted=True)
            attack.target_class = rank
            return (attack.attack_single_run(images, labels, is_targeted=True),)
