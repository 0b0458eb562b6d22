"""pretrain and transfer: a network, trained by a recipe from a random start or from another model's weights."""

import csv
import io
from contextlib import nullcontext
from typing import Any

import torch
from safetensors.torch import load_file

from robust_transfer.data import tensors
from robust_transfer.data.tensors import PreparedData
from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.models.classifier import Classifier, reset_last, reset_parameters
from robust_transfer.models.normalise import normaliser
from robust_transfer.models.spectral import reparametrise_spectral, set_spectral_norms, to_plain_weights
from robust_transfer.precision import computing_in
from robust_transfer.randomness import reseed
from robust_transfer.recipes import Recipe
from robust_transfer.signals import StopRequest, listening
from robust_transfer.specs.networks import Network
from robust_transfer.stages.job import HISTORY, Job
from robust_transfer.training.loop import train
from robust_transfer.training.ranks import Group, count_for, started

COLUMNS = ("epoch", "loss", "lr", "clean", "adversarial", "selected_by", "watched", "seconds")
"""Of a history, in the order of its file."""


def run(job: Job) -> dict[str, Any]:
    """Train and write the model; returns the last epoch's history entry and the best selection metric.

    Raises:
        UserError, Interrupted: see train.
    """
    recipe, tuned = _recipe(job)
    with started(job, count_for(job, recipe), follow) as group:
        network, spec, channels, data, history = _made(job, recipe, group)
    files.save(job.output, network, spec, channels, data.classes, tuned=tuned)
    job.beside[HISTORY] = as_csv(history)
    metrics = {name: value for name, value in history[-1].items() if name not in ("lr", "seconds")}
    if recipe.schedule.select == "best_validation":
        metrics["best"] = max(entry["selected_by"] for entry in history)
    return metrics


def follow(job: Job, group: Group) -> None:
    """The same in a process that only helps: it writes nothing."""
    recipe, _ = _recipe(job)
    _made(job, recipe, group)


def _made(
    job: Job, recipe: Recipe, group: Group
) -> tuple[Classifier, Network, int, PreparedData, list[dict[str, float]]]:
    """The trained network, its spec, its images' channels, the data and the history."""
    data = tensors.load(job.parent("data"), job.device, job.data_root)

    # What the network becomes. All draws from here on follow the recipe's seed, in this order.
    reseed(recipe.schedule.seed, "initialisation")
    network, spec, channels = _inherited(job, recipe) if job.has("start") else _random(recipe, data)
    if recipe.head != "keep" and (job.has("start") or recipe.head != "new"):
        network.renew_head(data.classes, **({} if recipe.head == "new" else recipe.head.model_dump()))
    for term in recipe.terms.used.values():
        term.equip(network)
    if recipe.spectral:
        reparametrise_spectral(network, **recipe.spectral.model_dump())

    network.to(job.device)
    if on_gpu := job.device.type == "cuda":
        network.to(memory_format=torch.channels_last)
    job.computed |= {"precision": recipe.precision, "compiled": recipe.compile, "channels_last": on_gpu}
    job.computed["processes"] = group.part.count
    _must_take(network, spec, data)
    history = _trained(job, network, data, recipe, group)

    # What is left of it.
    set_spectral_norms(network)
    to_plain_weights(network)
    for term in recipe.terms.used.values():
        term.strip(network, data.classes)
    return network, spec, channels, data, history


def _recipe(job: Job) -> tuple[Recipe, dict[str, float]]:
    """The recipe with the values that it takes from a choice among other runs; and these."""
    recipe: Recipe = job.spec
    tuned = _chosen(job)
    return recipe.with_values(tuned) if tuned else recipe, tuned


def as_csv(history: list[dict[str, float]]) -> str:
    """A history as text: a line an epoch, blank where nothing was measured. Only `seconds` differ between two runs."""
    columns = [name for name in COLUMNS if any(name in entry for entry in history)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def _chosen(job: Job) -> dict[str, float]:
    """The values that the recipe takes from a choice among other runs."""
    tuned = job.spec.tuned
    if not tuned:
        return {}
    chosen = files.metadata(job.parent("tuned"))["chosen"]
    return {name: chosen[name] for name in tuned}


def _inherited(job: Job, recipe: Recipe) -> tuple[Classifier, Network, int]:
    """The start's network, its spec and its images' channels; the last parts anew where the recipe resets them."""
    network, spec, channels, _ = files.load(job.parent("start"))
    if recipe.reset:
        reset_last(network, recipe.reset)
    if recipe.normalise:
        network.normalise = normaliser(recipe.normalise, channels)
        spec = spec.with_(normalise=recipe.normalise)
    return network, spec, channels


def _random(recipe: Recipe, data: PreparedData) -> tuple[Classifier, Network, int]:
    """A newly initialised network, its spec and its images' channels."""
    spec, channels = recipe.network, data.channels
    assert spec, "a random start has no network to inherit"
    network = files.build(spec, channels, data.classes)
    if recipe.initialisation == "pytorch":
        reset_parameters(network)
    return network, spec, channels


@torch.no_grad()
def _must_take(network: Classifier, spec: Network, data: PreparedData) -> None:
    """Show the network one image, before hours of training.

    Raises:
        UserError: where it cannot take images of that form.
    """
    image, _ = next(data.test.plain(1))
    network.eval()
    try:
        network(image)
    except UserError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"{spec.slug} cannot take images of {' x '.join(map(str, image.shape[1:]))} (channels, height, width): "
            f"{str(error).splitlines()[0]}; take larger ones, or another network"
        ) from None


def _trained(job: Job, network: Classifier, data: PreparedData, recipe: Recipe, group: Group) -> list[dict[str, float]]:
    """Train the network in place, with the teacher and the stored features that the node has; see train."""
    teacher = files.load(job.parent("teacher"))[0].to(job.device) if job.has("teacher") else None
    features = load_file(job.parent("features"))["features"].to(job.device) if job.has("features") else None
    asked = listening() if group.leads else nullcontext(StopRequest())
    every, given = job.machine["checkpoint_seconds"], (teacher, features, group, job.computed)
    with asked as stop, computing_in(recipe.precision):
        return train(network, data, recipe, job.node.id, job.checkpoint, every, stop, *given)
