"""The shape that every network here has, and the parts that transfer learning freezes or trains."""

import torch
from torch import Tensor, nn

from robust_transfer.plan.specs import Trainable


class Classifier(nn.Module):
    """Images in [0, 1] -> normalise -> stem -> stages of blocks -> tail -> features -> head -> logits.

    stages: nn.ModuleList of nn.Sequential of blocks; a block is the smallest part that trains or freezes as one.
    tail: what stands between the last block and the pooled features (nothing, or a last batch norm and ReLU).
    width: length of the feature vector.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: nn.ModuleList,
        tail: nn.Module,
        width: int,
        classes: int,
        mean: float,
        std: float,
    ):
        super().__init__()
        self.mean, self.std = mean, std
        self.stem, self.stages, self.tail = stem, stages, tail
        self.width = width
        self.head = nn.Linear(width, classes)

    def features(self, images: Tensor) -> Tensor:
        """N x C x H x W pixels in [0, 1] -> N x width penultimate features."""
        x = self.stem((images - self.mean) / self.std)
        for stage in self.stages:
            x = stage(x)
        return self.tail(x).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """N x C x H x W pixels in [0, 1] -> N x classes logits."""
        return self.head(self.features(images))

    def blocks(self) -> list[nn.Module]:
        """All blocks, first to last."""
        return [block for stage in self.stages for block in stage]

    def renew_head(self, classes: int) -> None:
        """A new linear head with PyTorch's default initialisation (drawn from torch's global generator)."""
        self.head = nn.Linear(self.width, classes)

    def trained_parts(self, trainable: Trainable) -> list[nn.Module]:
        """The modules that a recipe trains: all, the head, or the last stages or blocks with tail and head.

        Raises:
            ValueError: where the network has fewer stages or blocks than that.
        """
        if trainable == "all":
            return [self]
        if trainable == "head":
            return [self.head]
        parts = list(self.stages) if trainable.of == "stages" else self.blocks()
        if trainable.last > len(parts):
            raise ValueError(f"the last {trainable.last} {trainable.of} are wanted, but the network has {len(parts)}")
        return [*parts[-trainable.last :], self.tail, self.head]


def freeze_but(network: Classifier, trainable: Trainable) -> list[nn.Module]:
    """Let only the trained parts receive gradients; returns the frozen modules that hold parameters or statistics.

    Works module by module, so that batch norms of the frozen part can be told from those of the trained part.
    """
    trained = {module for part in network.trained_parts(trainable) for module in part.modules()}
    frozen = [module for module in network.modules() if module not in trained]
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(module in trained)
    return [
        m
        for m in frozen
        if any(True for _ in m.parameters(recurse=False)) or any(True for _ in m.buffers(recurse=False))
    ]


def training_mode(network: nn.Module, frozen: list[nn.Module], statistics: str) -> None:
    """Training mode; under "hold", frozen batch norms stay in evaluation mode and keep their running statistics."""
    network.train()
    if statistics == "hold":
        for module in frozen:
            module.eval()


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, batch_size: int = 512) -> Tensor:
    """N x C x H x W uint8 or float pixels -> N x classes logits, in evaluation mode, batch by batch."""
    was_training = network.training
    network.eval()
    logits = [network(to_pixels(batch)) for batch in images.split(batch_size)]
    network.train(was_training)
    return torch.cat(logits)


def to_pixels(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [0, 1]; floats pass as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images
