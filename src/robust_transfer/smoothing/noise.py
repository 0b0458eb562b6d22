"""What a network says about an image under Gaussian noise, sample by sample.

Sample number k of the image at index i of its set is the same noise in every run: it is a function of the seed, i, k
and the kind of device. So counts don't depend on the size of batches (up to the network's own rounding), on which other
images are certified, or on interruptions.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from robust_transfer.randomness import derived

Predict = Callable[[Tensor], Tensor]
"""N x C x H x W pixels -> N x classes logits."""

UNKNOWN = -1
CHUNK = 128
"""Samples that are drawn from one generator. A power of two, so that usual batches are whole chunks; at 128, seeding is
well under 1 % of the time on a CPU even for 8 x 8 images, and a chunk of 224 x 224 photographs is 77 MB."""


def noisy_predictions(
    model: Predict, image: Tensor, samples: int, sigma: float, *, seed: int, index: int, batch: int, begin: int = 0
) -> Iterator[Tensor]:
    """The model's class (int64, on the image's device) for each noisy copy of an image, as in certify, batch by batch,
    of the first `samples` from number `begin` on.

    A batch with a logit that is not finite has UNKNOWN in place of all its classes, as on a GPU each look waits for the
    device.
    """
    drawn = samples if sigma else min(samples, begin + 1)  # without noise all copies are equal
    for first in range(begin, drawn, batch):
        with torch.inference_mode():
            logits = model(_noisy(image, first, min(first + batch, drawn), sigma, seed, index))
            classes = torch.where(logits.isfinite().all(), logits.argmax(1), UNKNOWN)
        yield classes if sigma else classes.expand(samples - begin)


def _noisy(image: Tensor, first: int, last: int, sigma: float, seed: int, index: int) -> Tensor:
    """The image with noise of samples first..last-1. Whole chunks are drawn: part of one would have other values."""
    chunks = range(first // CHUNK, -(-last // CHUNK))
    channels, height, width = image.shape
    # Drawn with channels last, as the folded model wants them.
    noise = image.new_empty(len(chunks) * CHUNK, height, width, channels)
    generator = torch.Generator(image.device)
    for chunk, values in zip(chunks, noise.split(CHUNK), strict=True):
        generator.manual_seed(derived(seed, f"noise/{index}", chunk))
        values.normal_(generator=generator)
    skipped = first - chunks.start * CHUNK
    return noise.permute(0, 3, 1, 2)[skipped : skipped + last - first].mul_(sigma).add_(image)
