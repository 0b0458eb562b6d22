"""Label smoothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robust_transfer.specs.fields import Number
from robust_transfer.specs.terms import Term

if TYPE_CHECKING:
    from torch import Tensor

    from robust_transfer.training.objective import Objective, Shown


class LabelSmoothing(Term):
    """Cross entropy with a smoothed target (Szegedy et al. 2016, section 7), in place of the plain one."""

    slug_part = "+smooth"
    function_of = "batch"
    replaces_cross_entropy = True

    epsilon: Annotated[Number, Field(gt=0, lt=1)]
    """Each of K classes has epsilon / K of the target, and the label 1 - epsilon more."""

    def begin(self, training: "Objective") -> Callable[["Shown"], "Tensor"]:
        import torch.nn.functional as F

        return lambda batch: F.cross_entropy(batch.observed.logits, batch.labels, label_smoothing=self.epsilon)
