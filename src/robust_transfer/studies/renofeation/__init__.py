"""Chin et al. 2020, "Improving the Adversarial Robustness of Transfer Learning via Noisy Feature Distillation".

The attacker knows the pretrained network alone. So one set of adversarial examples for each (pretrained network, target
task) serves every model that was transferred from that network. Methods are compared by clean accuracy and by attack
success rate, P(wrong on the adversarial image | right on the clean one).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from random import Random
from typing import Any, Literal

from robust_transfer.plan import build
from robust_transfer.plan.graph import Node
from robust_transfer.plan.published import PRINTED, published_table
from robust_transfer.plan.specs import AnyAttack, AnyNetwork, Augmentation, Head, Inputs, Normalise, Schedule, Terms
from robust_transfer.studies.base import (
    Cell,
    Data,
    Headline,
    Model,
    Numbers,
    figure,
    in_row,
    is_ours,
    mean,
    placed,
    shows,
    table,
)
from robust_transfer.studies.extra import Method, Paper, alike, ours, ours_too
from robust_transfer.studies.renofeation.section import (
    BASELINES,
    COMPARED,
    PRETRAINED,
    REGULARISED,
    SMOOTHED,
    TRAINED,
    WITH_EACH,
    Given,
    Section,
)

GRID = ["lr", "momentum", "weight_decay"]
LAMBDA = "feature_distillation"
EXAMPLES = ["DELTA", "Renofeation"]
WITHOUT_WEIGHTS = ["DELTA", "DELTA-R", "Re-training"]
CLEAN, ASR, FEATURES = "clean", "ASR", "feature loss"
ADVERSARIAL, WHITE_BOX = "adversarial accuracy", "white-box ASR"
"""What the paper argues with (section 3.3) but does not print, and what it has not."""
CLEAN_AXIS = {"metric": "accuracy", "label": "clean accuracy (%)"}
ASR_AXIS = {"metric": "attack_success_rate", "label": "attack success rate (%)"}
SHOWN = 6
"""Images in figure 1."""


def methods_table(number: int, title: str, methods: list[str], *more: str) -> Callable:
    """A table of the paper with rows for each method; more: what it shows beside clean accuracy and ASR."""
    return table(number, title, corner="Method")(lambda self: self.rows(methods, *more))


def bars(number: int, title: str, methods: list[str]) -> Callable:
    """A figure of the paper: clean accuracy and ASR of methods side by side."""

    def metrics(self: "Renofeation") -> list[dict[str, str]]:
        return [CLEAN_AXIS, ASR_AXIS, *self.axes_of_own("attack_success_rate", "success rate of {} (%)")]

    return figure(number, "bars", title, metrics=metrics)(lambda self: self.both(methods))


def bars_published(number: int, title: str, methods: list[str]) -> Callable:
    """The same figure of the numbers that the paper prints in tables 2 and 3."""

    def cells(self: "Renofeation") -> Iterator[Cell]:
        printed = published_table(self.name, "table2") | published_table(self.name, "table3")
        for (method, column), ((row, target), value) in product(product(methods, (CLEAN, ASR)), printed.items()):
            if row == f"{method} {column}":
                yield from placed(method, target, shows(f"{PRINTED} {column}") | {"published": value})

    axes = [axis | {"metric": f"{PRINTED} {column}"} for column, axis in ((CLEAN, CLEAN_AXIS), (ASR, ASR_AXIS))]
    caption = "From the numbers in Chin et al. 2020, Tables 2 and 3"
    return figure(f"fig{number}_published", "bars", f"{title}, as published", metrics=axes, caption=caption)(cells)


@dataclass
class Task:
    """One pretrained network on one target task: what all its methods share, and the methods' models by name.

    compared: the same data as candidates for a choice have it. examples: a set for each neuron that the attack drives.
    head: the form of every new head.
    choices: method -> the model that a choice took, whose node says with which values.
    """

    source: Model
    data: Data
    compared: Data
    examples: list[Node]
    head: Head | Literal["new"]
    models: dict[str, Model] = field(default_factory=dict)
    choices: dict[str, Model] = field(default_factory=dict)


class Renofeation(Paper[Section]):
    """Tables 1 to 6, those of choices and of neurons, and figures 1 to 6; 3 and 5 also from the printed numbers."""

    name, paper, decimals, measured_on = "renofeation", "Chin et al. 2020", 2, "ResNet-18"
    Section = Section

    def headline(self) -> Headline:
        """The first network's averages over the targets."""
        network = next(iter(self.section.networks))
        rows = [f"{network} {method} {column}" for method in COMPARED for column in (CLEAN, ASR)]
        return "table6", [(row, "Average") for row in rows]

    def measured(self) -> str:
        section, neurons = self.section, self.section.neurons
        network = self.network(next(iter(section.networks.values())).network)
        chosen = f"values chosen on the {section.chosen_on} split"
        if section.chosen_on == "validation":
            chosen += ", and trained with on all images" if section.trains_anew else ", whose images train nothing"
        attack = f"eps {self.budget(network, section.attack.space):.4g} ({section.attack.space})"
        driven = f"{neurons} drawn neurons" if isinstance(neurons, int) else f"neuron {', '.join(map(str, neurons))}"
        return f"{self.scene(section.source, *section.targets)}, {chosen}, {attack}, {driven}"

    def budget(self, network: AnyNetwork, space: str = "pixels") -> float:
        """The section's eps in units of a space."""
        given, normalise = self.section.eps_in, network.normalise
        if given == space or not isinstance(normalise, Normalise):  # see Section.mistakes
            return self.section.eps
        return self.section.eps * normalise.unit if space == "pixels" else self.section.eps / normalise.unit

    def neurons(self, network: AnyNetwork) -> list[int]:
        """The features that the attack drives, one at a time."""
        neurons, width = self.section.neurons, network.feature_width
        if isinstance(neurons, list):
            return neurons
        assert width  # see Section.mistakes
        return Random(f"{self.settings.seed}/neurons").sample(range(width), neurons)

    # ---- tasks -------------------------------------------------------------------------------------------------------

    @cached_property
    def tasks(self) -> dict[str, dict[str, Task]]:
        """Printed name of the network -> printed name of the target -> task, with the models of all methods; after the
        paper's targets one's own.
        """
        tasks = {
            name: {target: self.task(name, data) for target, data in self.section.all_targets.items()}
            for name in self.section.networks
        }
        main, *others = tasks.values()
        for target, task in main.items():
            self.tuned_family(task, self.section.given.get(target))
            self.random_family(task, self.section.given.get(target))
            self.with_regularisation(task)
            self.with_less_data(task)
            for other in others:
                self.as_tuned_elsewhere(other[target], task)
        for network, of_targets in tasks.items():
            for task in of_targets.values():
                self.with_own(network, task)
        for target, task in main.items():
            task.models |= self.ready(target, task.data)
        return tasks

    @property
    def main(self) -> dict[str, Task]:
        """The tasks of the network of all tables and figures but table 6."""
        return next(iter(self.tasks.values()))

    def task(self, name: str, target: str) -> Task:
        """The pretrained network, the target's data, and the adversarial examples for both."""
        section = self.section
        compared = self.data(target, held_out=section.chosen_on == "validation")
        data = self.data(target) if section.trains_anew else compared
        pretrained = section.networks[name]
        network = self.network(pretrained.network)
        if pretrained.weights:
            source = self.brought(network, f"networks.{name}.weights", pretrained.weights)
        else:
            assert section.source and section.schedules.source  # without them mistakes() refuses the section
            source = self.pretrained(self.data(section.source), network, section.schedules.source)
        eps = self.budget(network, section.attack.space)
        attacks = (section.attack.on(neuron, eps) for neuron in self.neurons(network))
        head: Head | Literal["new"] = Head(dropout=pretrained.head_dropout) if pretrained.head_dropout else "new"
        return Task(source, data, compared, [self.crafted(source, data, attack) for attack in attacks], head)

    def sources(self) -> Iterator[tuple[str, Model, AnyAttack]]:
        """The pretrained networks, under the white-box attack."""
        for name, tasks in self.tasks.items():
            source = next(iter(tasks.values())).source
            yield name, source, self.section.white_box.pgd(self.budget(source.network))

    # ---- methods: each fills in models (and choices) of a task -------------------------------------------------------

    def terms(self, **terms: Any) -> Terms:
        """The head's penalty is the same for all methods."""
        return Terms(head_penalty=self.section.head_penalty, **terms)

    def inheriting(self, task: Task, schedule: Schedule | None = None, like: str | None = None, **parts: Any) -> Model:
        """A run that starts from the pretrained network. like: the choice that parts' `tuned` takes values from."""
        tuned_by = task.choices[like].node if like else None
        parts = {"terms": self.terms(), "head": task.head, **parts}
        return self.transferred(
            task.data, task.source, schedule or self.section.schedules.fine_tuning, tuned_by=tuned_by, **parts
        )

    def delta(self, task: Task, **parts: Any) -> Model:
        """DELTA with the values that were chosen for it."""
        return self.inheriting(task, like="DELTA", teacher=task.source, tuned=[*GRID, LAMBDA], **parts)

    def decided(
        self,
        name: str,
        task: Task,
        tried: list[dict[str, float]],
        train: Callable[[Task, dict[str, float] | None], Model],
    ) -> None:
        """Train with the values that are tried, choose, and take the chosen model; or train once more, on all images.

        train: on the data of a task, with these values, or with those that were chosen.
        """
        on_the_rest = replace(task, data=task.compared)
        candidates = [(values, train(on_the_rest, values)) for values in tried]
        task.choices[name] = self.chosen(task.compared, candidates, self.section.chosen_on)
        task.models[name] = train(task, None) if self.section.trains_anew else task.choices[name]

    def tuned_family(self, task: Task, given: Given | None) -> None:
        """Linear classifier, fine-tuning, L2-SP, DELTA: the grid for the first two; the others take what fine-tuning
        chose and try their lambdas. DELTA also with adversarial training.
        """
        section = self.section
        grid = [dict(zip(GRID, point, strict=True)) for point in product(*(getattr(section.grid, n) for n in GRID))]

        def tuned_to(
            name: str, tried: list[dict[str, float]], terms: Callable[[float], Terms] | None, **parts: Any
        ) -> None:
            """Choose among values, those of one term where `terms` makes terms of them; see decided."""

            def train(task: Task, values: dict[str, float] | None) -> Model:
                given = terms(*(values or tried[0]).values()) if terms else self.terms()
                if values is None:  # take what was chosen
                    taken = [*parts.get("tuned", ()), *tried[0]]
                    return self.inheriting(task, terms=given, **parts | {"like": name, "tuned": taken})
                return self.inheriting(task, terms=given, values=None if terms else values, **parts)

            self.decided(name, task, tried, train)

        def weighing(term: str, **more: Any) -> Callable[[float], Terms]:
            return lambda weight: self.terms(**{term: {"weight": weight} | more})

        after: dict[str, Any] = {"like": "Fine-tuning", "tuned": GRID}
        pulling = after
        if (decay := section.l2_sp.weight_decay) is not None:
            pulling = after | {"tuned": GRID[:2], "schedule": section.schedules.fine_tuning.with_(weight_decay=decay)}
        pull, distil = weighing("start_distance", head=section.l2_sp.head), weighing(LAMBDA)
        tuned_to("Linear classifier", grid, None, trainable="head")
        tuned_to("Fine-tuning", grid, None)
        tuned_to("L2-SP", [{"start_distance": value} for value in section.lambdas.l2_sp], pull, **pulling)
        if given:
            values = {name: getattr(given, name) for name in GRID} | {LAMBDA: given.delta}
            tuned_to("DELTA", [values], None, teacher=task.source)
        else:
            weights = [{LAMBDA: value} for value in section.lambdas.delta]
            tuned_to("DELTA", weights, distil, teacher=task.source, **after)
        attack = section.adversarial_training.pgd(self.budget(task.source.network))
        inputs = Inputs(attack=attack, mixing="either")
        task.models["DELTA adv. trained"] = self.delta(task, schedule=section.schedules.adversarial, inputs=inputs)

    def averaged(self, task: Task, start: Model, like: str | None, tuned: Sequence[str] = (), **parts: Any) -> Model:
        """The phase of weight averaging, which goes on from a trained model.

        like: the choice that gives the weight of the features' distance, and the values in `tuned`; none for a model
        without a teacher.
        """
        averaging = self.section.averaging
        if like:
            parts |= {"teacher": task.source, "tuned_by": task.choices[like].node, "tuned": [*tuned, LAMBDA]}
        return self.transferred(
            task.data,
            start,
            self.section.schedules.averaging,
            head="keep",
            # Where nothing is dropped, dropout in the pass for statistics is nothing, and must not make another node.
            averaging=averaging if parts.get("dropout") else averaging.with_(dropout=False),
            terms=self.terms(),
            **parts,
        )

    def re_trained(self, task: Task, **parts: Any) -> Model:
        """A run that starts at random, with no help."""
        schedule = self.section.schedules.re_training
        parts = {"terms": self.terms(), "initialisation": "pytorch", "head": task.head, **parts}
        return self.pretrained(task.data, task.source.network, schedule, **parts)

    def delta_r(self, task: Task, **parts: Any) -> Model:
        """A run that starts at random, with the pretrained network as teacher."""
        schedule = self.section.schedules.re_training
        parts = {"terms": self.terms(), "initialisation": "pytorch", "head": task.head, **parts}
        return self.transferred(task.data, None, schedule, task.source, network=task.source.network, **parts)

    def dropped(self, task: Task, **parts: Any) -> Model:
        """DELTA-R with dropout and the lambda that was chosen for it."""
        parts |= {"dropout": self.section.dropout, "tuned_by": task.choices["DELTA-R"].node, "tuned": [LAMBDA]}
        return self.delta_r(task, **parts)

    def smoothed(self, task: Task) -> Model:
        """DELTA-R with label smoothing."""
        terms = self.terms(label_smoothing=self.section.label_smoothing)
        return self.delta_r(task, terms=terms, tuned_by=task.choices["DELTA-R"].node, tuned=[LAMBDA])

    def renofeation(self, task: Task, **parts: Any) -> Model:
        """DELTA-R with dropout, then averaging."""
        start = self.dropped(task, **parts)
        return self.averaged(task, start, "DELTA-R", dropout=self.section.dropout, **parts)

    def random_family(self, task: Task, given: Given | None) -> None:
        """Re-training; DELTA-R for every lambda; its best, with dropout, with averaging, with both (Renofeation)."""
        models = task.models
        models["Re-training"] = self.re_trained(task)

        def train(task: Task, values: dict[str, float] | None) -> Model:
            if values is None:
                return self.delta_r(task, tuned_by=task.choices["DELTA-R"].node, tuned=[LAMBDA])
            return self.delta_r(task, terms=self.terms(**values))

        tried = sorted({*self.section.lambdas.delta_r, *([given.delta_r] if given else [])})
        for value in tried:
            models[f"lambda {value:g}"] = train(replace(task, data=task.compared), {LAMBDA: value})
        self.decided("DELTA-R", task, [{LAMBDA: value} for value in ([given.delta_r] if given else tried)], train)
        models["DELTA-R + dropout"] = self.dropped(task)
        models[SMOOTHED] = self.smoothed(task)
        models["DELTA-R + SWA"] = self.averaged(task, models["DELTA-R"], "DELTA-R")
        models["Renofeation"] = self.renofeation(task)

    def with_regularisation(self, task: Task) -> None:
        """Figure 6: dropout and averaging on DELTA and on re-training."""
        models, dropout = task.models, self.section.dropout
        models["DELTA + dropout"] = self.delta(task, dropout=dropout)
        models["DELTA + SWA"] = self.averaged(task, models["DELTA"], "DELTA", tuned=GRID[1:])
        models["Re-training + dropout"] = self.re_trained(task, dropout=dropout)
        models["Re-training + SWA"] = self.averaged(task, models["Re-training"], None)

    def with_less_data(self, task: Task) -> None:
        """Table 5: DELTA, Renofeation and re-training on a part of each class's training images."""
        for name, share in self.section.shares.items():
            inputs = Inputs(share=share)
            task.models[f"{name} DELTA"] = self.delta(task, inputs=inputs)
            task.models[f"{name} Renofeation"] = self.renofeation(task, inputs=inputs)
            task.models[f"{name} Re-training"] = self.re_trained(task, inputs=inputs)

    def as_tuned_elsewhere(self, task: Task, main: Task) -> None:
        """Table 6: another network, with the values that were chosen for the first one."""
        task.choices = main.choices
        task.models["DELTA"] = self.delta(task)
        task.models["Renofeation"] = self.renofeation(task)
        task.models["Re-training"] = self.re_trained(task)

    def with_own(self, network: str, task: Task) -> None:
        """Methods of one's own, on all and on a part of each class's training images."""
        for name, method in self.own_methods(network).items():
            task.models[name] = self.own(method, task.data, task.source)
            for share_name, share in self.section.shares.items() if method.takes_all else ():
                task.models[f"{share_name} {name}"] = self.own(method, task.data, task.source, share=share)

    def own_methods(self, network: str | None = None) -> dict[str, Method]:
        """Methods of one's own, but for those that start from another network; the main one unless given."""
        network = network or next(iter(self.section.networks))
        methods = self.section.extra.methods
        return {name: method for name, method in methods.items() if method.source(network) == network}

    @property
    def own_names(self) -> list[str]:
        """Methods of one's own and ready models, in the order of their rows; a ready model is of one target alone."""
        return [*self.own_methods(), *self.section.extra.models]

    @property
    def own_rates(self) -> dict[str, str]:
        """What tables call success rates of attacks of one's own -> the attack's name."""
        return {f"{ASR} ({name})": name for name in self.section.extra.attacks}

    # ---- cells -------------------------------------------------------------------------------------------------------

    def number(self, task: Task, method: str, column: str) -> Cell:
        """One number of a method's model."""
        model = task.models[method]
        if column == CLEAN:
            return self.accuracy(model)
        if column == ASR:
            return shows("attack_success_rate", clean=self.clean(model), **self.driven(task, model))
        if column == ADVERSARIAL:
            return ours_too(shows("adversarial_accuracy", **self.driven(task, model)))
        if column == WHITE_BOX:
            outcomes = self.attacked(model, self.section.white_box.pgd(self.budget(model.network)))
            return ours_too(shows("attack_success_rate", clean=self.clean(model), adversarial=outcomes))
        if column == FEATURES:
            return shows("stage_distance", distances=self.distances_of(task, model))
        name = self.own_rates[column]
        attack = self.section.extra.attacks[name]
        outcomes = self.attacked(model, attack, task.source if attack.by == PRETRAINED else None)
        metric = f"attack_success_rate under {name}"
        return ours_too(shows(metric, clean=self.clean(model), adversarial=outcomes))

    def driven(self, task: Task, model: Model) -> dict[str, Node]:
        """A model's outcomes under the paper's attack, on each neuron in turn."""
        outcomes = [self.under(model, examples) for examples in task.examples]
        names = (f"neuron{i}" for i in range(len(outcomes))) if len(outcomes) > 1 else ("adversarial",)
        return dict(zip(names, outcomes, strict=True))

    def has_distance(self, own: str) -> bool:
        """Whether a model of one's own has the pretrained network's form, so that its distance can be measured."""
        tasks = [task for task in self.main.values() if own in task.models]
        return all(alike(task.models[own].network, task.source.network) for task in tasks)

    def distances_of(self, task: Task, model: Model) -> Node:
        """How far a model is from the pretrained one."""
        schedule = self.section.schedules.fine_tuning
        keys = Augmentation.model_fields if self.section.distance_images == "augmented" else ()
        augmentation = Augmentation(**{key: getattr(schedule, key) for key in keys}) if keys else None
        return build.measure(self.plan, model.node, task.source.node, task.data.node, augmentation, self.settings.seed)

    def rows(self, methods: list[str], *more: str, own: list[str] | None = None) -> Iterator[Cell]:
        """Clean accuracy, ASR and more of methods of the main network, a column a target. own: what is one's own, all
        unless given.
        """
        own = self.own_names if own is None else own
        for method, column in product((*methods, *own), (CLEAN, ASR, *more, ADVERSARIAL, *self.own_rates)):
            if column == FEATURES and method in own and not self.has_distance(method):
                continue
            yield from ours(in_row(f"{method} {column}", self.of_targets(self.main, method, column)), method in own)

    def both(self, methods: list[str]) -> Iterator[Cell]:
        """Clean accuracy and ASR of methods, method and target as row and column."""
        own = self.own_names
        for column, method in product((CLEAN, ASR, *self.own_rates), (*methods, *own)):
            yield from ours(in_row(method, self.of_targets(self.main, method, column)), method in own)

    def of_targets(self, tasks: dict[str, Task], method: str, column: str) -> Numbers:
        """A number of a method on each target that it has a model of."""
        own = self.section.extra.targets
        return {
            target: ours_too(self.number(task, method, column), target in own)
            for target, task in tasks.items()
            if method in task.models
        }

    # ---- tables ------------------------------------------------------------------------------------------------------

    @table(
        1,
        "The target tasks",
        corner="Data set",
        on="",
        general=True,
        texts=lambda self: {"Task category": self.section.categories} if self.section.categories else {},
    )
    def table1(self) -> Iterator[Cell]:
        """What the targets are."""
        for target, task in self.main.items():
            for column in ("train images a class", "test images a class", "classes"):
                cell = shows(column.replace(" ", "_"), data=task.data.node)
                yield from self.on(target, target, column, cell)
            held_out = shows("validation_images_a_class", data=task.data.node)
            yield from ours(placed(target, "train images for validation", held_out), True)

    def on(self, target: str, row: str, column: str, *cells: Cell) -> Iterator[Cell]:
        """Cells of a target in one place."""
        return ours(placed(row, column, *cells), target in self.section.extra.targets)

    table2 = methods_table(2, "Transfer methods under the feature attack", BASELINES)

    @table(3, "Dropout and weight averaging on DELTA-R", corner="Method")
    def table3(self) -> Iterator[Cell]:
        """The regularised methods, with the distance of their features; and the one that is told of in words."""
        return self.rows(REGULARISED, FEATURES, own=[SMOOTHED, *self.own_names])

    table4 = methods_table(4, "Adversarial training and Renofeation", TRAINED, WHITE_BOX)

    @table(5, "A part of the training images", corner="Method")
    def table5(self) -> Iterator[Cell]:
        """The compared methods with less data."""
        takes_all = [name for name, method in self.own_methods().items() if method.takes_all]
        rows, own = ([f"{s} {m}" for s in self.section.shares for m in methods] for methods in (COMPARED, takes_all))
        return self.rows(rows, own=own)

    @table(6, "DELTA, Renofeation and re-training on several networks", corner="Method", on="")
    def table6(self) -> Iterator[Cell]:
        """The compared methods, with the mean over the targets."""
        for network, tasks in self.tasks.items():
            own = self.own_methods(network)
            for method, column in product((*COMPARED, *own), (CLEAN, ASR, ADVERSARIAL, *self.own_rates)):
                numbers = self.of_targets(tasks, method, column)
                average = {"Average": mean([numbers[target] for target in self.section.targets])}
                yield from ours(in_row(f"{network} {method} {column}", numbers | average), method in own)

    @table(
        "choices",
        lambda self: f"Values chosen on the {self.section.chosen_on} split",
        corner="Method",
        where=None,
        general=True,
    )
    def choices(self) -> Iterator[Cell]:
        """What every choice took, how good it was and how many others were; a value that the method has not is left
        out.
        """
        columns = {
            "lr": "lr",
            "momentum": "momentum",
            "weight decay": "weight_decay",
            "lambda_weight": "start_distance",
            "lambda_feat": LAMBDA,
        }
        for target, task in self.main.items():
            for method, choice in task.choices.items():
                metrics = {column: f"chosen_{value}" for column, value in columns.items()}
                metrics |= {"accuracy": "choice_accuracy", "others as good": "choice_ties"}
                for column, metric in metrics.items():
                    yield from self.on(target, f"{method} {target}", column, shows(metric, choice=choice.node))

    @table("neurons", "Attack success rate by the neuron that is driven", corner="Method", where=None)
    def neurons_apart(self) -> Iterator[Cell]:
        """How much the rates that are means elsewhere hang on the neuron."""
        for method, (target, task) in product((*BASELINES, "Renofeation"), self.main.items()):
            model = task.models[method]
            clean, driven = self.clean(model), self.driven(task, model)
            numbers = {
                "mean": shows("attack_success_rate", clean=clean, **driven),
                "worst": shows("worst_attack_success_rate", clean=clean, **driven),
            }
            for i, outcomes in enumerate(driven.values(), start=1):
                numbers[f"neuron {i} of {len(driven)}"] = shows(
                    "attack_success_rate", clean=clean, adversarial=outcomes
                )
            for column, number in numbers.items():
                yield from self.on(target, f"{method} {target}", column, number)

    # ---- figures -----------------------------------------------------------------------------------------------------

    @figure(1, "examples", "The attack on the pretrained network", models=EXAMPLES)
    def figure1(self) -> dict[str, Any]:
        """Some images of the first target, what the attack does to them, and what two models make of both."""
        target, task = next(iter(self.main.items()))
        models = [task.models[name] for name in EXAMPLES]
        shown = {"split": self.section.evaluated_on, "count": SHOWN}
        data, examples = [task.data.node.id], [task.examples[0].id]
        tensors = {
            "clean": {"nodes": data, "read": "images"} | shown,
            "classes": {"nodes": data, "read": "classes"},
            "label": {"nodes": data, "read": "labels"} | shown,
            "adversarial": {"nodes": examples, "read": "examples"} | shown,
        }
        outcomes = {
            "clean": [self.clean(model).id for model in models],
            "adversarial": [self.under(model, task.examples[0]).id for model in models],
        }
        tensors |= {f"{of}_prediction": {"nodes": ids, "read": "predictions"} | shown for of, ids in outcomes.items()}
        cells = [cell for cell in self.both(EXAMPLES) if cell["column"] == target and not is_ours(cell)]
        return {"cells": cells, "tensors": tensors}

    @figure(
        2,
        "scatter",
        "Robustness and the distance from the pretrained model",
        y=ASR_AXIS,
        x=[
            {"metric": "weight_distance", "label": "squared distance of the weights"},
            {"metric": "stage_distance", "label": "squared distance of the features"},
        ],
        rows="Method",
        columns="Data set",
    )
    def figure2(self) -> Iterator[Cell]:
        """ASR against the distance between the transferred and the pretrained model, a point a model."""
        own = list(filter(self.has_distance, self.own_methods()))
        for method in (*BASELINES, *own):
            for target, task in self.main.items():
                measured = self.distances_of(task, task.models[method])
                distances = [shows(f"{of}_distance", distances=measured) for of in ("weight", "stage")]
                cells = self.on(target, method, target, self.number(task, method, ASR), *distances)
                yield from ours(cells, method in own)

    figure3 = bars(3, "The role of the pretrained weights", WITHOUT_WEIGHTS)
    figure3_published = bars_published(3, "The role of the pretrained weights", WITHOUT_WEIGHTS)

    @figure(
        4,
        "tradeoff",
        "The weight of feature distillation in DELTA-R",
        x=CLEAN_AXIS,
        y=ASR_AXIS,
        sweep=r"$\lambda_{feat}$",
        chosen=f"chosen_{LAMBDA}",
    )
    def figure4(self) -> Iterator[Cell]:
        """Clean accuracy against ASR along lambda, a line a target; a star at the value that is used."""
        for target, task in self.main.items():
            for value in self.section.lambdas.delta_r:
                numbers = [self.number(task, f"lambda {value:g}", column) for column in (CLEAN, ASR)]
                yield from self.on(target, target, f"{value:g}", *numbers)
            chosen = shows(f"chosen_{LAMBDA}", choice=task.choices["DELTA-R"].node)
            yield from self.on(target, target, "chosen", chosen)

    figure5 = bars(5, "Renofeation and the baselines", [*BASELINES, "Renofeation"])
    figure5_published = bars_published(5, "Renofeation and the baselines", [*BASELINES, "Renofeation"])

    figure6 = bars(6, "Dropout and weight averaging on the baselines", WITH_EACH)
