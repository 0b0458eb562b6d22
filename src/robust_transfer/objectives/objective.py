"""The loss of a batch, as a recipe composes it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robust_transfer.attacks.perturb import perturb
from robust_transfer.attacks.ready import attack_ready
from robust_transfer.data.views import two_views
from robust_transfer.models.classifier import Classifier, Observed, training_mode
from robust_transfer.objectives import terms
from robust_transfer.objectives.consistency import consistency
from robust_transfer.objectives.contrastive import nt_xent
from robust_transfer.objectives.free import FreePerturbation
from robust_transfer.plan.specs import Recipe


class Objective:
    """Called with a batch, it gives the loss to bring down, a scalar with gradients for what the recipe trains.

    Made before a saved state is restored: the weights a run inherited are those the network has then.

    network: the one that trains. held: its modules whose batch norm statistics stay.
    teacher: whose stage outputs are distilled. source_features: N x width, of the training images as they are, by their
    place in the split, for the similarity.
    """

    def __init__(
        self,
        network: Classifier,
        recipe: Recipe,
        held: list[nn.Module],
        teacher: Classifier | None = None,
        source_features: Tensor | None = None,
    ):
        self.network, self.recipe, self.held = network, recipe, held
        self.teacher = teacher.eval().requires_grad_(False) if teacher else None
        self.source_features = source_features
        self.start: dict[str, Tensor] = {}
        if recipe.terms.start_distance:
            head = {f"head.{name}" for name, _ in network.head.named_parameters()}
            moving = [(name, p) for name, p in network.named_parameters() if p.requires_grad and name not in head]
            self.start = {name: p.detach().clone() for name, p in moving}
        attack = recipe.inputs.attack
        self.free = FreePerturbation(attack) if attack and attack.algorithm == "free" else None
        self.ready = attack_ready(network) if attack and not self.free else None

    def __call__(self, images: Tensor, labels: Tensor, places: Tensor) -> Tensor:
        """The loss of N x C x H x W pixels, N labels and the images' N places in the training split."""
        if self.recipe.terms.contrastive:
            loss = self._of_views(images)
        elif self.recipe.terms.consistency:
            loss = self._of_copies(images, labels)
        else:
            loss = self._of_examples(images, labels, places)
        weights = self.recipe.terms
        if weights.start_distance:
            loss = loss + weights.start_distance * terms.start_distance(self.network, self.start)
        if weights.head_penalty:
            loss = loss + weights.head_penalty * terms.head_penalty(self.network.head)
        return loss

    def _of_views(self, images: Tensor) -> Tensor:
        """What the projections of two views of each image lack in likeness."""
        about = self.recipe.terms.contrastive
        views = two_views(images, about.strength, about.smallest_crop, self.recipe.schedule.flip)
        training_mode(self.network, self.held)
        # In one pass, as the authors do: batch norm sees all views at once.
        return nt_xent(*self.network(torch.cat(views)).chunk(2), about.temperature)

    def _of_copies(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of noisy copies, and how little they agree."""
        about = self.recipe.terms.consistency
        copies = images.repeat(about.copies, 1, 1, 1)
        training_mode(self.network, self.held)
        logits = self.network(self._noisy(copies))
        return consistency(logits.unflatten(0, (about.copies, len(images))), labels, about.weight, about.entropy)

    def _noisy(self, images: Tensor) -> Tensor:
        """Noise is drawn on the CPU, so that a seed means the same on every device."""
        sigma = self.recipe.inputs.noise
        return images + sigma * torch.randn(images.shape).to(images.device) if sigma else images

    def _of_examples(self, images: Tensor, labels: Tensor, places: Tensor) -> Tensor:
        """Cross entropy of clean and adversarial images, and what their features add."""
        images = self._noisy(images)
        clean_weight = self._clean_weight()
        adversarial = self._adversarial(images, labels) if clean_weight < 1 else None
        training_mode(self.network, self.held)
        # Clean and adversarial images pass separately, so that each batch norm sees one kind at a time.
        loss, weights = torch.zeros((), device=images.device), self.recipe.terms
        seen = {}
        if adversarial is not None:
            seen["adversarial"] = self._observe(adversarial)
            loss = loss + (1 - clean_weight) * self._fit(seen["adversarial"], adversarial, labels)
        if clean_weight or weights.feature_distance or weights.similarity:
            seen["clean"] = self._observe(images)
        if clean_weight:
            loss = loss + clean_weight * self._fit(seen["clean"], images, labels)
        if distance := weights.feature_distance:
            pair = (seen[kind].unit_input for kind in ("clean", "adversarial"))
            loss = loss + distance.weight * terms.feature_distance(*pair, distance.reduction)
        if near := weights.similarity:
            wanted = self.source_features[places.to(self.source_features.device)]
            loss = loss + near.weight * terms.similarity(seen["clean"].features, wanted, near.norm)
        return loss

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

    def _clean_weight(self) -> float:
        inputs = self.recipe.inputs
        if inputs.attack is None:
            return 1.0
        return float(torch.rand(()) < inputs.clean_weight) if inputs.mixing == "either" else inputs.clean_weight

    def _adversarial(self, images: Tensor, labels: Tensor) -> Tensor:
        if self.free:
            return self.free(images)
        return perturb(self.ready.refresh(self.network), images, labels, self.recipe.inputs.attack)

    def _observe(self, images: Tensor) -> Observed:
        distance = self.recipe.terms.feature_distance
        return self.network.observe(images, unit=distance.units if distance else None)

    def _fit(self, seen: Observed, images: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy, and how far the stages' outputs are from the teacher's."""
        loss, weight = F.cross_entropy(seen.logits, labels), self.recipe.terms.feature_distillation
        if not weight:
            return loss
        with torch.no_grad():
            wanted = self.teacher.observe(images).stages
        return loss + weight * terms.feature_distillation(seen.stages, wanted)
