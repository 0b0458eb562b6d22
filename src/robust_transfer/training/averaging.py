"""Stochastic weight averaging (Izmailov et al. 2018), and batch norm's statistics for the averaged weights."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from robust_transfer.errors import UserError
from robust_transfer.models.classifier import NORMS, Classifier


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
        """Batch norm's running statistics as the mean over these batches (each N x C x H x W pixels) by their sizes, as
        in the code of Izmailov et al.; torch's update_bn counts a last batch of few images as much as a whole one.

        A last image that is alone, of which batch norm could have no variance, joins the batch before.
        dropout: whether the network's dropout is on meanwhile.
        """
        norms = [module for module in network.modules() if isinstance(module, NORMS)]
        momenta, was, training = [norm.momentum for norm in norms], network.dropout, network.training
        for norm in norms:
            norm.reset_running_stats()
        network.dropout = was if dropout else 0.0
        network.train()
        seen = 0
        for batch in _none_of_one(images):
            seen += len(batch)
            for norm in norms:
                norm.momentum = len(batch) / seen
            network(batch)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.dropout = was
        network.train(training)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        return self.model.state_dict()

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self.model.load_state_dict(state)


def _none_of_one(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """The batches, a last one of a single image joined to the one before."""
    held = next(batches, None)
    for batch in batches:
        if len(batch) == 1 and held is not None and len(held) > 1:
            held = torch.cat([held, batch])
            continue
        if held is not None:
            yield held
        held = batch
    if held is not None:
        yield held
