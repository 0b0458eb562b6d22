"""Training: batches, the loss, the step, selection or averaging, and state that survives a kill."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robust_transfer.attacks.perturb import perturb
from robust_transfer.attacks.ready import attacking
from robust_transfer.data import batches
from robust_transfer.data.tensors import PreparedData, TensorSplit
from robust_transfer.errors import UserError
from robust_transfer.models.classifier import (
    Classifier,
    freeze_but,
    images_at_once,
    modules_in_eval,
    predict,
    to_pixels,
)
from robust_transfer.models.few_pixels import fast_on_few_pixels
from robust_transfer.pace import Pace
from robust_transfer.randomness import reseed
from robust_transfer.recipes import Recipe
from robust_transfer.signals import Interrupted, StopRequest
from robust_transfer.specs.schedules import Schedule
from robust_transfer.training import checkpoint
from robust_transfer.training.averaging import Average
from robust_transfer.training.checkpoint import Progress
from robust_transfer.training.gradients import Gradients
from robust_transfer.training.lars import Lars
from robust_transfer.training.objective import Objective
from robust_transfer.training.ranks import ALONE, Group
from robust_transfer.training.schedule import in_iterations, iterations_of, learning_rate

log = logging.getLogger(__name__)
LOOK_EVERY = 20
"""Iterations between looks at the loss: on a GPU each look waits for the device."""


def train(
    network: Classifier,
    data: PreparedData,
    recipe: Recipe,
    run: str,
    state: Path,
    every: float,
    stop: StopRequest,
    teacher: Classifier | None = None,
    source_features: Tensor | None = None,
    group: Group = ALONE,
    computed: dict[str, Any] | None = None,
) -> list[dict[str, float]]:
    """Train a network in place by a recipe; it ends with the selected or averaged weights, in evaluation mode.

    run: the node's id, to which the saved state is bound. state: the file of that state.
    every: seconds between savings. stop: looked at between iterations.
    teacher, source_features: see Objective. group: the processes that train together; each returns the same.
    computed: where it is noted into how many parts batches were split, if at all.

    Returns:
        The history: for each epoch the loss (mean over iterations), the learning rate (of its last), the seconds it
        took, and accuracies in per cent on the validation split where they select the epoch, and at the end. Where
        weights are averaged and measured, a last entry, without a rate, is theirs.

    Raises:
        UserError: where the loss is not finite, an epoch has no whole batch, the run ends before what the recipe has in
            it, or lacks what a term needs.
        Interrupted: where a stop was requested; the state is saved then.
    """
    schedule = recipe.schedule
    indices = batches.taking_part(data.train.labels, recipe.inputs, schedule.seed)
    per_epoch = len(indices) // schedule.batch_size
    if per_epoch == 0:
        raise UserError(
            f"{len(indices)} training images take part, fewer than one batch of {schedule.batch_size}; "
            "lower batch_size or keep more images"
        )
    length = iterations_of(schedule, per_epoch)
    head_first = in_iterations(schedule, schedule.head_first, per_epoch)
    _must_be_reached(recipe, length)
    frozen = freeze_but(network, recipe.trainable, recipe.affine == "train")
    in_eval = modules_in_eval(network, frozen, recipe.frozen_statistics, recipe.trained_statistics)
    network.dropout = recipe.dropout
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = _optimiser(trained, schedule)
    objective = Objective(network, recipe, in_eval, teacher, source_features, group)
    averaging = recipe.averaging
    average = Average(network) if averaging else None
    progress = checkpoint.restore(state, run, network, optimiser, objective, average) or Progress()
    if progress.iteration:
        log.info("continuing at iteration %d (epoch %d)", progress.iteration, progress.iteration // per_epoch + 1)

    gradients = Gradients(network, objective, group, progress.parts if group.part.count == 1 else 1)
    saved_at = time.monotonic()
    pace = Pace("iterations", length, progress.iteration, at_most=schedule.decay == "plateau")
    losses = progress.losses
    replay = objective.free.attack.replay if objective.free else 1
    two_crops = next((term.two_crops for term in recipe.terms.used.values() if term.two_crops), None)
    stream = batches.stream(data.train, indices, schedule, progress.iteration // replay, two_crops, group.part)
    batch = None
    while progress.iteration < length and not progress.plateau.is_over(schedule):
        if batch is None or progress.iteration % replay == 0:
            batch = next(stream)
        for parameters in optimiser.param_groups:
            parameters["lr"] = learning_rate(schedule, progress.iteration, per_epoch, progress.plateau.falls)

        quicker = nullcontext() if recipe.compile else fast_on_few_pixels(network)
        with _diverging(progress.iteration, per_epoch), quicker:
            loss = group.mean(trained, gradients(*batch))
        if progress.iteration < head_first:
            _leave_all_but(network.head, trained)
        optimiser.step()

        losses.append(loss)
        progress.parts = gradients.parts
        progress.iteration += 1
        if average and averaging and progress.iteration % averaging.every == 0:
            average.take(network)
        ends_epoch = progress.iteration % per_epoch == 0 or progress.iteration == length
        # Asked once an iteration: a later request waits until the next one's state can be saved.
        stopping = stop.signal if stop else None
        stopping, saves = group.asked(stopping, stopping is not None or time.monotonic() - saved_at > every)
        if ends_epoch or saves or len(losses) % LOOK_EVERY == 0:
            _must_be_finite(losses, progress.iteration, per_epoch)
        if ends_epoch:
            with _diverging(progress.iteration - 1, per_epoch):
                rate = optimiser.param_groups[0]["lr"]
                _end_epoch(network, data, recipe, progress, per_epoch, progress.iteration == length, rate, group)
            losses.clear()
        pace.tell(progress.iteration, f" (epoch {math.ceil(progress.iteration / per_epoch)})")
        if saves and group.leads:
            checkpoint.save(state, run, progress, network, optimiser, objective, average)
            saved_at = time.monotonic()
        elif saves:
            objective.state()  # of which each process has a part
        if stopping is not None:
            raise Interrupted(stopping)

    if progress.kept:
        network.load_state_dict(progress.kept)
    if average and averaging:
        average.put(network)
        reseed(schedule.seed, "statistics")
        # Batch norm counts every batch's variance: of a set that lies class by class, batches in order have too little.
        shuffled = indices[torch.randperm(len(indices))]
        average.renew_statistics(network, batches.one_pass(data.train, shuffled, schedule), averaging.dropout)
        if len(data.validation) and recipe.terms.has_accuracy:
            with _diverging(length - 1, per_epoch):
                last = {name: value for name, value in progress.history[-1].items() if name != "lr"}
                found = group.agreed(validate(network, data.validation, recipe))
                progress.history.append(last | found | {"seconds": round(progress.count_seconds(), 3)})
    network.dropout = 0.0
    network.eval()
    if computed is not None and progress.parts > 1:
        computed["parts"] = progress.parts
    return progress.history


def _optimiser(trained: list[nn.Parameter], schedule: Schedule) -> Optimizer:
    """The schedule's, of these parameters."""
    if schedule.optimiser == "lars":
        return Lars(trained, schedule.lr, schedule.momentum, weight_decay=schedule.weight_decay)
    fused = all(parameter.device.type == "cpu" for parameter in trained)
    optimiser = torch.optim.SGD(
        trained, schedule.lr, schedule.momentum, weight_decay=schedule.weight_decay, fused=fused
    )
    if fused and schedule.momentum:
        # torch makes velocities in the first step, all at once or not at all; those of zero come to the same.
        for parameter in trained:
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def _must_be_reached(recipe: Recipe, length: int) -> None:
    """What is to come within the run, whose length may follow from the number of images."""
    if recipe.averaging and recipe.averaging.every > length:
        raise UserError(
            f"the training ends after {length} iterations, before the first average; "
            "lower averaging.every or train longer"
        )


