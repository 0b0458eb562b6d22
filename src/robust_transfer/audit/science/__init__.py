"""Science: do the stored models, adversarial examples and outcomes have the properties that their specs promise?

What must hold and does not is `wrong`. What is as it was asked for, but a reader should know of (a choice made on test
images, signs of masked gradients), is a note. Only nodes that are whole are asked; integrity names the others.
"""

from collections.abc import Iterator

from robust_transfer.audit.science import attacks, budgets, data, replay, weights
from robust_transfer.audit.science.sound import Sound
from robust_transfer.audit.stored import Finding, Stored


def findings(stored: Stored) -> Iterator[Finding]:
    """All that the stored numbers say against themselves."""
    sound = Sound(stored)
    yield from (*budgets.findings(sound), *weights.findings(sound), *data.findings(sound))
    again, noise = replay.replayed(sound)
    yield from (*again, *attacks.findings(sound, noise))
