"""Stochastic weight averaging (Izmailov et al. 2018), and batch norm's statistics for the averaged weights."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, update_bn

from robust_transfer.errors import UserError
from robust_transfer.models.classifier import Classifier


class Average:
    """The running mean of a network's weights.

    taken: how many times the weights went into it.
    """

    def __init__(self, network: Classifier):
        self.model = AveragedModel(network)

    @property
    def taken(self) -> int:
        """Snapshots so far."""
        return int(self.model.n_averaged)

    def take(self, network: Classifier) -> None:
        """Let the weights as they are now count once."""
        self.model.update_parameters(network)

    def put(self, network: Classifier) -> None:
        """Give the network the averaged weights.

        Raises:
            UserError: where there are none.
        """
        if not self.taken:
            raise UserError("the training ended before the first average; lower averaging.every or train longer")
        network.load_state_dict(self.model.module.state_dict())

    @staticmethod
    @torch.no_grad()
    def renew_statistics(network: Classifier, images: Iterator[Tensor], dropout: bool) -> None:
        """Batch norm's running statistics as the plain mean over these batches (each N x C x H x W pixels).

        dropout: whether the network's dropout is on meanwhile.
        """
        was = network.dropout
        network.dropout = was if dropout else 0.0
        update_bn(images, network)
        network.dropout = was

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        return self.model.state_dict()

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self.model.load_state_dict(state)
