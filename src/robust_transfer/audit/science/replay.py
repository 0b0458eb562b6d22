"""Does a model, asked again, answer as its outcomes say? A sample of each set of images is shown to it once more.

The same pass gives what the attacks are held against: random noise of the same budget, and the loss before and after.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from robust_transfer.audit.science.sound import Outcomes, Sound, wrong
from robust_transfer.audit.stored import Finding

if TYPE_CHECKING:
    from torch import Tensor, nn

AT_MOST = 128
"""Images of a set that are shown again, evenly spaced; fewer of large ones."""
VALUES = 100_000
"""Values of pixels, of all channels, in a sample; AT_LEAST images whatever their size."""
AT_LEAST = 8
TIE = 1e-2
"""Another machine rounds otherwise: where two classes are so near, or a confidence so little off, nothing is said."""


class Sample(NamedTuple):
    """A part of a split, and what a model makes of it.

    rows: the numbers of the images. fooled_by_noise: whether each was wrong under random noise of an attack's size, by
    (norm, eps). loss: of each clean image, the cross entropy. loss_under: the same of each outcome's images.
    """

    rows: np.ndarray
    fooled_by_noise: dict[tuple[str, float], np.ndarray]
    loss: np.ndarray
    loss_under: dict[str, np.ndarray]


Samples = dict[tuple[str, str, str], Sample]
"""By model, data and split."""


def replayed(sound: Sound) -> tuple[list[Finding], Samples]:
    """Outcomes that the model does not give, and what else was seen on the way."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many small passes: several threads mostly wait for each other
    try:
        return _replayed(sound)
    finally:
        torch.set_num_threads(threads)


def _replayed(sound: Sound) -> tuple[list[Finding], Samples]:
    from robust_transfer.models import files

    groups: dict[tuple[str, str, str], list[Outcomes]] = {}
    for each in sound.outcomes.values():
        if each.node.kind == "evaluate":
            groups.setdefault((each.model, each.data, each.split), []).append(each)
    found: list[Finding] = []
    samples: Samples = {}
    load = lru_cache(maxsize=1)(lambda model: files.load(sound.path(model))[0])
    for key in sorted(groups):
        model, data, split = key
        rows = _rows(sound, data, split)
        clean = sound.images(data, split, rows) if len(rows) else None
        if clean is None:
            continue
        sample = samples[key] = _sample(sound, load(model), key, clean, rows, groups[key])
        found += list(_differences(sound, load(model), groups[key], clean, sample))
    return found, samples


def _rows(sound: Sound, data: str, split: str) -> np.ndarray:
    from robust_transfer.data.splits import evenly

    count = len(sound.labels(data, split))
    first = sound.images(data, split, slice(0, 1)) if count else None
    if first is None:
        return np.arange(0)
    return evenly(count, min(count, max(AT_LEAST, min(AT_MOST, VALUES // first.numel()))))


def _sample(
    sound: Sound,
    network: "nn.Module",
    key: tuple[str, str, str],
    clean: "Tensor",
    rows: np.ndarray,
    group: list[Outcomes],
) -> Sample:
    from robust_transfer.models.classifier import predict

    _, data, split = key
    labels = sound.labels(data, split)[rows]
    sizes = {(each.attack.norm, each.attack.eps) for each in group if each.attack and each.maker == each.model}
    noisy = {size: predict(network, _with_noise(clean, *size)).argmax(1).numpy() != labels for size in sorted(sizes)}
    return Sample(rows, noisy, _loss(predict(network, clean), labels), {})


def _differences(
    sound: Sound, network: "nn.Module", group: list[Outcomes], clean: "Tensor", sample: Sample
) -> Iterator[Finding]:
    from robust_transfer.attacks.budget import to_float
    from robust_transfer.models.classifier import predict

    for each in group:
        shown = to_float(sound.examples(each.node.parents["examples"], sample.rows)) if each.attack else clean
        logits = predict(network, shown)
        stored = sound.table(each.node.id).iloc[sample.rows]
        sample.loss_under[each.node.id] = _loss(logits, stored.label.to_numpy())
        chances = logits.softmax(1)
        best = chances.amax(1).numpy()
        of_stored = chances.gather(1, _column(stored.prediction)).squeeze(1).numpy()
        off = (best - of_stored > TIE) | (np.abs(of_stored - stored.confidence.to_numpy()) > TIE)
        if off.any():
            path = sound.path(each.node.id)
            sentence = f"the model gives other outcomes on {off.sum()} of the {len(off)} images that it was shown again"
            yield wrong(f"{path}: {sentence}, first on image {sample.rows[off.argmax()]}", (each.node.id,))


def _column(values: Any) -> "Tensor":
    import torch

    return torch.as_tensor(values.to_numpy(copy=True)).unsqueeze(1)


def _loss(logits: "Tensor", labels: np.ndarray) -> np.ndarray:
    """N x classes logits, N labels -> N cross entropies, in double precision."""
    import torch

    own = torch.as_tensor(labels.copy()).unsqueeze(1)
    return -logits.double().log_softmax(1).gather(1, own).squeeze(1).numpy()


def _with_noise(clean: "Tensor", norm: str, eps: float) -> "Tensor":
    """N x C x H x W uint8 -> float pixels in [0, 1], moved at random: by +eps or -eps in every pixel, or by a vector of
    length eps. Always the same for a size.
    """
    import torch

    from robust_transfer.models.classifier import to_pixels

    seed = int.from_bytes(hashlib.sha256(f"{norm}:{eps}".encode()).digest()[:4], "little")
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    if norm == "linf":
        noise = eps * noise.sign()
    else:
        noise *= eps / noise.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
    return (to_pixels(clean) + noise).clamp(0, 1)
