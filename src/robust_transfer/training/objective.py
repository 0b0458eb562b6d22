"""The loss of an iteration, as a recipe composes it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robust_transfer.attacks.losses import cross_entropy
from robust_transfer.attacks.perturb import perturb
from robust_transfer.attacks.ready import ReadyModel, attack_ready
from robust_transfer.data.batches import WHOLE, Part
from robust_transfer.models.classifier import Classifier, Observed, training_mode
from robust_transfer.precision import compile_blocks
from robust_transfer.recipes import Recipe
from robust_transfer.specs.terms import Term
from robust_transfer.training.free import FreePerturbation, is_free
from robust_transfer.training.ranks import ALONE, Group


@dataclass(frozen=True)
class Shown:
    """A batch that the network was shown in training mode, and what that showed.

    images: N x C x H x W float pixels. labels: N int64.
    """

    images: Tensor
    labels: Tensor
    observed: Observed


class Step:
    """One iteration, as terms see it. What it shows is made when it is first asked for.

    images: N x C x H x W float pixels of the training batch, augmented, without noise. labels: N int64.
    indices: N int64, of the images in the training split. crops: N x 2 x C x H x W, where the batch shows two of each
    image, the first of which is in images; else None.
    """

    def __init__(self, objective: "Objective", images: Tensor, labels: Tensor, indices: Tensor):
        self.objective = objective
        self.crops = images if images.dim() == 5 else None
        self.images = images if self.crops is None else images[:, 0]
        self.labels, self.indices = labels, indices

    def noisy(self, images: Tensor) -> Tensor:
        """Images with the noise of the inputs, drawn on their device: 256 photographs' is half a second on a CPU."""
        sigma = self.objective.recipe.inputs.noise
        return images + sigma * torch.randn(images.shape, device=images.device) if sigma else images

    def show(self, images: Tensor) -> Shown:
        """A forward pass of N images like those of the batch, with its labels."""
        return Shown(images, self.labels, self.objective.network.observe(images, unit=self.objective.unit))

    @cached_property
    def pixels(self) -> Tensor:
        """The batch's images with noise: those that the network and the attack are given."""
        return self.noisy(self.images)

    @cached_property
    def clean(self) -> Shown:
        """The batch as it is, with noise."""
        return self.show(self.pixels)

    @cached_property
    def adversarial(self) -> Shown:
        """The training attack's examples of the batch. They pass apart from the clean images, so that each batch norm
        sees one kind at a time.
        """
        return self.show(self.objective.adversarial(self.pixels, self.labels))

    def batches(self) -> Iterator[tuple[float, Shown]]:
        """What is learnt from: weight and batch, first the adversarial one."""
        _ = self.pixels  # noise is drawn before the kind of batch
        clean_weight = self._clean_weight()
        if clean_weight < 1:
            yield 1 - clean_weight, self.adversarial
        if clean_weight:
            yield clean_weight, self.clean

    def _clean_weight(self) -> float:
        inputs = self.objective.recipe.inputs
        if inputs.attack is None:
            return 1.0
        return float(torch.rand(()) < inputs.clean_weight) if inputs.mixing == "either" else inputs.clean_weight


