"""Auto-PGD."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from robust_transfer.errors import UserError
from robust_transfer.specs.attacks import OnTrueLabels
from robust_transfer.specs.fields import Count, Number
from robust_transfer.specs.passes import PerImage

if TYPE_CHECKING:
    from torch import Tensor, nn


class Apgd(OnTrueLabels):
    """Auto-PGD (Croce & Hein 2020, algorithm 1), which sets its step size itself, as its authors published it."""

    algorithm: Literal["apgd"]
    steps: Count
    """Gradient steps of each run."""
    restarts: Count = 1
    """Runs from random starts, each for the images that the former left right."""
    rho: Annotated[Number, Field(gt=0, lt=1)] = 0.75
    """The step is halved where fewer than this share of the steps since the last look raised the loss."""
    loss: Literal["cross_entropy", "dlr", "dlr_targeted"] = "cross_entropy"
    """What is raised: the cross entropy, or the difference of logits ratio, which does not change with the logits'
    scale (Eq. 6, at least 3 classes), or that towards one target class after the other (Eq. 7, at least 4).
    """
    targets: Count = 9
    """With dlr_targeted: how many of the likeliest other classes are tried, each with all restarts; all where there are
    fewer.
    """

    @property
    def fewest_classes(self) -> int:
        return {"cross_entropy": 2, "dlr": 3, "dlr_targeted": 4}[self.loss]

    @property
    def slug(self) -> str:
        loss = {"cross_entropy": "", "dlr": "dlr", "dlr_targeted": "t"}[self.loss]
        return f"apgd{loss}{self.steps}-{self.norm}-{self.eps:.4g}"

    def passes(self, classes: int) -> PerImage:
        """Each run looks at where it starts, and in the end at the step of highest loss and the last that was wrong."""
        runs = self.restarts * (min(self.targets, classes - 1) if self.loss == "dlr_targeted" else 1)
        return PerImage(1 + runs * (self.steps + 3 + (self.loss != "cross_entropy")), runs * (self.steps + 1))

    def perturb(
        self, model: "nn.Module", images: "Tensor", labels: "Tensor | None", *, seed: int | None = None
    ) -> "Tensor":
        from robust_transfer.attacks.perturb import until_wrong

        ranks = range(2, self.targets + 2) if self.loss == "dlr_targeted" else (None,)
        runs = [partial(self._run, rank=rank) for rank in ranks for _ in range(self.restarts)]
        # Of images that are wrong already, only cross entropy has no bound.
        return until_wrong(self, runs, model, images, labels, seed, also_wrong=self.loss == "cross_entropy")

    def _run(self, model, images, labels, rank):
        """The step of highest loss, and the last that was predicted wrong (or any).

        rank: the target is the class of so high a logit; 2 is the likeliest but one.
        """
        from robust_transfer.attacks.losses import log_odds, over_0
        from robust_transfer.attacks.perturb import finite_gradients
        from robust_transfer.attacks.pyautoattack_compat import LOG, NORMS, APGDAttack_targeted

        with finite_gradients(model) as predict:
            attack = APGDAttack_targeted(
                lambda x: predict(x).double(),
                n_iter=self.steps,
                norm=NORMS[self.norm],
                eps=float(self.eps),
                rho=self.rho,
                logger=LOG,
            )
            attack.loss = "dlr-targeted" if self.loss == "dlr_targeted" else "dlr"
            if self.loss == "cross_entropy":
                attack.dlr_loss = lambda logits, labels: over_0(log_odds(logits, labels))
            attack.init_hyperparam(images)
            if self.loss != "cross_entropy":
                ranked = model(images).argsort(1)
                if (classes := ranked.shape[1]) < self.fewest_classes:
                    raise UserError(f"{self.slug} needs {self.fewest_classes} classes, and there are {classes}")
                if rank and rank > classes:
                    return ()
                attack.y_target = ranked[:, -rank] if rank else None
            highest, _, _, wrong = attack.attack_single_run(images, labels)
        return highest.detach(), wrong.detach()
