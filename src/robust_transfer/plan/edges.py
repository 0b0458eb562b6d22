"""What cannot work between the nodes of a plan, though each is well by itself: a model that meets data of another form,
too few images for a batch, a run that ends before what is to come in it, an attack that does not fit.

Only what is certain is refused: what is not known of data or networks before the jobs is left to them.
"""

import json
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from robust_transfer.errors import UserError
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import Attack, Dataset, FeatureAttack, Network, Normalise, Recipe, Spec
from robust_transfer.specs.datasets import Facts
from robust_transfer.stages.bring import Bring
from robust_transfer.stages.choose import Choose
from robust_transfer.stages.craft import Craft
from robust_transfer.stages.node import KINDS, Node

LOOKED_AT = ("bring", "choose", "craft", "prepare", "pretrain", "transfer")
"""Kinds of node whose specs are looked at."""
OF_CLASSES = ("certify", "choose", "evaluate", "gradients")
"""Kinds of node that compare a model's classes with those of the data."""


class Misfit(NamedTuple):
    """Something that cannot work.

    node: at which it shows. part: the spec that can be changed; none where nodes are joined that cannot be.
    key: in that spec; "" is the whole.
    sentence: what is wrong, and the remedy.
    """

    node: Node
    part: Spec | None
    key: str
    sentence: str


class Model(NamedTuple):
    """What is known of a trained network. channels, classes: of its images; None where they are not known.

    data: the node of the data that it has its channels from.
    """

    network: Network
    channels: int | None
    classes: int | None
    data: Node | None


def misfits(plan: Plan, data_root: Path) -> Iterator[Misfit]:
    """All that is certain not to work in a plan. data_root: where its data sets lie, as far as they do."""
    for node, spec, data, facts, models in _met(plan, data_root):
        if data is None:
            continue
        parents = {role: models[i] for role, i in node.parents.items() if i in models and role != "tuned"}
        if isinstance(spec, Recipe):
            yield from _of_compiling(node, spec, plan.origin.get("machine", {}))
            yield from _of_training(node, spec, data, facts)
            if spec.inputs.attack:
                yield from _of_budget(node, spec.inputs.attack, facts)
            yield from _of_help(node, spec, parents, models[node.id], facts)
        if isinstance(spec, Craft):
            yield from _of_attack(node, spec.attack, parents["model"].network, facts)
        for model in parents.values():
            yield from _of_form(node, model, data, facts)
            if compares_classes(node.kind, spec):
                yield from _of_classes(node, model, data, facts)
        if isinstance(spec, Recipe | Bring) and "start" not in parents:
            new = models[node.id]
            yield from _of_form(node, new._replace(channels=new.network.channels), data, facts)


def trained(plan: Plan, data_root: Path) -> Iterator[tuple[Node, Recipe, Model, Facts]]:
    """Each training of a plan, with the network that it trains, and what is known of the images that this meets."""
    for node, spec, _, facts, models in _met(plan, data_root):
        if isinstance(spec, Recipe):
            yield node, spec, models[node.id], facts


def _met(plan: Plan, data_root: Path) -> Iterator[tuple[Node, Any, Node | None, Facts, dict[str, Model]]]:
    """The nodes of a plan that make no data set, parents first: each with its spec, if that is looked at; the node of
    its data, if it has any, and what is known of them; and the models up to it, its own among them, by their nodes.
    """
    facts_of: dict[str, Facts] = {}
    models: dict[str, Model] = {}
    for node in plan.nodes.values():
        spec = spec_of(node) if node.kind in LOOKED_AT else None
        if isinstance(spec, Dataset):
            facts_of[node.id] = peeked(spec, data_root)
            continue
        data = next((plan.nodes[node.parents[role]] for role in ("data", "own") if role in node.parents), None)
        facts = facts_of[data.id] if data else Facts()
        if isinstance(spec, Recipe | Bring | Choose):
            parents = {role: models[i] for role, i in node.parents.items() if i in models}
            models[node.id] = _model(spec, parents, data, facts)
        yield node, spec, data, facts, models


