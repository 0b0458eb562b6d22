"""The smoothed classifier of Cohen et al. 2019: what it predicts, and how far around an image that holds."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from scipy.stats import beta, norm
from torch import Tensor, nn

from robust_transfer.attacks.ready import attack_ready
from robust_transfer.models.classifier import to_pixels
from robust_transfer.smoothing.noise import noisy_predictions
from robust_transfer.specs.smoothing import Smoothing

ABSTAINED = -1
"""Stands for a class where none is certain enough."""


class Certificate(NamedTuple):
    """What is certain of one image, with probability 1 - alpha.

    prediction: the smoothed classifier's class, or ABSTAINED. radius: of the l2 ball in which it stays that class, in
    pixels; 0 where it abstained. top: the class that was selected. count: of the n samples, those of class top.
    """

    prediction: int
    radius: float
    top: int
    count: int  # type: ignore[assignment]  # it hides tuple.count, which nobody asks


def lower_bound(count: int, n: int, alpha: float) -> float:
    """Clopper and Pearson's one-sided lower bound, at confidence 1 - alpha, of a probability seen `count` in n times.

    statsmodels' proportion_confint(count, n, 2 * alpha, method="beta")[0], which Cohen et al. use, is the same number.
    """
    return float(beta.ppf(alpha, count, n - count + 1)) if count else 0.0


def certificate(top: int, count: int, smoothing: Smoothing) -> Certificate:
    """What `count` of n samples of the class `top` certify (Cohen et al. 2019, CERTIFY in section 3.2.2)."""
    low = lower_bound(count, smoothing.n, smoothing.alpha)
    if low < 0.5:
        return Certificate(ABSTAINED, 0.0, top, count)
    return Certificate(top, smoothing.sigma * float(norm.ppf(low)), top, count)


def certify(model: nn.Module, image: Tensor, smoothing: Smoothing, *, seed: int, index: int, batch: int) -> Certificate:
    """The certificate of one image, C x H x W float32 pixels in [0, 1] on the model's device.

    model: pixels -> logits, in evaluation mode; noisy pixels leave [0, 1] and are not cut. seed, index: of the noise,
    see noise.py. batch: samples in a forward pass; a multiple of CHUNK draws no noise twice.

    Raises:
        FloatingPointError: where a logit is not finite.
    """
    predictions = noisy_predictions(
        model, image, smoothing.n0 + smoothing.n, smoothing.sigma, seed=seed, index=index, batch=batch
    )
    top = int(predictions[: smoothing.n0].bincount().argmax())
    return certificate(top, int((predictions[smoothing.n0 :] == top).sum()), smoothing)


def certify_set(
    model: nn.Module,
    images: Tensor,
    indices: Sequence[int],
    smoothing: Smoothing,
    *,
    seed: int,
    batch: int,
    device: torch.device | str = "cpu",
    progress: Callable[[list[Certificate]], None] | None = None,
    done: Sequence[Certificate] = (),
) -> list[Certificate]:
    """The certificates of the images at some indices of a set, in their order.

    images: the whole set, N x C x H x W uint8. The model, on `device`, is used in evaluation mode; the rest as in
    certify.
    progress: called after each image with all certificates so far, to save them or to count; may raise to stop.
    done: what such a call was given, to go on from there with the same result as a run in one go.

    Raises:
        FloatingPointError: where a logit is not finite, naming the image.
        ValueError: where more is done than there are indices.
    """
    if len(done) > len(indices):
        raise ValueError(f"{len(done)} certificates were made before, but only {len(indices)} images are wanted")
    made = [Certificate(*each) for each in done]
    if len(made) == len(indices):
        return made
    ready = attack_ready(model, sample=to_pixels(images[list(indices[:2])].to(device)))
    for index in indices[len(made) :]:
        image = to_pixels(images[index].to(device))
        try:
            made.append(certify(ready, image, smoothing, seed=seed, index=index, batch=batch))
        except FloatingPointError as error:
            raise FloatingPointError(f"image {index}: {error}") from None
        if progress:
            progress(made)
    return made
