"""What network a checkpoint would be: the family and the sizes that its tensors' names and shapes tell."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from robust_transfer.errors import UserError
from robust_transfer.models import checkpoints, fits
from robust_transfer.models.checkpoints import Checkpoint
from robust_transfer.models.families import FAMILIES, AnyNetwork
from robust_transfer.models.fits import Fit
from robust_transfer.specs.layouts import OURS, layout_of
from robust_transfer.specs.networks import Network


@dataclass(frozen=True)
class Recognised:
    """A checkpoint, and the network whose tensors are the most like its own; None where no family's are.

    questions: fields that the names of tensors do not tell -> what may stand there, in words.
    """

    checkpoint: Checkpoint
    network: Network | None
    fit: Fit | None
    questions: dict[str, str]

    @property
    def fits(self) -> bool:
        """Whether all tensors are the network's, and all of the network's are there."""
        return self.fit is not None and not self.fit.distance


def recognise(
    checkpoint: Checkpoint, families: Iterable[str] = (), name: str | None = None, known: Network | None = None
) -> Recognised:
    """The network of a checkpoint. families: those that are looked at; all unless given. name: of a network of
    torchvision or timm; timm's are too many to be tried. known: the network that it is said to be; nothing is asked of
    that.
    """
    if known and (fit := _fit(known, checkpoint)):
        return Recognised(checkpoint, known, fit, {})
    guesses = [*_guesses(checkpoint, {*families}, name)]
    tried = [(guess, _fit(guess, checkpoint)) for guess in guesses]
    found = min(((each, fit) for each, fit in tried if fit), key=lambda pair: pair[1].distance, default=None)
    if found is None:
        return Recognised(checkpoint, None, None, {})
    network, fit = found
    questions = _questions(network, checkpoint)
    if as_well := [each.slug for each, other in tried if each is not network and other and not other.distance]:
        questions["family"] = f"its tensors fit {', '.join(as_well)} as well"
    return Recognised(checkpoint, network, fit, questions)


def _guesses(checkpoint: Checkpoint, families: set[str], name: str | None) -> Iterable[Network]:
    if checkpoint.metadata:
        try:
            yield TypeAdapter(AnyNetwork).validate_python(checkpoint.metadata["network"])
        except ValidationError:
            raise UserError(
                f"the file says that it is of {checkpoint.metadata['network']}, which is no network here"
            ) from None
        return
    for family in FAMILIES:
        tag = family.tag()
        if families and tag not in families:
            continue
        held = {"normalise": checkpoint.normalise} if checkpoint.normalise else {}
        if name:
            if "name" in family.model_fields and (families or tag != "timm"):
                yield family.model_validate({"family": tag, "name": name, **held})
        elif guess := _guess(family, checkpoint):
            yield guess.with_(**held)


def _guess(family: type[Network], checkpoint: Checkpoint) -> Network | None:
    """The network of a family, where the names are ours or those of one of its layouts."""
    layout = layout_of(checkpoint.state, family.layouts)
    if layout is None and not any(name.partition(".")[0] in OURS for name in checkpoint.state):
        return None
    ours = {layout.ours(name) or name if layout else name: tensor for name, tensor in checkpoint.state.items()}
    try:
        return family.like({name: tuple(tensor.shape) for name, tensor in ours.items()})
    except (ValidationError, ZeroDivisionError):  # sizes that no network has, like no channels
        return None


def _fit(network: Network, checkpoint: Checkpoint) -> Fit | None:
    """How it lies in the network, which is built without memory for it."""
    try:
        with torch.device("meta"):
            return fits.fit(network, checkpoint)[0]
    except (RuntimeError, TypeError, ValueError):  # sizes that no network of the family has
        return None


def _questions(network: Network, checkpoint: Checkpoint) -> dict[str, str]:
    layout = layout_of(checkpoint.state, network.layouts)
    asked = {name: words for name, words in (layout.asks if layout else {}).items() if getattr(network, name) is None}
    if fits.lacks_normalise(network, checkpoint):
        usual = getattr(network, "usual_normalise", None)
        known = f"{fits.in_yaml(usual())} where it is of the library's own, " if usual else ""
        asked["normalise"] = f"{known}{{mean: 0, std: 1}} if its images went in as they are, else its numbers"
    return asked


# ---- as it is shown ------------------------------------------------------------------------------------------------


def as_values(found: Recognised, file: Path, sha256: str) -> dict[str, Any]:
    """All that was found, as plain values."""
    checkpoint, fit = found.checkpoint, found.fit
    return {
        "file": str(file),
        "sha256": sha256,
        "entry": checkpoint.entry,
        "entries": list(checkpoint.entries),
        "stripped": list(checkpoint.stripped),
        "left_out": list(checkpoint.left_out),
        "converted": checkpoint.converted,
        "normalise": checkpoint.normalise.model_dump() if checkpoint.normalise else None,
        "tensors": len(checkpoint.state),
        "network": network_of(found),
        "questions": found.questions,
        "names": fit.layout if fit else None,
        "channels": fit.channels if fit else None,
        "classes": None if fit is None or fit.headless else fit.classes,
        "matched": list(fit.matched) if fit else [],
        "missing": list(fit.missing) if fit else [],
        "unused": list(fit.unused) if fit else list(checkpoint.state),
        "misshapen": list(fit.misshapen) if fit else [],
        "idle": list(fit.idle) if fit else [],
        "broken": checkpoints.broken(checkpoint.state),
    }


def network_of(found: Recognised) -> dict[str, Any] | None:
    """The network as the config has it, its family first, its normaliser last."""
    if found.network is None:
        return None
    values = found.network.canonical()
    order = [name for name in ("family", "name", *values) if name in values and name != "normalise"]
    return {name: values[name] for name in (*order, *(["normalise"] if "normalise" in values else []))}
