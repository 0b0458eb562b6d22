"""What a network says about an image under Gaussian noise, sample by sample.

Sample number k of the image at index i of its set is the same noise in every run: it is a function of the seed, i, k
and the kind of device. So counts don't depend on the size of batches (up to the network's own rounding), on which other
images are certified, or on interruptions.
"""

import torch
from torch import Tensor, nn

from robust_transfer.randomness import derived

CHUNK = 128
"""Samples that are drawn from one generator. A power of two, so that usual batches are whole chunks; at 128, seeding is
well under 1 % of the time on a CPU even for 8 x 8 images, and a chunk of 224 x 224 photographs is 77 MB."""


@torch.inference_mode()
def noisy_predictions(
    model: nn.Module, image: Tensor, samples: int, sigma: float, *, seed: int, index: int, batch: int
) -> Tensor:
    """The model's class (int64, on the CPU) for each of the first `samples` noisy copies of an image, as in certify."""
    drawn = samples if sigma else 1  # without noise all copies are equal
    predictions, finite = [], torch.ones((), dtype=torch.bool, device=image.device)
    for first in range(0, drawn, batch):
        logits = model(_noisy(image, first, min(first + batch, drawn), sigma, seed, index))
        finite &= logits.isfinite().all()  # looked at in the end: on a GPU each look waits for the device
        predictions.append(logits.argmax(1))
    if not finite:
        raise FloatingPointError("the model's logits are not finite under noise")
    return torch.cat(predictions).cpu().expand(samples)


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
