"""The smoothed classifier of Cohen et al. 2019: what it predicts, and how far around an image that holds."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from scipy.stats import beta, norm
from torch import Tensor, nn

from robust_transfer.attacks.ready import attack_ready
from robust_transfer.models.at_once import AtOnce
from robust_transfer.models.classifier import to_pixels
from robust_transfer.smoothing.noise import UNKNOWN, Predict, noisy_predictions
from robust_transfer.specs.smoothing import Smoothing

if TYPE_CHECKING:
    from robust_transfer.data.tensors import Shown

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


class Tally:
    """Of some first samples of an image, how many are of each class: of those that select the class, and of the others.

    index: of the image.
    """

    def __init__(self, index: int, selecting: Sequence[int] = (), counting: Sequence[int] = ()):
        self.index = index
        self.selecting, self.counting = Counter(dict(enumerate(selecting))), Counter(dict(enumerate(counting)))

    @property
    def samples(self) -> int:
        """How many have been counted."""
        return self.selecting.total() + self.counting.total()

    def numbers(self) -> tuple[int, list[int], list[int]]:
        """What it is made from again."""
        selecting, counting = (
            [each[i] for i in range(max(each, default=-1) + 1)] for each in (self.selecting, self.counting)
        )
        return self.index, selecting, counting

    def count(self, classes: Tensor, n0: int) -> None:
        """Count the next samples' classes, of which the first n0 of all select.

        Raises:
            FloatingPointError: where there is none.
        """
        classes = classes.cpu()
        if (classes == UNKNOWN).any():
            raise FloatingPointError("the model's logits are not finite under noise")
        left = max(0, n0 - self.samples)
        for tally, some in ((self.selecting, classes[:left]), (self.counting, classes[left:])):
            tally.update(dict(enumerate(some.bincount().tolist())))

    def certificate(self, smoothing: Smoothing) -> Certificate:
        """What all samples certify; of several classes that were seen most often the first is selected."""
        top = min(self.selecting, key=lambda each: (-self.selecting[each], each))
        return certificate(top, self.counting[top], smoothing)


def certify(
    model: Predict,
    image: Tensor,
    smoothing: Smoothing,
    *,
    seed: int,
    index: int,
    batch: int,
    begun: Tally | None = None,
    pausing: Callable[[], bool] = lambda: False,
    pause: Callable[[Tally], None] | None = None,
) -> Certificate:
    """The certificate of one image, C x H x W float32 pixels in [0, 1] on the model's device.

    model: pixels -> logits, in evaluation mode; noisy pixels leave [0, 1] and are not cut. seed, index: of the noise,
    see noise.py. batch: samples in a forward pass; a multiple of CHUNK draws no noise twice.
    pausing: asked after each batch; where it says so, `pause` is called with the counts so far, to save them; it may
    raise to stop. begun: what it was called with, to go on from there with the same result as in one go.

    Raises:
        FloatingPointError: where a logit is not finite.
    """
    tally, samples = begun or Tally(index), smoothing.n0 + smoothing.n
    waiting: list[Tensor] = []  # on a GPU, to look at each batch would wait for it
    noisy = noisy_predictions(
        model, image, samples, smoothing.sigma, seed=seed, index=index, batch=batch, begin=tally.samples
    )
    for classes in noisy:
        waiting.append(classes)
        if pause and pausing():
            tally.count(torch.cat(waiting), smoothing.n0)
            waiting.clear()
            pause(tally)
    if waiting:
        tally.count(torch.cat(waiting), smoothing.n0)
    return tally.certificate(smoothing)


def certify_set(
    model: nn.Module,
    images: "Tensor | Shown",
    indices: Sequence[int],
    smoothing: Smoothing,
    *,
    seed: int,
    batch: int,
    device: torch.device | str = "cpu",
    places: Sequence[int] | None = None,
    at_once: AtOnce | None = None,
    begun: Tally | None = None,
    pausing: Callable[[], bool] = lambda: False,
    pause: Callable[[Tally], None] | None = None,
) -> Iterator[Certificate]:
    """The certificates of the images at some indices of a set, in their order, one after the other.

    images: the whole set, N x C x H x W uint8, of which one is taken at a time. The model, on `device`, is used in
    evaluation mode. places: which of the indices, by their places; by default all. at_once: how many samples pass
    together; by default a batch. begun: of one of the images, which may not be among them. The rest as in certify.

    Raises:
        FloatingPointError: where a logit is not finite, naming the image.
    """
    chosen = indices if places is None else [indices[i] for i in places]
    if not chosen:
        return
    sample = images[torch.tensor(indices[:2])]
    ready = attack_ready(model, sample=to_pixels(sample.to(device)))
    predict = partial(at_once or AtOnce(batch), ready)
    for index in chosen:
        image = to_pixels(images[index : index + 1].to(device))[0]
        half = begun if begun and begun.index == index else None
        try:
            yield certify(
                predict,
                image,
                smoothing,
                seed=seed,
                index=index,
                batch=batch,
                begun=half,
                pausing=pausing,
                pause=pause,
            )
        except FloatingPointError as error:
            raise FloatingPointError(f"image {index}: {error}") from None
