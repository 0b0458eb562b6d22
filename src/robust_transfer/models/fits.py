"""How a checkpoint lies in a network: which tensors find their places, and what has to be said of the network."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.models.checkpoints import Checkpoint, listed
from robust_transfer.models.classifier import Classifier
from robust_transfer.specs.layouts import layout_of
from robust_transfer.specs.networks import Network, Normalise

HEADLESS = 2
"""Classes of the head that weights without one get."""


@dataclass(frozen=True)
class Fit:
    """How a checkpoint lies in a network.

    state: our name -> tensor. matched, missing: our names of tensors that are there, or not. unused: the checkpoint's
    names of what the network has not. misshapen: what has another shape, in words. idle: what its own library never
    uses. layout: whose names they are; "" is ours.
    """

    channels: int
    classes: int
    state: dict[str, Tensor]
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    misshapen: tuple[str, ...]
    idle: tuple[str, ...]
    layout: str

    @property
    def distance(self) -> int:
        """How many tensors do not fit."""
        return len(self.missing) + len(self.unused) + len(self.misshapen)

    @property
    def headless(self) -> bool:
        """Whether the checkpoint has features alone."""
        return not any(name.startswith("head.") for name in self.state)


def fit(network: Network, checkpoint: Checkpoint) -> tuple[Fit, Classifier]:
    """How a checkpoint lies in a network; and the network, newly built for its images and classes."""
    names = network.names(checkpoint.state)
    theirs = {ours: name for name, ours in names.items()}
    state = {ours: checkpoint.state[name] for name, ours in names.items()}
    metadata = checkpoint.metadata or {}
    stems = (tensor.shape[1] for name, tensor in state.items() if name.startswith("stem.") and tensor.ndim == 4)
    channels = next(stems, network.channels or 3)
    classes = metadata.get("classes") or _rows_of_head(state)
    model = files.build(network, channels, classes)
    if "head" in metadata:
        model.renew_head(classes, **metadata["head"])
    headless = not any(name.startswith("head.") for name in state)
    expected = {
        name: tensor
        for name, tensor in model.state_dict().items()
        # Old checkpoints lack the counters of batch norms, which nothing here reads; a transfer has a head of its own.
        if name in state or not (name.endswith("num_batches_tracked") or (headless and name.startswith("head.")))
    }
    here = [name for name in expected if name in state]
    other = [
        name
        for name in here
        if state[name].shape != expected[name].shape
        or expected[name].is_floating_point() > state[name].is_floating_point()
    ]
    found = Fit(
        channels,
        classes,
        state,
        matched=tuple(name for name in here if name not in other),
        missing=tuple(name for name in expected if name not in state),
        unused=tuple(name for ours, name in theirs.items() if ours not in expected),
        misshapen=tuple(
            f"{theirs[name]} is {_form(state[name])} where {_form(expected[name])} is wanted" for name in other
        ),
        idle=tuple(name for name in checkpoint.state if name not in names),
        layout=layout.whose if (layout := layout_of(checkpoint.state, network.layouts)) else "",
    )
    return found, model


def _rows_of_head(state: Mapping[str, Tensor]) -> int:
    """The classes of a head; HEADLESS where there is none."""
    rows = (len(state[name]) for name in ("head.bias", "head.weight") if name in state and state[name].ndim)
    return next(rows, 0) or HEADLESS


def _form(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f" of {str(tensor.dtype).removeprefix('torch.')}"
    return (" x ".join(map(str, tensor.shape)) or "one number") + kind


def fitted(network: Network, checkpoint: Checkpoint, origin: str) -> tuple[Classifier, Fit]:
    """The network with the weights of a checkpoint; features alone get a head of zeros. origin: as in unwrapped.

    Raises:
        UserError: where a tensor is missing, or one too many, or of another shape; where the normaliser of the
            checkpoint is another than the network's; or where something is not said that no name of a tensor tells.
    """
    try:
        found, model = fit(network, checkpoint)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{origin} does not hold the weights of {network.slug}: {error}") from None
    if found.distance:
        wrong = [f"it lacks {listed(found.missing)}"] if found.missing else []
        wrong += [f"it holds {listed(found.unused)}, which the network has not"] if found.unused else []
        wrong += [listed(found.misshapen)] if found.misshapen else []
        raise UserError(
            f"{origin} does not hold the weights of {network.slug}: {'; '.join(wrong)}; `robust-transfer inspect FILE` "
            "lists all, and the network that it would be"
        )
    if question := untold(network, checkpoint):
        raise UserError(f"{origin}: {question}")
    state = dict(model.state_dict()) | found.state
    if found.headless:
        state |= {f"head.{name}": torch.zeros_like(tensor) for name, tensor in model.head.state_dict().items()}
    model.load_state_dict(state)
    return model, found


def untold(network: Network, checkpoint: Checkpoint) -> str | None:
    """What the config must say of the network and does not, or says otherwise than the checkpoint; and the remedy."""
    held, given = checkpoint.normalise, network.normalise
    if checkpoint.metadata:  # the whole network stands in it
        return None
    if held and not (isinstance(given, Normalise) and given.agrees(held)):
        other = given if isinstance(given, str) else in_yaml(given)
        words = f"it holds a normaliser, and the network in the config has another ({other})"
        return f"{words}; write normalise: {in_yaml(held)}"
    layout = layout_of(checkpoint.state, network.layouts)
    for name, values in (layout.asks if layout else {}).items():
        if getattr(network, name) is None:
            return f"the names of its tensors do not tell the network's {name}; write {name}: {values}"
    if not lacks_normalise(network, checkpoint):
        return None
    usual = getattr(network, "usual_normalise", None)
    known = f", like {in_yaml(usual())}, which the library's own weights expect" if usual else ""
    return (
        f"it holds no normaliser; write what its images were normalised by as the network's normalise{known}: "
        "{mean: 0, std: 1} if they went in as they are, or [0.5, 0.5, 0.5] for both if these are its numbers"
    )


def lacks_normalise(network: Network, checkpoint: Checkpoint) -> bool:
    """Whether neither the checkpoint nor the network says by what its images were normalised."""
    given, usual = network.normalise, getattr(network, "usual_normalise", None)
    if checkpoint.normalise or checkpoint.metadata or given != Normalise():
        return False
    if usual:
        return not usual().agrees(given)
    return layout_of(checkpoint.state, network.layouts) is not None


def in_yaml(normalise: Normalise) -> str:
    """`{mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}`."""
    return f"{{mean: {normalise.mean}, std: {normalise.std}}}"
