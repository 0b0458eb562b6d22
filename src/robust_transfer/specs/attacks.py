"""Attacks: a threat model and the algorithm that works within it."""

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from robust_transfer.specs.fields import NonNegative, Spec, number
from robust_transfer.specs.passes import PerImage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robust_transfer.models.classifier import Classifier

FARTHEST = 32
"""The largest l2 budget, a 32 x 32 image's way from black to white; papers' are at most 10."""


class Attack(Spec):
    """A threat model (norm and budget) and the algorithm that works within it."""

    evaluates: ClassVar[bool] = True
    """Whether it can craft examples that a model is evaluated on."""
    trains: ClassVar[bool] = False
    """Whether adversarial training can use it: it raises a classification loss."""

    if TYPE_CHECKING:
        algorithm: str  # the tag that tells the forms apart, a literal in each

    label: str = Field("", exclude=True)
    """A name for readers of the config; it enters no id."""
    norm: Literal["linf", "l2"] = "linf"
    """How a perturbation is measured: by its largest change of a pixel's channel, or by its Euclidean length."""
    eps: NonNegative
    """Radius of the ball around the image, in pixels of [0, 1]; may be written 8/255."""
    labels: Literal["true", "predicted"] = "true"
    """Whose label the loss is raised for: the true one, or the model's own prediction, which guards training against
    label leaking (Kurakin et al. 2017).
    """

    @field_validator("eps")
    @classmethod
    def _eps_in_pixels(cls, eps: float, others: ValidationInfo) -> float:
        norm = others.data.get("norm")
        if norm == "linf" and eps > 1:
            raise ValueError(f"{eps:g} is over 1; pixels go from 0 to 1, so write 8/255 and not 8")
        if norm == "l2" and eps > FARTHEST:
            raise ValueError(f"{eps:g} is over {FARTHEST}; pixels go from 0 to 1, so write 128/255 and not 128")
        return eps

    @property
    def slug(self) -> str:
        """A short readable name, a function of the spec alone: `pgd20-linf-0.25`."""
        raise NotImplementedError

    @property
    def fewest_classes(self) -> int:
        """How many classes there must be at least."""
        return 2

    def unfit_size(self, height: int, width: int) -> str | None:
        """Why it cannot attack images of so many pixels, with a remedy; None where it can."""
        return None

    def warnings(self) -> Iterator[str]:
        yield from super().warnings()
        if self.eps == 0:
            yield f"{self.slug}: an eps of 0 leaves images as they are"
        elif self.norm == "linf" and self.eps >= 0.5:
            yield f"{self.slug}: an eps of 0.5 or more makes any image grey, and no network is robust to that"

    def members(self) -> "list[Attack]":
        """The attacks of which this one is the worst case, each for the images that the former left right; none where
        it is one attack.
        """
        return []

    def passes(self, classes: int) -> PerImage:
        """What it costs an image at most, of a set of so many classes: by default a pass forward and back each step of
        each run, and a look at every run's outcome where there are several.
        """
        steps, runs = getattr(self, "steps", 1), getattr(self, "restarts", 1)
        looks = runs * (runs > 1) + (self.labels == "predicted")
        return PerImage(steps * runs + looks, steps * runs)

    def view(self, model: "Classifier") -> "nn.Module":
        """What of a classifier is attacked: by default the classifier itself."""
        return model

    def interval(self, clean: "Tensor") -> "tuple[Tensor, Tensor] | None":
        """The lowest and highest units (int32, see budget.py) that each pixel of clean images (uint8) may have; none
        where the budget is the ball of eps in pixels.
        """
        return None

    def perturb(
        self, model: "nn.Module", images: "Tensor", labels: "Tensor | None", *, seed: int | None = None
    ) -> "Tensor":
        """Adversarial examples of images: N x C x H x W float32 pixels in [0, 1], and so is the result, within eps.

        model: what view gave: pixels -> logits, in evaluation mode; it is left as it was, without weight gradients.
        labels: N int64; none will do where the attack looks at none. seed: of what is drawn at random; torch's global
        generators stay untouched. Without it they are used.

        Raises:
            FloatingPointError: where a gradient or a logit is not finite.
        """
        raise NotImplementedError


class OnTrueLabels(Attack):
    """An attack that goes by the true labels alone."""

    @model_validator(mode="after")
    def _true_labels(self):
        if self.labels != "true":
            raise ValueError("labels: this attack goes by the true labels; leave the key out")
        return self


class Stepped(Attack):
    """An attack of steps whose length may be given in parts of the budget: `eps/4`."""

    if TYPE_CHECKING:
        step_size: float | None

    @model_validator(mode="before")
    @classmethod
    def _step_in_parts_of_eps(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("step_size"), str) and "eps" in values["step_size"]:
            match = re.fullmatch(r"\s*eps\s*/\s*([0-9]+\.?[0-9]*)\s*", values["step_size"])
            if not match or float(match[1]) <= 0:
                raise ValueError(f"step_size: {values['step_size']!r} is neither a number nor like eps/4")
            try:
                eps = float(number(values.get("eps")))
            except (TypeError, ValueError):
                eps = -1.0
            # A wrong eps is complained of under its own name alone.
            return values | {"step_size": eps / float(match[1]) if 0 <= eps < math.inf else 0.0}
        return values

    def warnings(self) -> Iterator[str]:
        yield from super().warnings()
        if self.step_size and self.step_size > self.eps > 0 and getattr(self, "steps", 1) > 1:
            yield (
                f"{self.slug}: steps of {self.step_size:.4g} are longer than eps {self.eps:.4g}, so they jump from "
                "border to border and may miss what shorter ones find"
            )

    @model_validator(mode="after")
    def _steps_reach_eps(self):
        """A step is neither 0 nor longer than the ball is wide, and all together reach its border from the centre: a
        random start may be nearer, but an image whose worst case is on the other side needs the steps.

        An eps of 0, which leaves images clean, goes with any steps. Where `steps` is no field, steps go on from batch
        to batch. A step size of none is one that reaches.
        """
        step, steps = self.step_size, getattr(self, "steps", None)
        if step is None or self.eps == 0:
            return self
        if step == 0:
            raise ValueError("step_size: steps of 0 change nothing; write one like eps/4")
        if step > 2 * self.eps or (self.norm == "linf" and step > 1):
            raise ValueError(
                f"step_size: a step of {step:g} is longer than the ball of eps {self.eps:g} is wide; pixels go from 0 "
                "to 1, so write 2/255 and not 2, or one like eps/4"
            )
        if steps and steps * step < 0.99 * self.eps:  # 8/255 may be printed as 0.0314, and 2/255 as 0.0078
            raise ValueError(
                f"step_size: {steps} steps of {step:g} go {steps * step:g} far and never reach eps {self.eps:g}; raise "
                f"step_size to eps/{steps} or more, or steps to {math.ceil(self.eps / step)}"
            )
        return self
