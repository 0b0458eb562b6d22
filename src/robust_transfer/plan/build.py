"""The shapes of nodes: one function a kind, so that every study wires and names them alike.

A slug is a function of kind, spec and parents alone: the same node wanted by two studies must have one name.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.specs import (
    AnyAttack,
    AnyDataset,
    AnyNetwork,
    Augmentation,
    Recipe,
    Smoothing,
    trainable_slug,
)


def prepare(plan: Plan, dataset: AnyDataset) -> Node:
    """A data set as tensors, split."""
    return plan.add("prepare", dataset.slug, dataset)


def bring(plan: Plan, network: AnyNetwork, weights: str) -> Node:
    """A source model that was trained elsewhere, by torchvision's name of its weights."""
    return plan.add("bring", f"{network.slug}.{weights}", {"network": network.canonical(), "weights": weights})


def bring_file(plan: Plan, network: AnyNetwork, file: str, sha256: str) -> Node:
    """A source model that was trained elsewhere, from a state dict with torchvision's keys in data_root/weights."""
    name = re.sub(r"[^A-Za-z0-9-]+", "-", PurePosixPath(file).stem)
    spec = {"network": network.canonical(), "file": file, "sha256": sha256}
    return plan.add("bring", f"{network.slug}.{name}", spec)


def pretrain(plan: Plan, data: Node, recipe: Recipe) -> Node:
    """A source model, or any other network trained from a random start with no help."""
    return plan.add("pretrain", f"{data.slug}.{recipe.network.slug}.{recipe.slug}", recipe, data=data)


def transfer(
    plan: Plan,
    data: Node,
    recipe: Recipe,
    start: Node | None = None,
    teacher: Node | None = None,
    features: Node | None = None,
    tuned: Node | None = None,
) -> Node:
    """A target model, helped by what was learnt before.

    start: the model whose weights it inherits; none is a random start. teacher: whose stages are distilled.
    features: of the model whose features it must keep. tuned: the choice that `recipe.tuned` takes values from.
    """
    roles = {"start": start, "teacher": teacher, "features": features, "tuned": tuned}
    parents = {role: node for role, node in roles.items() if node}
    slug = f"{data.slug}.{_came_from(start)}-to-{recipe.slug}.{trainable_slug(recipe.trainable)}"
    return plan.add("transfer", slug, recipe, data=data, **parents)


def _came_from(start: Node | None) -> str:
    if start is None:
        return "random"
    return start.slug.rsplit(".", 1)[-1] if start.kind in ("pretrain", "bring") else "again"


def features(plan: Plan, model: Node, data: Node) -> Node:
    """The penultimate features of the training images under `model`."""
    return plan.add("features", f"{data.slug}.under.{model.slug}", {}, model=model, data=data)


def choose(
    plan: Plan, data: Node, candidates: Sequence[tuple[dict[str, float], Node]], split: str = "validation"
) -> Node:
    """The best of several models on a split of `data`. candidates: the values each was trained with, and the model."""
    slug = f"{candidates[0][1].slug}.best-of-{len(candidates)}"
    spec = {"split": split, "candidates": [values for values, _ in candidates]}
    return plan.add(
        "choose", slug, spec, data=data, **{f"candidate{i}": node for i, (_, node) in enumerate(candidates)}
    )


def craft(plan: Plan, model: Node, data: Node, attack: AnyAttack, seed: int, split: str = "test") -> Node:
    """Adversarial examples of a split of `data`, made against `model`."""
    spec = {"attack": attack.canonical(), "split": split, "seed": seed}
    return plan.add("craft", f"{data.slug}.by.{model.slug}.{attack.slug}", spec, model=model, data=data)


def evaluate(plan: Plan, model: Node, data: Node, examples: Node | None = None, split: str = "test") -> Node:
    """Each image's outcome under `model`: of a clean split of `data`, or of adversarial examples of it."""
    if examples is None:
        return plan.add("evaluate", f"{model.slug}.clean", {"split": split}, model=model, data=data)
    attack = examples.slug.rsplit(".by.", 1)[-1].removeprefix(model.slug + ".")
    own = examples.parents["model"] == model.id
    return plan.add(
        "evaluate", f"{model.slug}.{'' if own else 'from-'}{attack}", {}, model=model, data=data, examples=examples
    )


def certify(plan: Plan, model: Node, data: Node, smoothing: Smoothing, seed: int, split: str = "test") -> Node:
    """The certificates of some images of a split of `data` under the smoothed `model`."""
    spec = {"smoothing": smoothing.canonical(), "split": split, "seed": seed}
    return plan.add("certify", f"{model.slug}.{smoothing.slug}", spec, model=model, data=data)


def measure(plan: Plan, model: Node, source: Node, data: Node) -> Node:
    """How far `model` is from the model it was transferred from, on the training images of `data`."""
    return plan.add("measure", f"{model.slug}.to-source", {}, model=model, source=source, data=data)


def gradients(plan: Plan, model: Node, data: Node, count: int, split: str = "test") -> Node:
    """Gradients of the loss with respect to `count` images, evenly spaced over a split of `data`."""
    return plan.add("gradients", f"{model.slug}.gradients", {"split": split, "count": count}, model=model, data=data)


def displacement(
    plan: Plan, model: Node, data: Node, augmentation: Augmentation, seed: int, split: str = "test"
) -> Node:
    """How far augmentation moves the penultimate features of a split's images under `model`."""
    spec = {"augmentation": augmentation.canonical(), "split": split, "seed": seed}
    return plan.add("displacement", f"{data.slug}.under.{model.slug}.augmented", spec, model=model, data=data)
