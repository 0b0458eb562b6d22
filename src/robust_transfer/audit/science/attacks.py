"""Do attacks behave as attacks do? Where a stronger one does less than a weaker one, gradients are masked (Athalye et
al. 2018; Carlini et al. 2019), and the robust accuracy says little.

Pairs of attacks are held against each other on the same images: an exact test of those that one alone fools (McNemar),
one-sided, at 5 % over all pairs of the audit together (Holm 1979), so that noise is not called a sign.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binom

from robust_transfer.audit.science.replay import Samples
from robust_transfer.audit.science.sound import Outcomes, Sound, note
from robust_transfer.audit.stored import Finding
from robust_transfer.canonical import canonical_json
from robust_transfer.estimates import Z, of_sample, proportion

LEVEL = 0.05
ZERO = 10.0
"""Per cent of images without a gradient, from which on, beyond doubt, they are a sign."""
SQUARE = 1.0
"""Per cent of images that Square alone fools, likewise."""
STRENGTH = {"fgsm": 0, "mi-fgsm": 1, "pgd": 1, "apgd": 2, "autoattack": 3}
"""Attacks that raise a loss, the weakest first; under one budget a later one should fool no fewer images."""


class Pair(NamedTuple):
    """Two attacks of which the second should do no less: how often the first alone fooled an image, and the second."""

    model: str
    about: tuple[str, ...]
    weaker: str
    stronger: str
    first_alone: int
    second_alone: int
    n: int

    @property
    def p(self) -> float:
        """The chance that the first alone fools so many of those that one alone fools, were both equally strong."""
        return float(binom.sf(self.first_alone - 1, self.first_alone + self.second_alone, 0.5))

    @property
    def sentence(self) -> str:
        gain = 100 * (self.first_alone - self.second_alone) / self.n
        apart = self.first_alone + self.second_alone - (self.first_alone - self.second_alone) ** 2 / self.n
        half = 100 * Z * math.sqrt(apart) / self.n
        interval = f"(95 %: {gain - half:.1f} to {gain + half:.1f})"
        return f"{self.weaker} fools {gain:.1f} % more of {self.n} images than {self.stronger} {interval}"


def findings(sound: Sound, samples: Samples) -> Iterator[Finding]:
    """The models that show signs of masked gradients, each with all of its signs."""
    signs: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for pair in beyond_noise(pairs(sound, samples)):
        signs.setdefault(pair.model, []).append((pair.sentence, pair.about))
    for model, sentence, about in (*_without_gradient(sound), *_by_square(sound), *_lower_loss(sound, samples)):
        signs.setdefault(model, []).append((sentence, about))
    for model, found in signs.items():
        sentences, about = zip(*found, strict=True)
        ids = tuple(dict.fromkeys(i for each in about for i in each))
        yield note(f"{model} shows signs of masked gradients: {'; '.join(sentences)}", ids)


def beyond_noise(found: Iterable[Pair]) -> list[Pair]:
    """The pairs in which the weaker attack did more, at LEVEL over all of them (Holm's step-down)."""
    ordered = sorted(found, key=lambda pair: pair.p)
    kept = []
    for i, pair in enumerate(ordered):
        if pair.p > LEVEL / (len(ordered) - i):
            break
        kept.append(pair)
    return kept


# ---- pairs ---------------------------------------------------------------------------------------------------------


def pairs(sound: Sound, samples: Samples) -> Iterator[Pair]:
    """All pairs of attacks on a model of which one should be no weaker than the other."""
    groups: dict[tuple[Any, ...], list[Outcomes]] = {}
    for each in sound.outcomes.values():
        if each.attack is None or (each.attack.algorithm in STRENGTH and not each.partly):
            groups.setdefault((each.model, each.data, each.split), []).append(each)
    for key, group in groups.items():
        fooled = {each.node.id: _fooled(sound, each.node.id) for each in group}
        for weaker, stronger in _of_group(group):
            one, other = fooled[weaker.node.id], fooled[stronger.node.id]
            yield _pair(key[0], (weaker, stronger), (_name(weaker), _name(stronger)), one, other)
        if sample := samples.get(key):
            for each in (each for each in group if each.attack and each.maker == each.model):
                noisy = sample.fooled_by_noise[each.attack.norm, each.attack.eps]
                hit = fooled[each.node.id][sample.rows]
                yield _pair(key[0], (each,), (f"random noise of eps {each.attack.eps:.4g}", _name(each)), noisy, hit)


def _of_group(group: list[Outcomes]) -> Iterator[tuple[Outcomes, Outcomes]]:
    """(weaker, stronger) among outcomes of one model on the same images."""
    own = [each for each in group if each.attack and each.maker == each.model]
    budgets: dict[tuple[str, float], list[Outcomes]] = {}
    for each in own:
        budgets.setdefault((each.attack.norm, each.attack.eps), []).append(each)
    for alike in budgets.values():
        strengths = sorted({STRENGTH[each.attack.algorithm] for each in alike})
        for weak, strong in pairwise(strengths):
            of = {s: [each for each in alike if STRENGTH[each.attack.algorithm] == s] for s in (weak, strong)}
            yield from product(of[weak], of[strong])
    of_steps: dict[str, list[Outcomes]] = {}
    for each in own:
        if hasattr(each.attack, "steps"):
            rest = each.attack.model_dump(mode="json", exclude={"steps", "step_size", "label"})
            of_steps.setdefault(canonical_json(rest), []).append(each)
    for alike in of_steps.values():
        ordered = sorted(alike, key=lambda each: each.attack.steps)
        yield from ((a, b) for a, b in pairwise(ordered) if a.attack.steps < b.attack.steps)
    white = {canonical_json(each.attack.canonical()): each for each in own}
    for each in group:
        if each.attack is None:
            yield from ((each, other) for other in own)
        elif each.maker != each.model and (other := white.get(canonical_json(each.attack.canonical()))):
            yield each, other


def _pair(model: str, about: tuple[Outcomes, ...], names: tuple[str, str], one: np.ndarray, other: np.ndarray) -> Pair:
    alone = int((one & ~other).sum()), int((other & ~one).sum())
    return Pair(model, tuple(each.node.id for each in about), *names, *alone, len(one))


def _name(outcomes: Outcomes) -> str:
    if outcomes.attack is None:
        return "no attack"
    return outcomes.attack.slug + (" from another model" if outcomes.maker != outcomes.model else "")


def _fooled(sound: Sound, outcomes: str) -> np.ndarray:
    found = sound.table(outcomes)
    return (found.prediction != found.label).to_numpy()


# ---- other signs ---------------------------------------------------------------------------------------------------

Sign = tuple[str, str, tuple[str, ...]]
"""Of a model: a sentence, and the nodes that it is about."""


def _without_gradient(sound: Sound) -> Iterator[Sign]:
    for node, _ in sound.of("craft"):
        metrics = sound.cards[node.id]["metrics"]
        n = metrics.get("attacked", metrics["n"])
        share = proportion(round(metrics["zero_gradients"] * n), n)
        if share.low > ZERO:
            sentence = f"{share.value:.1f} % of {n} images have no gradient (95 %: {share.low:.1f} to {share.high:.1f})"
            yield node.parents["model"], sentence, (node.id,)


def _by_square(sound: Sound) -> Iterator[Sign]:
    """Images that withstand the gradient attacks and not the one that asks for no gradient."""
    for each in sound.outcomes.values():
        if each.node.kind == "worst" and each.maker == each.model:
            members = pd.read_parquet(sound.path(each.node.id), columns=["member"]).member
            of_square = {member.slug for member in each.attack.members() if member.algorithm == "square"}
            share = proportion(int(members.isin(of_square).sum()), len(members))
            if share.low > SQUARE:
                interval = f"(95 %: {share.low:.1f} to {share.high:.1f})"
                sentence = f"{share.value:.1f} % of {share.n} images withstand every gradient but not Square {interval}"
                yield each.model, sentence, (each.node.id,)


def _lower_loss(sound: Sound, samples: Samples) -> Iterator[Sign]:
    """Attacks under which the loss is lower than without them."""
    for sample in samples.values():
        for node_id, loss in sample.loss_under.items():
            each = sound.outcomes[node_id]
            if each.attack and each.attack.algorithm in STRENGTH and each.maker == each.model and len(loss) > 1:
                rise = loss - sample.loss
                mean = of_sample(float(rise.mean()), float(rise.std(ddof=1)), len(rise))
                if mean.value + 2 * (mean.high - mean.value) < 0:  # four standard errors, as there are many attacks
                    interval = f"(95 %: {-mean.high:.3g} to {-mean.low:.3g})"
                    sentence = f"{_name(each)} lowers the loss of {len(rise)} images by {-mean.value:.3g} {interval}"
                    yield each.model, sentence, (node_id,)
