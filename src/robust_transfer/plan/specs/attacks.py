"""Attacks: a threat model and the algorithm that works within it."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from robust_transfer.plan.specs.fields import Count, NonNegative, Number, Positive, Spec, WholeNumber, number


class Attack(Spec):
    """A threat model (norm and budget) and the algorithm that works within it.

    eps: radius of the ball around the image, in pixels of [0, 1]; may be written 8/255.
    labels: whose label the loss is raised for: the true one, or the model's own prediction, which guards training
        against label leaking (Kurakin et al. 2017).
    """

    label: str = Field("", exclude=True)
    norm: Literal["linf", "l2"] = "linf"
    eps: NonNegative
    labels: Literal["true", "predicted"] = "true"

    @field_validator("eps")
    @classmethod
    def _eps_in_pixels(cls, eps: float, others: ValidationInfo) -> float:
        if others.data.get("norm") == "linf" and eps > 1:
            raise ValueError(f"{eps:g} is over 1; pixels go from 0 to 1, so write 8/255 and not 8")
        return eps


class Fgsm(Attack):
    """One step of full length along the sign of the gradient (Goodfellow et al. 2015)."""

    algorithm: Literal["fgsm"]

    # The same questions can be asked of every attack.
    steps: int = Field(1, exclude=True, ge=1, le=1)
    restarts: int = Field(1, exclude=True, ge=1, le=1)
    random_start: Literal[False] = Field(False, exclude=True)

    @property
    def step_size(self) -> float:
        return self.eps

    @property
    def slug(self) -> str:
        return f"fgsm-{self.norm}-{self.eps:.4g}"


class Stepped(Attack):
    """An attack of steps whose length may be given in parts of the budget: `eps/4`."""

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


class Pgd(Stepped):
    """Projected gradient steps (Madry et al. 2018).

    step_size: in pixels, or in parts of the budget: `eps/4`.
    restarts: runs whose per-image worst is kept; more than one only makes sense with a random start.
    loss: that is raised: cross entropy, or the margin max_j z_j - z_y over other classes j (Carlini & Wagner 2017).
    """

    algorithm: Literal["pgd"]
    steps: Count
    step_size: NonNegative
    random_start: bool
    restarts: Count = 1
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"

    @model_validator(mode="after")
    def _restarts_differ(self):
        if self.restarts > 1 and not self.random_start:
            raise ValueError("restarts: without random_start every restart is the same; set random_start: true")
        return self

    @property
    def slug(self) -> str:
        return f"{'cw' if self.loss == 'margin' else 'pgd'}{self.steps}-{self.norm}-{self.eps:.4g}"


class Apgd(Attack):
    """Auto-PGD on the cross entropy (Croce & Hein 2020), which sets its step size itself.

    restarts: runs from random starts, each for the images that the former left right.
    rho: the step is halved where fewer than this share of the steps since the last look raised the loss.
    """

    algorithm: Literal["apgd"]
    steps: Count
    restarts: Count = 1
    rho: Annotated[Number, Field(gt=0, lt=1)] = 0.75

    @model_validator(mode="after")
    def _only_what_it_can(self):
        if self.labels != "true":
            raise ValueError("labels: auto-PGD raises the loss of the true labels; leave the key out")
        return self

    @property
    def slug(self) -> str:
        return f"apgd{self.steps}-{self.norm}-{self.eps:.4g}"


class FeatureAttack(Stepped):
    """Projected gradient steps that drive one penultimate feature up and the others to zero (Rezaei & Liu 2020;
    Chin et al. 2020, Eq. 4). Needs a feature extractor and no labels.

    eps and step_size: in pixels, or, with space: normalised, in units of the network's own input after its
        normalisation.
    mean, std: with space: normalised, that normalisation (a number, or one a channel); the plan fills them in.
    clip: with space: normalised, the bounds -clip and +clip that the network's input is cut to, whatever the budget.
    neuron, value: the feature that is driven up, and how far (the target vector is `value` there, 0 elsewhere).
    loss: distance is the squared distance to the target vector; mean_rest squares the one feature's distance and adds a
        tenth of the mean square of the others.
    """

    algorithm: Literal["feature"]
    steps: Count
    step_size: NonNegative
    random_start: bool = True
    space: Literal["pixels", "normalised"] = "pixels"
    mean: Number | list[Number] = 0.0
    std: Positive | list[Positive] = 1.0
    clip: Positive | None = None
    neuron: WholeNumber = 0
    value: Positive = 1000.0
    loss: Literal["distance", "mean_rest"] = "distance"
    restarts: int = Field(1, exclude=True, ge=1, le=1)

    @model_validator(mode="after")
    def _only_what_it_can(self):
        if self.norm != "linf":
            raise ValueError("norm: the feature attack knows linf only")
        if self.labels != "true":
            raise ValueError("labels: the feature attack looks at none; leave the key out")
        if self.clip and self.space == "pixels":
            raise ValueError("clip: pixels are cut to [0, 1]; a clip is for space: normalised")
        return self

    @property
    def slug(self) -> str:
        return f"feature{self.steps}-{self.norm}-{self.eps:.4g}{'n' * (self.space == 'normalised')}"


class Free(Stepped):
    """Adversarial training "for free" (Shafahi et al. 2019): one backward pass gives the weights' gradient and the
    images'. The perturbation stays from iteration to iteration, and each batch is shown `replay` times.

    step_size: in pixels, or in parts of the budget: `eps/4`; eps unless given.
    """

    algorithm: Literal["free"]
    replay: Count
    step_size: NonNegative | None = None

    @model_validator(mode="after")
    def _only_what_it_can(self):
        if self.norm != "linf" or self.labels != "true":
            raise ValueError("norm: free adversarial training knows linf and true labels only")
        return self

    @property
    def slug(self) -> str:
        return f"free{self.replay}-{self.norm}-{self.eps:.4g}"


AnyAttack = Annotated[Fgsm | Pgd | Apgd | FeatureAttack, Field(discriminator="algorithm")]
TrainingAttack = Annotated[Fgsm | Pgd | Free, Field(discriminator="algorithm")]
"""Attacks that raise a classification loss, as adversarial training does."""