def _leave_all_but(head: nn.Module, trained: list[nn.Parameter]) -> None:
    """Take away the other parameters' gradients: the optimiser then passes them over, weight decay and momentum too."""
    own = set(head.parameters())
    for parameter in trained:
        if parameter not in own:
            parameter.grad = None


def _must_be_finite(losses: list[Tensor], iteration: int, per_epoch: int) -> None:
    values = torch.stack(losses).tolist()
    bad = [i for i, value in enumerate(values) if not math.isfinite(value)]
    if bad:
        raise _diverged(f"the loss is {values[bad[0]]}", iteration - len(values) + bad[0], per_epoch)


@contextmanager
def _diverging(iteration: int, per_epoch: int) -> Iterator[None]:
    """An attack on weights that have diverged may find out before the loss is looked at."""
    try:
        yield
    except FloatingPointError as error:
        raise _diverged(str(error), iteration, per_epoch) from None


def _diverged(what: str, iteration: int, per_epoch: int) -> UserError:
    return UserError(
        f"{what} at iteration {iteration + 1} (epoch {iteration // per_epoch + 1}); the training has diverged: "
        "lower the learning rate (lr) or look for broken images"
    )


def _end_epoch(
    network: Classifier,
    data: PreparedData,
    recipe: Recipe,
    progress: Progress,
    per_epoch: int,
    is_last: bool,
    rate: float,
    group: Group,
) -> None:
    """Write the history; measure, where something depends on it; keep the weights if they are the best (later on a
    tie), and note whether the accuracy still grows.
    """
    schedule = recipe.schedule
    selects = (schedule.select == "best_validation" or is_last) and recipe.terms.has_accuracy
    entry = {
        "epoch": math.ceil(progress.iteration / per_epoch),
        "loss": torch.stack(progress.losses).mean().item(),
        "lr": rate,
    }
    if selects and len(data.validation):
        entry |= group.agreed(validate(network, data.validation, recipe))
    if schedule.decay == "plateau" and schedule.patience:
        watched = group.agreed(validate(network, data.in_memory(schedule.watch), recipe, adversarially=True))
        entry["watched"] = watched.get("adversarial", watched["clean"])
        progress.plateau.look(entry["watched"], schedule.patience)
    if schedule.select == "best_validation" and (progress.best is None or entry["selected_by"] >= progress.best):
        progress.best = entry["selected_by"]
        progress.kept = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    entry["seconds"] = round(progress.count_seconds(), 3)
    progress.seconds = 0.0
    progress.history.append(entry)
    log.info(" ".join(f"{key} {value:.4g}" for key, value in entry.items()))


def validate(network: Classifier, part: TensorSplit, recipe: Recipe, adversarially: bool = False) -> dict[str, float]:
    """Accuracy in per cent on a split: clean, under the training attack, and weighted as the loss is.

    The weighted mean selects the epoch; adversarial accuracy is measured only where it does, or if it is asked for.
    """
    clean = _accuracy(predict(network, part.images), part.labels)
    found = {"clean": clean, "selected_by": clean}
    inputs, schedule = recipe.inputs, recipe.schedule
    attack = inputs.attack
    if attack and attack.evaluates and (adversarially or schedule.select == "best_validation"):
        reseed(schedule.seed, "validation")
        right = 0
        count = images_at_once(part.images)
        for images, labels in zip(part.images.split(count), part.labels.split(count), strict=True):
            with attacking(network):
                adversarial = perturb(network, to_pixels(images), labels, attack)
            right += int((predict(network, adversarial).argmax(1) == labels).sum())
        found["adversarial"] = 100 * right / len(part)
        found["selected_by"] = inputs.clean_weight * clean + (1 - inputs.clean_weight) * found["adversarial"]
    return found


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return 100 * (logits.argmax(1) == labels).float().mean().item()
