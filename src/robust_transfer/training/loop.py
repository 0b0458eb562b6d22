"""Training: batches, adversarial examples of them, the loss, the step, selection, and state that survives a kill."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from robust_transfer.attacks.perturb import perturb
from robust_transfer.attacks.ready import attacking
from robust_transfer.data.augment import random_crop, random_flip
from robust_transfer.data.tensors import Data, Part
from robust_transfer.errors import UserError
from robust_transfer.models.classifier import Classifier, freeze_but, predict, to_pixels, training_mode
from robust_transfer.plan.specs import Inputs, Recipe, Schedule
from robust_transfer.training import checkpoint
from robust_transfer.training.checkpoint import Progress
from robust_transfer.training.randomness import order, reseed
from robust_transfer.training.schedule import learning_rate
from robust_transfer.training.signals import Interrupted, StopRequest

log = logging.getLogger(__name__)
LOOK_EVERY = 20
"""Iterations between looks at the loss: on a GPU each look waits for the device."""


def train(
    network: Classifier, data: Data, recipe: Recipe, run: str, state: Path, every: float, stop: StopRequest
) -> list[dict[str, float]]:
    """Train a network in place by a recipe; it ends with the selected weights, in evaluation mode.

    run: the node's id, to which the saved state is bound. state: the file of that state.
    every: seconds between savings. stop: looked at between iterations.

    Returns:
        The history: for each epoch the loss (mean over iterations), and accuracies in per cent on the validation split.

    Raises:
        UserError: where the loss is not finite, or an epoch has no whole batch.
        Interrupted: where a stop was requested; the state is saved then.
    """
    schedule = recipe.schedule
    per_epoch = len(data.train) // schedule.batch_size
    if per_epoch == 0:
        raise UserError(
            f"the training split has {len(data.train)} images, fewer than one batch of {schedule.batch_size}; "
            "lower batch_size or keep more images"
        )
    frozen = freeze_but(network, recipe.trainable)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(trained, schedule.lr, schedule.momentum, weight_decay=schedule.weight_decay)
    progress = checkpoint.restore(state, run, network, optimiser) or Progress()
    if progress.iteration:
        log.info("continuing at iteration %d (epoch %d)", progress.iteration, progress.iteration // per_epoch + 1)

    saved_at = time.monotonic()
    losses = progress.losses
    epoch_order = None
    while progress.iteration < schedule.epochs * per_epoch:
        epoch, position = divmod(progress.iteration, per_epoch)
        if epoch_order is None or position == 0:
            epoch_order = order(schedule.seed, epoch, len(data.train))
        reseed(schedule.seed, "iteration", progress.iteration)
        chosen = epoch_order[position * schedule.batch_size : (position + 1) * schedule.batch_size]
        images, labels = _batch(data.train, chosen, schedule)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(schedule, progress.iteration, per_epoch)

        with _diverging(progress.iteration, per_epoch):
            loss = _loss(network, images, labels, recipe, frozen)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

        losses.append(loss.detach())
        progress.iteration += 1
        ends_epoch = progress.iteration % per_epoch == 0
        stopping = bool(stop)  # asked once an iteration: a later request waits until the next one's state can be saved
        saves = stopping or time.monotonic() - saved_at > every
        if ends_epoch or saves or len(losses) % LOOK_EVERY == 0:
            _must_be_finite(losses, progress.iteration, per_epoch)
        if ends_epoch:
            with _diverging(progress.iteration - 1, per_epoch):
                _end_epoch(network, data, recipe, progress, torch.stack(losses).mean().item())
            losses.clear()
        if saves:
            checkpoint.save(state, run, progress, network, optimiser)
            saved_at = time.monotonic()
        if stopping:
            raise Interrupted(stop.signal)

    if progress.kept:
        network.load_state_dict(progress.kept)
    network.eval()
    return progress.history


def _batch(part: Part, chosen: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    chosen = chosen.to(part.images.device)
    images = to_pixels(part.images[chosen])
    if schedule.crop_padding:
        images = random_crop(images, schedule.crop_padding)
    if schedule.flip:
        images = random_flip(images)
    return images, part.labels[chosen]


def _loss(network: Classifier, images: Tensor, labels: Tensor, recipe: Recipe, frozen: list) -> Tensor:
    """Cross entropy: of the clean batch, or weighted with that of adversarial examples made against the network now.

    Clean and adversarial examples pass through the network separately, so that each batch norm sees one kind at a time.
    """
    inputs = recipe.inputs
    if inputs.attack is None:
        training_mode(network, frozen, recipe.frozen_statistics)
        return F.cross_entropy(network(images), labels)
    with attacking(network):
        adversarial = perturb(network, images, labels, inputs.attack)
    training_mode(network, frozen, recipe.frozen_statistics)
    loss = (1 - inputs.clean_weight) * F.cross_entropy(network(adversarial), labels)
    if inputs.clean_weight:
        loss = loss + inputs.clean_weight * F.cross_entropy(network(images), labels)
    return loss


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


def _end_epoch(network: Classifier, data: Data, recipe: Recipe, progress: Progress, loss: float) -> None:
    """Measure on the validation split, write the history, keep the weights if they are the best (later on a tie)."""
    entry = {"epoch": progress.iteration // (len(data.train) // recipe.schedule.batch_size), "loss": loss}
    if len(data.validation):
        entry |= validate(network, data.validation, recipe.inputs, recipe.schedule)
    if recipe.schedule.select == "best_validation" and (progress.best is None or entry["selected_by"] >= progress.best):
        progress.best = entry["selected_by"]
        progress.kept = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    progress.history.append(entry)
    log.info(" ".join(f"{key} {value:.4g}" for key, value in entry.items()))


def validate(network: Classifier, part: Part, inputs: Inputs, schedule: Schedule) -> dict[str, float]:
    """Accuracy in per cent on a validation split: clean, under the training attack, and weighted as the loss is.

    The weighted mean selects the epoch; adversarial accuracy is measured only where it does.
    """
    clean = _accuracy(predict(network, part.images), part.labels)
    found = {"clean": clean, "selected_by": clean}
    if inputs.attack and schedule.select == "best_validation":
        reseed(schedule.seed, "validation")
        right = 0
        for images, labels in zip(part.images.split(512), part.labels.split(512), strict=True):
            with attacking(network):
                adversarial = perturb(network, to_pixels(images), labels, inputs.attack)
            right += int((predict(network, adversarial).argmax(1) == labels).sum())
        found["adversarial"] = 100 * right / len(part)
        found["selected_by"] = inputs.clean_weight * clean + (1 - inputs.clean_weight) * found["adversarial"]
    return found


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return 100 * (logits.argmax(1) == labels).float().mean().item()