class Objective:
    """Called with a batch, it gives the loss to bring down, a scalar with gradients for what the recipe trains.

    Made before a saved state is restored: the weights a run inherited are those the network has then.

    network: the one that trains. in_eval: its modules whose batch norm statistics stay.
    teacher: whose stage outputs are distilled. source_features: N x width, of the training images as they are, by their
    index in the split. ready: the network as the iteration finds it, in evaluation mode, for attacks; None without one.
    group: the processes among which batches are divided. part: of this process's share, what is looked at now.
    """

    def __init__(
        self,
        network: Classifier,
        recipe: Recipe,
        in_eval: list[nn.Module],
        teacher: Classifier | None = None,
        source_features: Tensor | None = None,
        group: Group = ALONE,
    ):
        self.network, self.recipe, self.in_eval, self.group = network, recipe, in_eval, group
        self.part = WHOLE
        self.teacher = teacher.eval().requires_grad_(False) if teacher else None
        self.source_features = source_features
        attack = recipe.inputs.attack
        self.free = FreePerturbation(attack, group) if is_free(attack) else None
        self.ready: ReadyModel | None = attack_ready(network) if attack and not self.free else None
        used = recipe.terms.used.values()
        self.unit = next((term.observed_unit for term in used if term.observed_unit), None)
        begun = [(term, self._summed(term, term.begin(self))) for term in used]
        self.can_be_split = not recipe.compile and all(term.over_images != "together" for term in used)
        added = [(term, value) for term, value in begun if not term.replaces_cross_entropy]
        self._of_batch = [value for term, value in added if term.function_of == "batch"]
        self._of_step = [value for term, value in added if term.function_of != "batch"]
        # At most one takes the place of the cross entropy: of each batch, or of the step with all its batches.
        self._fit: Callable[[Shown], Tensor] = _exact_cross_entropy if self.free else _cross_entropy
        self._first: Callable[[Step], Tensor] = self._of_batches
        if recipe.compile:
            self._compile()
        for term, value in begun:
            if term.replaces_cross_entropy and term.function_of == "batch":
                self._fit = value
            elif term.replaces_cross_entropy:
                self._first = value

    def _compile(self) -> None:
        """Compile the network's blocks, but for one whose input is looked at, and the copy that is attacked."""
        looked_at = self.network.units()[self.unit - 1] if self.unit else None
        compile_blocks([block for block in self.network.blocks() if block is not looked_at])
        if self.ready:
            compile_blocks([self.ready.network])

    def _summed(self, term: Term, value: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
        """A term whose mean over the parts of a batch is what it is of the whole batch."""
        if term.over_images != "sum":
            return value
        return lambda shown: value(shown) * (self.group.part.count * self.part.count)

    def rows(self, values: Tensor) -> Tensor:
        """Values of images, a row each, of all processes: for what compares a batch's images with each other."""
        return self.group.rows(values)

    def __call__(self, images: Tensor, labels: Tensor, indices: Tensor, part: Part = WHOLE) -> Tensor:
        """The loss of a batch of batches.stream: pixels, N labels and the images' N indices in the training split.

        part: which one of it they are; all parts meet the same network.
        """
        self.part = part
        if self.ready and part.index == 0:
            self.ready.refresh(self.network)
        training_mode(self.network, self.in_eval)
        step = Step(self, images, labels, indices)
        loss = self._first(step)
        for term in self._of_step:
            loss = loss + term(step)
        return loss

    def _of_batches(self, step: Step) -> Tensor:
        loss = torch.zeros((), device=step.images.device)
        for weight, batch in step.batches():
            fit = self._fit(batch)
            for term in self._of_batch:
                fit = fit + term(batch)
            loss = loss + weight * fit
        return loss

    def adversarial(self, images: Tensor, labels: Tensor) -> Tensor:
        """Examples of N x C x H x W pixels by the training attack."""
        if self.free:
            return self.free(images, self.part)
        attack = self.recipe.inputs.attack
        assert self.ready and attack  # a clean run is shown no adversarial batch
        return perturb(self.ready, images, labels, attack)

    def after_backward(self) -> None:
        """To be called once the loss's gradients are there."""
        if self.free:
            self.free.step()

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        return self.free.state() if self.free else {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        if self.free:
            self.free.restore(state)


def _cross_entropy(batch: Shown) -> Tensor:
    return F.cross_entropy(batch.observed.logits, batch.labels)


def _exact_cross_entropy(batch: Shown) -> Tensor:
    """The same for a loss that an attack raises too, along the signs of its gradient."""
    return cross_entropy(batch.observed.logits, batch.labels).mean()
