"""AutoAttack."""

from typing import TYPE_CHECKING, Literal

from robust_transfer.attacks.algorithms.apgd import Apgd
from robust_transfer.attacks.algorithms.fab import FabT
from robust_transfer.attacks.algorithms.square import Square
from robust_transfer.specs.attacks import Attack, OnTrueLabels
from robust_transfer.specs.passes import PerImage

if TYPE_CHECKING:
    from torch import Tensor, nn


class AutoAttack(OnTrueLabels):
    """Four attacks, each for the images that the former left right (Croce & Hein 2020, section 6), with all of their
    parameters set.
    """

    algorithm: Literal["autoattack"]
    version: Literal["standard"] = "standard"
    """Which four: auto-PGD on the cross entropy and on the targeted DLR loss, targeted FAB, and Square."""

    @property
    def fewest_classes(self) -> int:
        return max(member.fewest_classes for member in self.members())

    @property
    def slug(self) -> str:
        return f"autoattack-{self.norm}-{self.eps:.4g}"

    def passes(self, classes: int) -> PerImage:
        each = [member.passes(classes) for member in self.members()]
        return PerImage(sum(one.forward + 1 for one in each), sum(one.back for one in each))

    def members(self) -> list[Attack]:
        threat = {"norm": self.norm, "eps": self.eps}
        return [
            Apgd(algorithm="apgd", steps=100, **threat),
            Apgd(algorithm="apgd", steps=100, loss="dlr_targeted", **threat),
            FabT(algorithm="fab-t", steps=100, **threat),
            Square(algorithm="square", queries=5000, **threat),
        ]

    def perturb(
        self, model: "nn.Module", images: "Tensor", labels: "Tensor | None", *, seed: int | None = None
    ) -> "Tensor":
        from robust_transfer.attacks.perturb import until_wrong

        def run_of(member):
            return lambda model, images, labels: (member.perturb(model, images, labels, seed=seed),)

        runs = [run_of(member) for member in self.members()]
        return until_wrong(self, runs, model, images, labels, seed, also_wrong=True)
