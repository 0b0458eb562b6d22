"""Contrastive pre-training without labels: SimCLR (Chen et al. 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from robust_transfer.models.heads import MlpHead


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy (Chen et al. 2020, Eq. 1 and algorithm 1): a scalar.

    first, second: N x size projections of two views of the same N images, row by row. Each of the 2 N views has to
    find its partner, by cosine similarity / temperature, among the 2 N - 1 others.
    """
    views = F.normalize(torch.cat([first, second]))
    similarity = views @ views.T / temperature
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), partner)


def projection_head(width: int, size: int = 128, batch_norm: bool = False) -> MlpHead:
    """What stands on the features in pre-training and is thrown away after it: N x width -> N x size.

    One hidden layer as wide as the features, and ReLU (Chen et al. 2020, section 2.1). batch_norm: before the ReLU, as
    in their code.
    """
    return MlpHead(width, size, hidden=[width], batch_norm=batch_norm)
