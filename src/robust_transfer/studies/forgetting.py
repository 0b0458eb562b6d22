"""Learning without forgetting as Shafahi et al. 2020 use it (Eq. 3), one method for every study that has it."""

from typing import Any, Literal

from robust_transfer.plan.specs import Schedule, Similarity, Spec, Terms, TrainedStatistics
from robust_transfer.studies.base import Data, Model, Study


class Forgetting(Spec):
    """Learning without forgetting; workflow/recipes/lwf.yaml has what holds for every study."""

    norm: Literal["l1", "l2"]
    """Norm of the features' difference."""
    affine: Literal["train", "freeze"]
    """Whether batch norms' scale and shift train."""
    trained_statistics: TrainedStatistics
    """Whether batch norm's running statistics stay, or are updated with the new data."""
    schedule: Schedule
    """How long and how fast, with nothing augmented: the source's features are those of the images as they are."""


def transferred(
    study: Study, method: Forgetting, data: Data, start: Model, weight: float | None, **parts: Any
) -> Model:
    """The whole of a robust network, trained on natural images with its features kept near what they were.

    weight: lambda_d. parts: as in Study.transferred.
    """
    return study.transferred(
        data,
        start,
        method.schedule,
        keeps_features=True,
        affine=method.affine,
        trained_statistics=method.trained_statistics,
        terms=Terms(similarity=Similarity(weight=weight, norm=method.norm)),
        **parts,
    )
