"""Free adversarial training."""

from typing import ClassVar, Literal

from pydantic import model_validator

from robust_transfer.specs.attacks import Stepped
from robust_transfer.specs.fields import Count, NonNegative
from robust_transfer.specs.passes import PerImage


class Free(Stepped):
    """Adversarial training "for free" (Shafahi et al. 2019): one backward pass gives the weights' gradient and the
    images'. The perturbation stays from iteration to iteration.
    """

    evaluates: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    algorithm: Literal["free"]
    replay: Count
    """How often each batch is shown."""
    step_size: NonNegative | None = None
    """Length of a step, in pixels, or in parts of the budget: eps/4; eps unless given."""

    @model_validator(mode="after")
    def _only_what_it_can(self):
        if self.norm != "linf" or self.labels != "true":
            raise ValueError("norm: free adversarial training knows linf and true labels only")
        return self

    def passes(self, classes: int) -> PerImage:
        """None of its own: the way back to the weights gives the images' gradients, too."""
        return PerImage(0, 0)

    @property
    def slug(self) -> str:
        return f"free{self.replay}-{self.norm}-{self.eps:.4g}"
