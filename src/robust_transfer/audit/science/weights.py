"""Do stored weights obey their recipes: frozen parts, held statistics, spectral norms, choices among candidates?"""

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from robust_transfer.audit.science.sound import Sound, note, wrong
from robust_transfer.audit.stored import Finding
from robust_transfer.recipes import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robust_transfer.models.classifier import Classifier

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
TOLERANCE = 1e-4
"""Of a spectral norm, relative: float32 and its singular values."""
FEW = 3


def findings(sound: Sound) -> Iterator[Finding]:
    """Weights that are not what their recipe says, and how far updated statistics of frozen parts have moved."""
    moved: dict[str, float] = {}
    for node, recipe in sound.of("transfer"):
        with safe_open(sound.path(node.id), "pt") as file:
            network = _network(file)
            if recipe.spectral:
                norms = _spectral_norms(file, network, recipe.spectral.units)
                yield from _not_beta(sound.path(node.id), node.id, norms, recipe.spectral.beta)
            if "start" not in node.parents:
                continue
            with safe_open(sound.path(node.parents["start"]), "pt") as before:
                there = set(before.keys()) & set(file.keys())
                kept = [name for name in _kept(network, recipe) if name in there]
                changed = [name for name in kept if not _equal(file.get_tensor(name), before.get_tensor(name))]
                if recipe.frozen_statistics == "update":
                    shift = _shift(file, before, network, recipe)
                    moved |= {} if shift is None else {node.id: shift}
        if changed:
            sentence = f"{len(changed)} tensors that its recipe freezes are not those of its start: {_few(changed)}"
            yield wrong(f"{sound.path(node.id)}: {sentence}", (node.id,))
    if moved:
        least, most = min(moved.values()), max(moved.values())
        yield note(
            f"batch norm's statistics of the frozen part were updated in {len(moved)} models, as their recipes say; "
            f"the means moved by {least:.2g} to {most:.2g} standard deviations on average",
            tuple(moved),
        )
    yield from _choices(sound)


def _not_beta(path: Path, node_id: str, norms: dict[str, float], beta: float) -> Iterator[Finding]:
    if off := [f"{name} has {norm:.6g}" for name, norm in norms.items() if abs(norm / beta - 1) > TOLERANCE]:
        yield wrong(f"{path}: {len(off)} spectral norms are not beta = {beta:g}: {_few(off)}", (node_id,))


def _few(names: list[str]) -> str:
    return ", ".join(names[:FEW]) + (" and others" if len(names) > FEW else "")


def _described(file: Any) -> dict[str, Any]:
    from robust_transfer.models.files import METADATA

    return json.loads(file.metadata()[METADATA])


def _network(file: Any) -> "Classifier":
    """The network that a model's file describes, without its weights."""
    described = _described(file)
    form = {key: described[key] for key in ("network", "channels", "classes", "head") if key in described}
    return _structure(json.dumps(form, sort_keys=True))


@lru_cache(maxsize=256)
def _structure(form: str) -> "Classifier":
    from pydantic import TypeAdapter

    from robust_transfer.models.families import AnyNetwork
    from robust_transfer.models.files import build

    content = json.loads(form)
    spec, classes = TypeAdapter(AnyNetwork).validate_python(content["network"]), content["classes"]
    network = build(spec, content["channels"], classes)
    if "head" in content:
        network.renew_head(classes, **content["head"])
    return network.to("meta")


def _kept(network: "Classifier", recipe: Recipe) -> Iterator[str]:
    """The names of the tensors that a recipe leaves as the start has them."""
    from robust_transfer.models.classifier import NORMS

    trained = _inside(network.trained_parts(recipe.trainable))
    anew = _inside(network.trained_parts(recipe.reset)) if recipe.reset else set()
    anew |= _inside(network.last_units(recipe.spectral.units)) if recipe.spectral else set()
    anew |= _inside([network.head]) if recipe.head != "keep" else set()
    for name, module in network.named_modules():
        held = recipe.frozen_statistics if module not in trained else recipe.trained_statistics
        of_norm = isinstance(module, NORMS)
        for key, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if key in STATISTICS:
                kept = held == "freeze" and (of_norm or module not in trained)
            else:
                kept = module not in trained or (of_norm and recipe.affine == "freeze")
            if kept and module not in anew:
                yield f"{name}.{key}" if name else key


def _inside(parts: "Iterable[nn.Module]") -> "set[nn.Module]":
    return {module for part in parts for module in part.modules()}


def _shift(file: Any, before: Any, network: "Classifier", recipe: Recipe) -> float | None:
    """By how many standard deviations of the start the running means of the frozen part moved, the mean over all
    channels; None where it has none.
    """
    import torch

    from robust_transfer.models.classifier import NORMS

    trained = _inside(network.trained_parts(recipe.trainable))
    names = [n for n, module in network.named_modules() if isinstance(module, NORMS) and module not in trained]
    shifts = []
    for name in names:
        mean, old, variance = (
            f.get_tensor(f"{name}.{key}")
            for f, key in ((file, STATISTICS[0]), (before, STATISTICS[0]), (before, STATISTICS[1]))
        )
        shifts.append((mean - old).abs() / (variance + 1e-5).sqrt())
    return float(torch.cat(shifts).mean()) if shifts else None


def _spectral_norms(file: Any, network: "Classifier", units: int) -> dict[str, float]:
    """The largest singular value of each weight of the last units, convolutions as C_out x (C_in K^2)."""
    import torch

    last = _inside(network.last_units(units))
    names = [
        f"{name}.weight"
        for name, module in network.named_modules()
        if module in last and isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    return {name: float(torch.linalg.matrix_norm(file.get_tensor(name).flatten(1).double(), 2)) for name in names}


def _choices(sound: Sound) -> Iterator[Finding]:
    """Models chosen among candidates that are none of them."""
    for node, spec in sound.of("choose"):
        with safe_open(sound.path(node.id), "pt") as file:
            chosen = _described(file).get("chosen", {})
            fitting = [
                node.parents[f"candidate{i}"]
                for i, values in enumerate(spec.candidates)
                if values.items() <= chosen.items()
            ]
            if not any(_same(file, sound.path(candidate)) for candidate in fitting):
                yield wrong(
                    f"{sound.path(node.id)} is not the candidate that it says was chosen ({chosen})", (node.id,)
                )


def _same(file: Any, candidate: Path) -> bool:
    """Whether two models' files have the same tensors."""
    with safe_open(candidate, "pt") as other:
        names = set(file.keys())
        return names == set(other.keys()) and all(_equal(file.get_tensor(n), other.get_tensor(n)) for n in names)


def _equal(one: "Tensor", other: "Tensor") -> bool:
    return one.shape == other.shape and bool((one == other).all())