def compares_classes(kind: str, spec: Any) -> bool:
    """Whether a node compares the classes of its models with those of its data. spec: counts for `craft` alone."""
    return kind in OF_CLASSES or (isinstance(spec, Craft) and not isinstance(spec.attack, FeatureAttack))


def spec_of(node: Node) -> Any:
    """A node's validated spec."""
    return _parsed(node.kind, json.dumps(node.spec))


@lru_cache(maxsize=4096)
def _parsed(kind: str, spec: str) -> Any:
    return KINDS[kind].parse(json.loads(spec))


def peeked(dataset: Dataset, data_root: Path) -> Facts:
    """What is known of a data set, as far as it is there."""
    try:
        return dataset.peek(data_root)
    except UserError:  # presence says so when the jobs are to start
        return Facts()


def _model(spec: Recipe | Bring | Choose, parents: dict[str, Model], data: Node | None, facts: Facts) -> Model:
    """What comes out of a node that makes a model."""
    if isinstance(spec, Choose):
        return parents["candidate0"]
    if isinstance(spec, Bring):
        return Model(spec.network, facts.channels or spec.network.channels, facts.classes, data)
    start = parents.get("start")
    if start is None:
        assert spec.network, "a random start has a network"
        return Model(spec.network, facts.channels, facts.classes, data)
    network = start.network.with_(normalise=spec.normalise) if spec.normalise else start.network
    return start._replace(network=network, classes=facts.classes)


def _of_form(node: Node, model: Model, data: Node, facts: Facts) -> Iterator[Misfit]:
    """A network that meets images of other channels, or too small ones."""
    network, channels = model.network, model.channels
    if channels and facts.channels and channels != facts.channels:
        grey = model.data if channels == 1 and model.data else data
        other = f"a network trained on them meets {data.slug} with {facts.channels}"
        if grey is data:
            other = f"{network.slug} takes {channels}"
        sentence = f"the images have 1 channel, and {other}; write 3 (grey images are repeated as RGB)"
        yield Misfit(node, spec_of(grey), "channels", sentence)
    elif facts.channels and network.channels in (None, facts.channels) and isinstance(network.normalise, Normalise):
        for name, value in (("mean", network.normalise.mean), ("std", network.normalise.std)):
            if isinstance(value, list) and len(value) != facts.channels:
                has = f"{data.slug} has {facts.channels} channel{'s' * (facts.channels > 1)}"
                sentence = f"{len(value)} numbers, but {has}; write one number"
                yield Misfit(node, network, f"normalise.{name}", sentence)
    if not (facts.height and facts.width):
        return
    if min(facts.height, facts.width) < network.smallest_side:
        needed = f"{network.smallest_side} x {network.smallest_side}"
        sentence = (
            f"images of {facts.height} x {facts.width} pixels are too small for {network.slug}, which needs {needed}"
        )
        yield Misfit(node, spec_of(data), "", f"{sentence}; take larger ones, or another network")
    elif facts.height % network.side_multiple or facts.width % network.side_multiple:
        sentence = (
            f"images of {facts.height} x {facts.width} pixels do not fit {network.slug}, which halves their sides"
        )
        yield Misfit(
            node,
            spec_of(data),
            "",
            f"{sentence} and needs multiples of {network.side_multiple}; take others, or another network",
        )


def _of_classes(node: Node, model: Model, data: Node, facts: Facts) -> Iterator[Misfit]:
    if model.classes and facts.classes and model.classes != facts.classes:
        sentence = f"the model tells {model.classes} classes apart, and {data.slug} has {facts.classes}"
        yield Misfit(node, None, "", f"{sentence}; name a model of the same classes")


def _of_compiling(node: Node, recipe: Recipe, machine: Mapping[str, Any]) -> Iterator[Misfit]:
    """A training that is compiled, on several GPUs. Of what the machine compiles, the config says so itself."""
    if recipe.compile and (gpus := machine.get("gpus", 0)) > 1:
        sentence = f"a training on several GPUs is not compiled, and machine.gpus is {gpus}; write false, or gpus: 1"
        yield Misfit(node, recipe, "compile", sentence)


