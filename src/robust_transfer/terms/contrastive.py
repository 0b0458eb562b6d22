"""Contrastive pre-training without labels: SimCLR (Chen et al. 2020)."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from robust_transfer.specs.fields import Count, NonNegative, Number, Positive
from robust_transfer.specs.terms import Term

if TYPE_CHECKING:
    from torch import Tensor

    from robust_transfer.models.classifier import Classifier
    from robust_transfer.models.heads import MlpHead
    from robust_transfer.recipes import Recipe
    from robust_transfer.training.objective import Objective, Step


class Contrastive(Term):
    """Learning features without labels from two views of each image (SimCLR, Chen et al. 2020); takes the place of the
    cross entropy. The projection head is thrown away afterwards.
    """

    slug_part = "+simclr"
    replaces_cross_entropy = True
    has_accuracy = False

    temperature: Positive
    """Temperature of the loss."""
    size: Count = 128
    """Width of the projections."""
    batch_norm: bool = False
    """Whether the projection head has batch norm."""
    strength: NonNegative = 1.0
    """Strength of the colour distortion."""
    smallest_crop: Annotated[Number, Field(gt=0, le=1)] = 0.08
    """Least share of an image that a view shows."""

    @property
    def two_crops(self) -> float:
        return self.smallest_crop

    @property
    def over_images(self) -> Literal["together"]:
        return "together"

    @property
    def shown(self) -> int:
        return 2

    def mistakes(self, recipe: "Recipe") -> Iterator[str]:
        if recipe.inputs.attack or recipe.inputs.noise:
            yield "it makes its own views; set no attack, noise or consistency"
        if recipe.schedule.select != "last":
            yield "there is no accuracy to select by; set schedule.select: last"
        if recipe.schedule.decay == "plateau":
            yield "there is no accuracy that could stop growing; set another schedule.decay than plateau"

    def equip(self, network: "Classifier") -> None:
        network.head = projection_head(network.width, self.size, self.batch_norm)

    def strip(self, network: "Classifier", classes: int) -> None:
        network.renew_head(classes)

    def begin(self, training: "Objective") -> Callable[["Step"], "Tensor"]:
        import torch

        from robust_transfer.data.views import two_views

        flip = training.recipe.schedule.flip

        def term(step: "Step") -> "Tensor":
            images = step.images if step.crops is None else step.crops
            views = two_views(images, self.strength, self.smallest_crop, flip)
            # In one pass, as the authors do: batch norm sees all views at once.
            one, other = training.network(torch.cat(views)).chunk(2)
            return nt_xent(training.rows(one), training.rows(other), self.temperature)

        return term


def nt_xent(first: "Tensor", second: "Tensor", temperature: float) -> "Tensor":
    """Normalised temperature-scaled cross entropy (Chen et al. 2020, Eq. 1 and algorithm 1): a scalar.

    first, second: N x size projections of two views of the same N images, row by row. Each of the 2 N views has to
    find its partner, by cosine similarity / temperature, among the 2 N - 1 others.
    """
    import torch
    import torch.nn.functional as F

    views = F.normalize(torch.cat([first, second]))
    similarity = views @ views.T / temperature
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), partner)


def projection_head(width: int, size: int = 128, batch_norm: bool = False) -> "MlpHead":
    """What stands on the features in pre-training and is thrown away after it: N x width -> N x size.

    One hidden layer as wide as the features, and ReLU (Chen et al. 2020, section 2.1). batch_norm: before the ReLU, as
    in their code.
    """
    from robust_transfer.models.heads import MlpHead

    return MlpHead(width, size, hidden=[width], batch_norm=batch_norm)
