"""The first operation of every network: pixels in [0, 1] to what its convolutions expect. Nothing here is trained."""

import torch
from torch import Tensor, nn

from robust_transfer.specs.networks import AnyNormalise


class ByNumbers(nn.Module):
    """x -> (x - mean) / std, mean and std each a number or one number a channel."""

    mean: Tensor | float
    std: Tensor | float

    def __init__(self, mean: float | list[float], std: float | list[float]):
        super().__init__()
        self._set("mean", mean)
        self._set("std", std)

    def _set(self, name: str, value: float | list[float]) -> None:
        if isinstance(value, list):
            # Not persistent: a model's file holds them in the network's spec.
            self.register_buffer(name, torch.tensor(value).view(-1, 1, 1), persistent=False)
        else:
            setattr(self, name, value)

    def forward(self, images: Tensor) -> Tensor:
        """N x C x H x W pixels in [0, 1] -> the same shape."""
        return (images - self.mean) / self.std


class PerImage(nn.Module):
    """Each image by the mean and the standard deviation of all its own values (tf.image.per_image_standardization).

    TensorFlow divides by max(std, 1 / sqrt(values of an image)) on pixels of 0..255; on ours that floor is 255 times
    smaller.
    """

    def forward(self, images: Tensor) -> Tensor:
        """N x C x H x W pixels in [0, 1] -> the same shape."""
        centred = images - images.mean((1, 2, 3), keepdim=True)
        # The floor is put under the variance: the root of zero would give an image of one colour no finite gradient.
        variance = centred.square().mean((1, 2, 3), keepdim=True)
        return centred / variance.clamp(min=1 / (255**2 * images.shape[1:].numel())).sqrt()


def normaliser(spec: AnyNormalise, channels: int) -> nn.Module:
    """The module of a spec, for images of `channels` channels.

    Raises:
        ValueError: where mean or std has a number for each of another count of channels.
    """
    if spec == "per-image":
        return PerImage()
    for name in ("mean", "std"):
        value = getattr(spec, name)
        if isinstance(value, list) and len(value) != channels:
            raise ValueError(f"normalise.{name} has {len(value)} numbers, but the images have {channels} channels")
    return ByNumbers(spec.mean, spec.std)