def _of_training(node: Node, recipe: Recipe, data: Node, facts: Facts) -> Iterator[Misfit]:
    """Fewer images than a batch, and what is to come after the end."""
    schedule, averaging = recipe.schedule, recipe.averaging
    if "train" not in facts.images:
        return
    count = sum(recipe.inputs.of_class(n) for n in facts.images["train"].values())
    per_epoch = count // schedule.batch_size
    if not per_epoch:
        sentence = f"{count} training images of {data.slug} take part, fewer than one batch of {schedule.batch_size}"
        yield Misfit(node, schedule, "batch_size", f"{sentence}; lower batch_size or keep more images")
        return
    length = schedule.iterations or (schedule.epochs or 0) * per_epoch
    if averaging and averaging.every > length:
        sentence = f"the training ends after {length} iterations, before the first average; lower it or train longer"
        yield Misfit(node, averaging, "every", sentence)


def _of_help(node: Node, recipe: Recipe, parents: dict[str, Model], model: Model, facts: Facts) -> Iterator[Misfit]:
    """Help that a run needs and has not, or that is of another form."""
    for name in {**recipe.terms.used, **dict.fromkeys(recipe.tuned)}:
        needs = recipe.terms.forms[name].needs if name in recipe.terms.forms else None
        if needs and needs not in node.parents:
            remedy = "name one" if needs == "start" else f"write {needs}: true"
            yield Misfit(node, recipe, f"terms.{name}", f"the run has no {needs}; {remedy}, or leave the term out")
    if recipe.tuned and "tuned" not in node.parents:
        yield Misfit(node, recipe, "tuned", "there is no choice to take values from; write the values")
    teacher, start = parents.get("teacher"), parents.get("start")
    if teacher and math.isfinite(more := teacher.network.stages - model.network.stages) and more:
        counts = f"{teacher.network.slug} has {teacher.network.stages} and {model.network.slug} {model.network.stages}"
        sentence = f"stages are compared with the teacher's one by one, and {counts}; use one network for both"
        yield Misfit(node, recipe, "terms.feature_distillation", sentence)
    if start and recipe.head == "keep" and start.classes and facts.classes and start.classes != facts.classes:
        sentence = f"the start's head is for {start.classes} classes, and the data has {facts.classes}; write new"
        yield Misfit(node, recipe, "head", sentence)


def _of_budget(node: Node, attack: Attack, facts: Facts) -> Iterator[Misfit]:
    """An l2 ball in which all images lie. Of one whose channels are not known it may still be well."""
    if attack.norm == "l2" and facts.channels and facts.height and facts.width:
        way = math.sqrt(facts.channels * facts.height * facts.width)
        if attack.eps >= way:
            shape = f"{facts.channels} x {facts.height} x {facts.width}"
            sentence = f"{attack.eps:g} reaches from any image of {shape} to any other (black to white is {way:.4g})"
            yield Misfit(node, attack, "eps", f"{sentence}; lower it")


def _of_attack(node: Node, attack: Attack, network: Network, facts: Facts) -> Iterator[Misfit]:
    """An attack on data or a network that it does not fit."""
    if facts.classes and facts.classes < attack.fewest_classes:
        sentence = f"{attack.slug} needs {attack.fewest_classes} classes, and there are {facts.classes}; write pgd"
        yield Misfit(node, attack, "", sentence)
    if facts.height and facts.width and (reason := attack.unfit_size(facts.height, facts.width)):
        yield Misfit(node, attack, "", reason)
    yield from _of_budget(node, attack, facts)
    width = network.feature_width
    if isinstance(attack, FeatureAttack) and width and attack.neuron >= width:
        yield Misfit(node, attack, "neuron", f"{network.slug} has the features 0 to {width - 1}; write one of them")
