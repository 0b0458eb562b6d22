"""pretrain and transfer: a network, trained by a recipe from a random start or from another model's weights."""

from typing import Any

from safetensors.torch import load_file

from robust_transfer.data import tensors
from robust_transfer.models import files
from robust_transfer.models.classifier import reset_last, reset_parameters
from robust_transfer.models.normalise import normaliser
from robust_transfer.models.spectral import bake, reparametrise_spectral, settle
from robust_transfer.objectives.contrastive import projection_head
from robust_transfer.plan.specs import Recipe
from robust_transfer.stages.job import Job
from robust_transfer.training.loop import train
from robust_transfer.training.randomness import reseed
from robust_transfer.training.signals import listening


def run(job: Job) -> dict[str, Any]:
    """Train and write the model; returns the last epoch's history entry and the best selection metric."""
    recipe = Recipe.model_validate(job.spec)
    tuned = {}
    if recipe.tuned:
        chosen = files.about(job.parent("tuned"))["chosen"]
        tuned = {name: chosen[name] for name in recipe.tuned}
        recipe = recipe.with_values(tuned)
    data = tensors.load(job.parent("data"), job.device, job.data_root)
    reseed(recipe.schedule.seed, "initialisation")
    if job.has("start"):
        network, spec, channels, _ = files.load(job.parent("start"))
        if recipe.reset:
            reset_last(network, recipe.reset)
        if recipe.normalise:
            network.normalise = normaliser(recipe.normalise, channels)
            spec = spec.model_copy(update={"normalise": recipe.normalise})
    else:
        spec, channels = recipe.network, data.channels
        network = files.build(spec, channels, data.classes)
        if recipe.initialisation == "pytorch":
            reset_parameters(network)
    if recipe.head != "keep" and (job.has("start") or recipe.head != "new"):
        network.renew_head(data.classes, **({} if recipe.head == "new" else recipe.head.model_dump()))
    if recipe.terms.contrastive:
        about = recipe.terms.contrastive
        network.head = projection_head(network.width, about.size, about.batch_norm)
    if recipe.spectral:
        reparametrise_spectral(network, **recipe.spectral.model_dump())
    network.to(job.device)
    teacher = files.load(job.parent("teacher"))[0].to(job.device) if job.has("teacher") else None
    features = load_file(job.parent("features"))["features"].to(job.device) if job.has("features") else None
    with listening() as stop:
        every = job.machine["checkpoint_seconds"]
        history = train(network, data, recipe, job.node.id, job.checkpoint, every, stop, teacher, features)
    settle(network)
    bake(network)
    if recipe.terms.contrastive:
        network.renew_head(data.classes)  # the projection was for this training alone
    files.save(job.output, network, spec, channels, data.classes, tuned=tuned)
    metrics = dict(history[-1])
    if recipe.schedule.select == "best_validation":
        metrics["best"] = max(entry["selected_by"] for entry in history)
    return metrics
