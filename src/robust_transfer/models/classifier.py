"""The shape that every network here has, and the parts that transfer learning freezes, trains or starts anew."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robust_transfer.errors import UserError
from robust_transfer.models.heads import HeadWeights, new_head
from robust_transfer.precision import as_float, autocast, exactly
from robust_transfer.specs.parts import Trainable

VALUES_AT_ONCE = 10_000_000
"""Values of pixels, of all channels, that pass together; see images_at_once."""


@dataclass(frozen=True)
class Observed:
    """What one forward pass showed.

    stages: each stage's output before its own dropout, N x C x H x W, or N x tokens x C from a transformer.
    features: N x width. logits: N x classes.
    unit_input: what went into the unit that was asked for.
    """

    stages: list[Tensor]
    features: Tensor
    logits: Tensor
    unit_input: Tensor | None = None


class Classifier(nn.Module):
    """Images in [0, 1] -> normalise -> stem -> stages of blocks -> tail -> features -> head -> logits.

    normalise: a module without weights.
    stages: nn.ModuleList of nn.Sequential of blocks; a block is the smallest part that trains or freezes as one. A
        family that runs its network in another way overrides `features`, and its stages only name parts.
    tail: what stands between the last block and the pooled features (nothing, or a last batch norm and ReLU).
    width: length of the feature vector.
    initialise: the family's own initialisation of one layer on top of PyTorch's default.
    dropout: share of the channels dropped after every stage in training mode (spatial dropout, Tompson et al. 2015; in
        Chin et al. 2020); 0 unless set.
    averaged_units: among how many last units the residual blocks average; spectral.average_residuals sets it.
    """

    def __init__(
        self,
        normalise: nn.Module,
        stem: nn.Module,
        stages: nn.ModuleList | list[Any],
        tail: nn.Module,
        width: int,
        classes: int,
        initialise: Callable[[nn.Module], None],
    ):
        super().__init__()
        self.normalise = normalise
        self.stem, self.stages, self.tail = stem, stages, tail
        self.width = width
        self.head = new_head(width, classes)
        self.dropout = 0.0
        self.averaged_units = 0
        self.initialise = initialise
        for module in self.modules():
            initialise(module)

    def features(self, images: Tensor) -> Tensor:
        """N x C x H x W pixels in [0, 1] -> N x width penultimate features."""
        x = self.stem(self.normalise(images))
        for stage in self.stages:
            x = self._dropped(stage(x))
        return self.tail(x).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """N x C x H x W pixels in [0, 1] -> N x classes logits, float32 in any precision."""
        with autocast(images):
            logits = self.head(self.features(images))
        return as_float(logits)

    def observe(self, images: Tensor, unit: int | None = None) -> Observed:
        """One forward pass of N x C x H x W pixels in [0, 1], and what it shows on its way.

        unit: whose input is wanted as well, counted as in `units` from 1 (the features that CARTL's feature distance
            minimisation compares, Chen et al. 2021, Eq. 10, go into unit k).
        """
        stages: list[Tensor] = []
        inputs: list[Tensor] = []
        # Before other hooks, of which one may drop channels of what it gets.
        hooks = [s.register_forward_hook(lambda _, __, out: stages.append(out), prepend=True) for s in self.stages]
        if unit:
            hooks.append(self.units()[unit - 1].register_forward_pre_hook(lambda _, x: inputs.append(x[0])))
        try:
            with autocast(images):
                features = self.features(images)
                logits = self.head(features)
            return Observed(*map(as_float, (stages, features, logits, inputs[0] if unit else None)))
        finally:
            for hook in hooks:
                hook.remove()

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, self.dropout) if self.training and self.dropout else x

    def blocks(self) -> list[nn.Module]:
        """All blocks, first to last."""
        found: list[nn.Module] = []
        for stage in self.stages:
            assert isinstance(stage, Iterable)
            found += stage
        return found

    def units(self) -> list[nn.Module]:
        """The partition in which Shafahi et al. 2020 (figure 2) and CARTL count "the last k blocks", the deepest first.

        The head, the tail where it has weights, the blocks from the last to the first. The stem is in none of them.
        """
        tail = [self.tail] if any(holds_weights(module) for module in self.tail.modules()) else []
        return [self.head, *tail, *reversed(self.blocks())]

    def renew_head(
        self,
        classes: int,
        hidden: Sequence[int] = (),
        batch_norm: bool = False,
        dropout: float = 0.0,
        weights: HeadWeights = "default",
    ) -> None:
        """A new head, linear or with hidden layers; see heads.new_head."""
        self.head = new_head(self.width, classes, hidden, batch_norm, dropout, weights)

    def trained_parts(self, trainable: Trainable) -> list[nn.Module]:
        """The modules that a recipe trains: all, the head, or the last stages, blocks or units, with what follows them.

        Raises:
            UserError: where the network has fewer stages, blocks or units than that.
        """
        if trainable == "all":
            return [self]
        if trainable == "head":
            return [self.head]
        if trainable.of == "units":
            return self.last_units(trainable.last)
        parts = list(self.stages) if trainable.of == "stages" else self.blocks()
        return [*_last(parts, trainable.last, trainable.of), self.tail, self.head]

    def last_units(self, count: int) -> list[nn.Module]:
        """The deepest `count` of the units, from first to last as the images pass them.

        Raises:
            UserError: where the network has fewer.
        """
        return _last(self.units()[::-1], count, "units")

    def start_anew(self, modules: Iterable[nn.Module]) -> None:
        """Initialise layers by the family's own rule, from torch's global generator; see reset_last."""
        for module in modules:
            if holds_weights(module):
                methodcaller("reset_parameters")(module)
                self.initialise(module)


def holds_weights(module: nn.Module) -> bool:
    """Whether a module itself, its children left aside, has parameters."""
    return next(module.parameters(recurse=False), None) is not None


def _last(parts: list[nn.Module], count: int, what: str) -> list[nn.Module]:
    if count > len(parts):
        raise UserError(f"the last {count} {what} are wanted, but the network has {len(parts)}")
    return parts[len(parts) - count :]


def reset_last(network: Classifier, last: Trainable) -> None:
    """Start the last parts anew (see trained_parts), by the family's own initialisation from torch's global generator.

    Batch norms lose their statistics. The head is among the parts: where a recipe wants a head of its own, renew it
    after this.
    """
    network.start_anew([module for part in network.trained_parts(last) for module in part.modules()])


def reset_parameters(network: Classifier) -> None:
    """Start every layer anew by PyTorch's default, as the code of Chin et al. 2020 does before re-training.

    For convolutions and linear layers that is He et al.'s uniform one with a = sqrt(5). Drawn from torch's global
    generator. Parameters that PyTorch has no default for (a transformer's position embedding) keep their values.
    """
    for module in network.modules():
        if holds_weights(module) and hasattr(module, "reset_parameters"):
            methodcaller("reset_parameters")(module)


NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def freeze_but(network: Classifier, trainable: Trainable, affine: bool = True) -> list[nn.Module]:
    """Let only the trained parts receive gradients; returns the frozen modules that hold parameters or statistics.

    Works module by module, so that batch norms of the frozen part can be told from those of the trained part.

    affine: whether batch norms' scale and shift train where their part does.
    """
    trained = {module for part in network.trained_parts(trainable) for module in part.modules()}
    for module in network.modules():
        moves = module in trained and (affine or not isinstance(module, NORMS))
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(moves)
    return [m for m in network.modules() if m not in trained and _holds_something(m)]


def _holds_something(module: nn.Module) -> bool:
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return bool(own)


def modules_in_eval(
    network: Classifier, frozen: list[nn.Module], frozen_statistics: str, trained_statistics: str
) -> list[nn.Module]:
    """What training leaves in evaluation mode: the frozen modules and the other batch norms, each under "freeze"."""
    in_eval = list(frozen) if frozen_statistics == "freeze" else []
    if trained_statistics == "freeze":
        in_eval += [m for m in network.modules() if isinstance(m, NORMS) and m not in set(frozen)]
    return in_eval


def training_mode(network: nn.Module, in_eval: list[nn.Module]) -> None:
    """Training mode, but for the modules named, whose running statistics stay and normalise."""
    network.train()
    for module in in_eval:
        module.training = False  # not eval(): a module with a frozen parameter of its own may hold layers that train


class Shaped(Protocol):
    """Images, or where they come from: N x C x H x W."""

    @property
    def shape(self) -> Sequence[int]:
        """Of all of them."""


def images_at_once(images: Shaped) -> int:
    """How many of N x C x H x W images pass together where nothing depends on it: 512 small ones, 66 of 3 x 224 x 224.

    An image of that size takes 92 MB of a ResNet-50 where gradients are kept.
    """
    return max(1, min(512, VALUES_AT_ONCE // math.prod(images.shape[1:])))


@torch.no_grad()
def predict(network: nn.Module, images: Tensor) -> Tensor:
    """N x C x H x W uint8 or float pixels -> N x classes logits, in evaluation mode and float32, batch by batch.

    Raises:
        FloatingPointError: where a logit is not finite.
    """
    was_training = network.training
    network.eval()
    with exactly():
        logits = [network(to_pixels(batch)) for batch in images.split(images_at_once(images))]
    network.train(was_training)
    return numbers(torch.cat(logits), "the network's logits")


def numbers(values: Tensor, what: str) -> Tensor:
    """The values, which must be finite: of NaN, argmax makes class 0 and a mean NaN, and neither is a result.

    Raises:
        FloatingPointError: where one is not.
    """
    if not values.isfinite().all():
        raise FloatingPointError(f"{what} are not finite")
    return values


def to_pixels(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [0, 1]; floats pass as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images
