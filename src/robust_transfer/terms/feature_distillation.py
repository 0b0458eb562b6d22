"""Feature distillation: DELTA without attention."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from robust_transfer.errors import UserError
from robust_transfer.specs.fields import Positive
from robust_transfer.specs.terms import Term

if TYPE_CHECKING:
    from torch import Tensor

    from robust_transfer.training.objective import Objective, Shown


class FeatureDistillation(Term):
    """The squared distance between the stages' outputs and those of the teacher, in the mean over elements and images
    (DELTA without attention, Li et al. 2019; Chin et al. 2020, Eq. 3).
    """

    slug_part = "+distil"
    function_of = "batch"
    needs = "teacher"

    weight: Positive
    """lambda."""

    def begin(self, training: "Objective") -> Callable[["Shown"], "Tensor"]:
        import torch

        teacher = training.teacher
        if teacher is None:
            raise UserError("terms.feature_distillation: the run has no teacher; give it one, or leave the term out")

        def term(batch: "Shown") -> "Tensor":
            with torch.no_grad():
                target = teacher.observe(batch.images).stages
            return self.weight * stage_distance(batch.observed.stages, target)

        return term


def stage_distance(stages: list["Tensor"], target: list["Tensor"]) -> "Tensor":
    """Sum over the stages of the mean squared difference (over images and elements) of two networks' stage outputs.

    stages, target: for each stage N x C x H x W. Chin et al. 2020, Eq. 3, with n_l elements a stage.

    Raises:
        ValueError: where the networks differ in their stages.
    """
    import torch
    import torch.nn.functional as F

    shapes = [tuple(stage.shape) for stage in stages], [tuple(stage.shape) for stage in target]
    if shapes[0] != shapes[1]:
        raise ValueError(f"the stages' outputs have shapes {shapes[0]}, the teacher's {shapes[1]}")
    distances = (F.mse_loss(stage, other) for stage, other in zip(stages, target, strict=True))
    return sum(distances, start=torch.zeros(()))
