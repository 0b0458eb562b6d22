"""The shapes of nodes: one function a kind, so that every study wires and names them alike."""

from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.specs import AnyAttack, AnyDataset, Recipe, trainable_slug


def prepare(plan: Plan, dataset: AnyDataset) -> Node:
    """A data set as tensors, split."""
    return plan.add("prepare", dataset.slug, dataset)


def pretrain(plan: Plan, data: Node, recipe: Recipe) -> Node:
    """A source model, or any other network trained from a random start."""
    return plan.add("pretrain", f"{data.slug}.{recipe.network.slug}.{recipe.inputs.slug}", recipe, data=data)


def transfer(plan: Plan, start: Node, data: Node, recipe: Recipe) -> Node:
    """A target model, which inherits the weights of `start`."""
    came_from = start.slug.rsplit(".", 1)[-1]
    slug = f"{data.slug}.{came_from}-to-{recipe.inputs.slug}.{trainable_slug(recipe.trainable)}"
    return plan.add("transfer", slug, recipe, data=data, start=start)


def craft(plan: Plan, model: Node, data: Node, attack: AnyAttack, seed: int, split: str = "test") -> Node:
    """Adversarial examples of a split of `data`, made against `model`."""
    spec = {"attack": attack.canonical(), "split": split, "seed": seed}
    return plan.add("craft", f"{model.slug}.{attack.slug}", spec, model=model, data=data)


def evaluate(plan: Plan, model: Node, data: Node, examples: Node | None = None, split: str = "test") -> Node:
    """Each image's outcome under `model`: of a clean split of `data`, or of adversarial examples of it."""
    if examples is None:
        return plan.add("evaluate", f"{model.slug}.clean", {"split": split}, model=model, data=data)
    own = examples.parents["model"] == model.id
    attack = examples.slug.removeprefix(model.slug + ".") if own else "from-" + examples.slug
    return plan.add("evaluate", f"{model.slug}.{attack}", {}, model=model, data=data, examples=examples)
