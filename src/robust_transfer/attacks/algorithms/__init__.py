"""Attack algorithms: one file each, with the spec and what it does to images; see docs/attacks.md."""

from typing import TYPE_CHECKING

from robust_transfer.registry import members, one_of
from robust_transfer.specs.attacks import Attack

ALGORITHMS = members(__name__, __path__, Attack)

if TYPE_CHECKING:
    AnyAttack = Attack
    TrainingAttack = Attack
else:
    AnyAttack = one_of((form for form in ALGORITHMS if form.evaluates), "algorithm")
    TrainingAttack = one_of((form for form in ALGORITHMS if form.trains), "algorithm")
    """Attacks that raise a classification loss, as adversarial training does."""
