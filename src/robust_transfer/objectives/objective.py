"""The loss of a batch, as a recipe composes it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robust_transfer.attacks.perturb import perturb
from robust_transfer.attacks.ready import attack_ready
from robust_transfer.models.classifier import Classifier, training_mode
from robust_transfer.objectives import terms
from robust_transfer.plan.specs import Recipe


class Objective:
    """Called with a batch, it gives the loss to bring down, a scalar with gradients for what the recipe trains.

    Made before a saved state is restored: the weights a run inherited are those the network has then.

    network: the one that trains. frozen: its modules that don't. teacher: whose features are distilled, if any are.
    """

    def __init__(self, network: Classifier, recipe: Recipe, frozen: list[nn.Module], teacher: Classifier | None):
        self.network, self.recipe, self.frozen = network, recipe, frozen
        self.teacher = teacher.eval().requires_grad_(False) if teacher else None
        self.start: dict[str, Tensor] = {}
        if recipe.terms.start_distance:
            head = {f"head.{name}" for name, _ in network.head.named_parameters()}
            moving = [(name, p) for name, p in network.named_parameters() if p.requires_grad and name not in head]
            self.start = {name: p.detach().clone() for name, p in moving}
        self.ready = attack_ready(network) if recipe.inputs.attack else None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of N x C x H x W pixels and N labels."""
        inputs, weights = self.recipe.inputs, self.recipe.terms
        clean_weight = 1.0
        if inputs.attack and inputs.mixing == "either":
            clean_weight = float(torch.rand(()) < inputs.clean_weight)
        elif inputs.attack:
            clean_weight = inputs.clean_weight
        adversarial = None
        if clean_weight < 1:
            adversarial = perturb(self.ready.refresh(self.network), images, labels, inputs.attack)
        training_mode(self.network, self.frozen, self.recipe.frozen_statistics)
        # Clean and adversarial images pass separately, so that each batch norm sees one kind at a time.
        loss = 0.0
        if adversarial is not None:
            loss = loss + (1 - clean_weight) * self._fit(adversarial, labels)
        if clean_weight:
            loss = loss + clean_weight * self._fit(images, labels)
        if weights.start_distance:
            loss = loss + weights.start_distance * terms.start_distance(self.network, self.start)
        if weights.head_penalty:
            loss = loss + weights.head_penalty * terms.head_penalty(self.network.head)
        return loss

    def _fit(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy, and how far the features are from the teacher's."""
        weight = self.recipe.terms.feature_distillation
        if not weight:
            return F.cross_entropy(self.network(images), labels)
        with torch.no_grad():
            wanted = self.teacher.observe(images).stages
        seen = self.network.observe(images)
        return F.cross_entropy(seen.logits, labels) + weight * terms.feature_distillation(seen.stages, wanted)
