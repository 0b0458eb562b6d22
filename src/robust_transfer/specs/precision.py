"""In which numbers networks compute, by the config's machine."""

from collections.abc import Mapping
from typing import Any, Literal

from robust_transfer.specs.fields import Spec

Precision = Literal["float32", "tf32", "bf16"]
Compiled = Literal["pretrain", "transfer"]


class Precisions(Spec):
    """The precision of each kind of node that may have another than float32; all others judge, in float32."""

    pretrain: Precision = "float32"
    """Of source models' trainings; part of their ids."""
    transfer: Precision = "float32"
    """Of target models' trainings; part of their ids."""
    craft: Precision = "float32"
    """Of attacks' steps; in no id, as what they find is judged in float32. Their convolutions are always in TF32."""
    certify: Precision = "float32"
    """Of the classifier that is smoothed; in no id, and on each card."""


def precision_of(machine: Mapping[str, Any], kind: str) -> Precision:
    """Of a kind of node, as a plain machine section says: one word for all that may have one, or a word for each."""
    asked = machine.get("precision", "float32")
    if isinstance(asked, str):
        asked = dict.fromkeys(Precisions.model_fields, asked)
    return asked.get(kind, "float32")
