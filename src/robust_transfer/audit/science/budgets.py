"""Is every stored adversarial image within its budget, in the space in which the attack has it?"""

from collections.abc import Iterator

from robust_transfer.audit.science.sound import Sound, note, wrong
from robust_transfer.audit.stored import Finding


def findings(sound: Sound) -> Iterator[Finding]:
    """Sets of examples that leave their budget, and those that a clip takes out of the ball (switch D1, `code`)."""
    clipped: dict[str, list[tuple[str, float, float]]] = {}
    for node, spec in sound.of("craft"):
        share, farthest = 0.0, 0.0
        try:
            share, farthest = _checked(sound, node.id, node.parents["data"], spec)
        except ValueError as error:  # BudgetError is one
            yield wrong(f"{sound.path(node.id)}: {error}", (node.id,))
        if farthest:
            clipped.setdefault(spec.attack.slug, []).append((node.id, share, farthest))
    for slug, sets in clipped.items():
        ids, shares, distances = zip(*sets, strict=True)
        yield note(
            f"{len(ids)} sets of examples of {slug} leave the ball of eps on up to {100 * max(shares):.0f} % of the "
            f"images, by up to {max(distances):.3g} in normalised units, where the attack's clip takes them (D1)",
            ids,
        )


def _checked(sound: Sound, craft: str, data: str, spec) -> tuple[float, float]:
    """The share of images that a clip takes out of the ball of eps, and how far at most, in the attack's space.

    Raises:
        ValueError: where an image is outside its budget, or there are not as many as in the split.
    """
    from robust_transfer.attacks.algorithms.feature import FeatureAttack
    from robust_transfer.attacks.budget import CHUNK, check_budget

    attack = spec.attack
    clips = isinstance(attack, FeatureAttack) and bool(attack.clip)
    count, outside, farthest = len(sound.labels(data, spec.split)), 0, 0.0
    for first in range(0, count, CHUNK):
        rows = slice(first, min(first + CHUNK, count))
        clean, stored = sound.images(data, spec.split, rows), sound.examples(craft, rows)
        assert clean is not None, "only images that are had at once are attacked"
        try:
            check_budget(stored, clean, attack)
        except ValueError as error:
            raise ValueError(f"of the images from {first} on, {error}") from None
        if clips:
            beyond = _beyond(stored, clean, attack)
            outside += int((beyond > 0).sum())
            farthest = max(farthest, float(beyond.max()))
    if len(sound.examples(craft, slice(count, None))):
        raise ValueError(f"there are more examples than the {count} {spec.split} images")
    return outside / max(1, count), farthest


def _beyond(stored, clean, attack):
    """By how much each image's farthest pixel is farther from the clean one than eps, in normalised units; N floats, 0
    where it is not.
    """
    import torch

    from robust_transfer.attacks.budget import ONE, units

    std = torch.as_tensor(attack.std, dtype=torch.float64).reshape(-1, 1, 1) * ONE
    distance = ((stored.to(torch.int32) - units(clean)).abs() / std).flatten(1).amax(1)
    rounding = 1 / float(std.min())
    return torch.where(distance > attack.eps + rounding, distance - attack.eps, 0.0)
