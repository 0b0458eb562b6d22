"""The vocabulary of studies: one function a kind of node, so that all studies wire them alike."""

from collections.abc import Sequence

from robust_transfer.models import zoo
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import AnyAttack, AnyDataset, AnyNetwork, Augmentation, Recipe, Smoothing, Spec
from robust_transfer.specs.origins import Origin
from robust_transfer.specs.precision import precision_of
from robust_transfer.stages.bring import Bring
from robust_transfer.stages.certify import Certify
from robust_transfer.stages.choose import Choose
from robust_transfer.stages.craft import Craft
from robust_transfer.stages.displacement import Displacement
from robust_transfer.stages.evaluate import Evaluate
from robust_transfer.stages.features import Features
from robust_transfer.stages.gradients import Gradients
from robust_transfer.stages.measure import Measure
from robust_transfer.stages.node import KINDS, Node
from robust_transfer.stages.worst import Worst

LONGEST = 200
"""Letters of a slug; with its digest and what the stages add it stays below the 255 bytes of a file's name."""


def node(plan: Plan, kind: str, spec: Spec, **parents: Node | None) -> Node:
    """A node of any kind. parents: what it is made from, by role; those that are None are left out.

    Its slug is a function of kind, spec and parents alone: the same node wanted by two studies must have one name.
    """
    given = {role: parent for role, parent in parents.items() if parent}
    return plan.add(kind, KINDS[kind].slug(spec, given)[:LONGEST], spec, **given)


def prepare(plan: Plan, dataset: AnyDataset) -> Node:
    """A data set as tensors, split."""
    return node(plan, "prepare", dataset)


def bring(
    plan: Plan,
    network: AnyNetwork,
    origin: Origin,
    data: Node | None = None,
    own: Node | None = None,
) -> Node:
    """A model that was trained elsewhere. origin: of a file with its sha256; a name of RobustBench's is looked up here.

    data: what it must fit, where it is not to be transferred but evaluated as it is. own: of one that is transferred,
    the data of its own classes, on which its accuracy is measured first.
    """
    given = {name: getattr(origin, name) for name in Origin.model_fields}
    if origin.robustbench:
        known = zoo.entry(origin.robustbench)
        given |= {"drive": known.drive, "entry": known.entry}
    return node(plan, "bring", Bring(network=network, **given), data=data, own=own)


def pretrain(plan: Plan, data: Node, recipe: Recipe) -> Node:
    """A source model, or any other network trained from a random start with no help."""
    return node(plan, "pretrain", _computed(plan, "pretrain", recipe), data=data)


def transfer(
    plan: Plan,
    data: Node,
    recipe: Recipe,
    start: Node | None = None,
    teacher: Node | None = None,
    features: Node | None = None,
    tuned: Node | None = None,
) -> Node:
    """A target model, helped by what was learnt before; see stages/transfer.py for the roles."""
    recipe = _computed(plan, "transfer", recipe)
    return node(plan, "transfer", recipe, data=data, start=start, teacher=teacher, features=features, tuned=tuned)


def _computed(plan: Plan, kind: str, recipe: Recipe) -> Recipe:
    """A recipe as the config's machine computes it, where it does not say so itself."""
    machine = plan.origin.get("machine", {})
    asked = {"precision": precision_of(machine, kind), "compile": kind in machine.get("compile", ())}
    defaults = {name: Recipe.model_fields[name].default for name in asked}
    changes = {k: v for k, v in asked.items() if v != defaults[k] and k not in recipe.model_fields_set}
    return recipe.with_(**changes) if changes else recipe


def features(plan: Plan, model: Node, data: Node) -> Node:
    """The penultimate features of the training images under `model`."""
    return node(plan, "features", Features(), model=model, data=data)


def choose(
    plan: Plan,
    data: Node,
    candidates: Sequence[tuple[dict[str, float], Node]],
    split: str = "validation",
    attacked: Sequence[Node] = (),
) -> Node:
    """The best of several models on a split of `data`. candidates: the values each was trained with, and the model.

    attacked: each candidate's outcomes under an attack, which count as much as those without one.
    """
    spec = Choose(split=split, candidates=[values for values, _ in candidates])
    parents = {f"candidate{i}": model for i, (_, model) in enumerate(candidates)}
    parents |= {f"attacked{i}": outcomes for i, outcomes in enumerate(attacked)}
    return node(plan, "choose", spec, data=data, **parents)


def craft(
    plan: Plan,
    model: Node,
    data: Node,
    attack: AnyAttack,
    seed: int,
    split: str = "test",
    beaten: Sequence[Node] = (),
) -> Node:
    """Adversarial examples of a split of `data`, made against `model`.

    beaten: outcomes whose wrong images stay clean.
    """
    earlier = {f"beaten{i}": outcomes for i, outcomes in enumerate(beaten)}
    return node(plan, "craft", Craft(attack=attack, split=split, seed=seed), model=model, data=data, **earlier)


def evaluate(plan: Plan, model: Node, data: Node, examples: Node | None = None, split: str = "test") -> Node:
    """Each image's outcome under `model`: of a clean split of `data`, or of adversarial examples of it."""
    spec = Evaluate() if examples else Evaluate(split=split)
    return node(plan, "evaluate", spec, model=model, data=data, examples=examples)


def attacked(
    plan: Plan,
    model: Node,
    data: Node,
    attack: AnyAttack,
    seed: int,
    split: str = "test",
    surrogate: Node | None = None,
) -> Node:
    """Each image's outcome under `model`, shown what an attack made against it, or against another model: `surrogate`.

    Of an attack with members, each attacks the images that the former left right under the model it is made against,
    and an image is wrong if `model` is wrong on any member's example of it.
    """
    target = surrogate or model
    examples: list[Node] = []
    for member in attack.members():
        beaten = [evaluate(plan, target, data, earlier) for earlier in examples]
        examples.append(craft(plan, target, data, member, seed, split, beaten))
    if not examples:
        return evaluate(plan, model, data, craft(plan, target, data, attack, seed, split))
    outcomes = {f"member{i}": evaluate(plan, model, data, each) for i, each in enumerate(examples)}
    return node(plan, "worst", Worst(attack=attack), **outcomes)


def certify(plan: Plan, model: Node, data: Node, smoothing: Smoothing, seed: int, split: str = "test") -> Node:
    """The certificates of some images of a split of `data` under the smoothed `model`."""
    return node(plan, "certify", Certify(smoothing=smoothing, split=split, seed=seed), model=model, data=data)


def measure(
    plan: Plan, model: Node, source: Node, data: Node, augmentation: Augmentation | None = None, seed: int = 0
) -> Node:
    """How far `model` is from the model it was transferred from, on the training images of `data`.

    augmentation: of these images; none takes them as they are, and then no seed counts.
    """
    spec = Measure(augmentation=augmentation, seed=seed if augmentation else 0)
    return node(plan, "measure", spec, model=model, source=source, data=data)


def gradients(plan: Plan, model: Node, data: Node, count: int, split: str = "test") -> Node:
    """Gradients of the loss with respect to `count` images, evenly spaced over a split of `data`."""
    return node(plan, "gradients", Gradients(split=split, count=count), model=model, data=data)


def displacement(
    plan: Plan, model: Node, data: Node, augmentation: Augmentation, seed: int, split: str = "test"
) -> Node:
    """How far augmentation moves the penultimate features of a split's images under `model`."""
    spec = Displacement(augmentation=augmentation, split=split, seed=seed)
    return node(plan, "displacement", spec, model=model, data=data)
