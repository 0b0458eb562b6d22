"""worst: each image's outcome under several attacks: wrong where any of them made it wrong."""

from collections.abc import Mapping
from typing import Any

from robust_transfer.attacks.algorithms import AnyAttack
from robust_transfer.specs.fields import Spec
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node


class Worst(Spec):
    """attack: whose members' outcomes are joined, from the parents `member0`, `member1`, ..., in their order."""

    attack: AnyAttack


def run(job: Job) -> dict[str, Any]:
    """Write one row an image, as evaluate does, and the member that made it wrong (the first); returns accuracy in per
    cent, after each member.

    prediction, confidence: that member's; of an image that withstood all, those of the lowest confidence. member: empty
    there, and where the image is wrong without an attack the first member's.
    """
    import pandas as pd

    names = [member.slug for member in job.spec.attack.members()]
    worst: pd.DataFrame | None = None
    after: dict[str, float] = {}
    for i, name in enumerate(names):
        found = pd.read_parquet(job.parent(f"member{i}")).assign(member=name)
        right = found.prediction == found.label
        found.loc[right, "member"] = ""
        if worst is None:
            worst = found
        elif not (found["index"].equals(worst["index"]) and found.label.equals(worst.label)):
            raise ValueError(f"{job.parents[f'member{i}'].id} is of other images than the members before")
        else:
            still = worst.prediction == worst.label
            taken = still & (~right | (found.confidence < worst.confidence))
            worst.loc[taken] = found[taken]
        after[name] = 100 * float((worst.prediction == worst.label).mean())
    assert worst is not None  # an attack that is joined has members
    worst.to_parquet(job.output, index=False)
    return {"accuracy": after[names[-1]], "n": len(worst), "after": after}


def slug(spec: Worst, parents: Mapping[str, Node]) -> str:
    """That of the first member's outcomes, with the whole attack's name in place of the member's."""
    return parents["member0"].slug.removesuffix(spec.attack.members()[0].slug) + spec.attack.slug


KIND = Kind(Worst, "outcomes.parquet", slug, minutes=30, gpu=False)
