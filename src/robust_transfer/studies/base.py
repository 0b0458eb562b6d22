"""What every study shares: models and their outcomes as nodes, and tables and figures from the cells of methods.

A study is a `Section`, the model of its part of the config, and a `Study` with methods that yield cells. Those marked
by `table` or `figure` are what it adds to the plan, in the order in which they stand.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BeforeValidator, ValidationError

from robust_transfer.models import zoo
from robust_transfer.plan import build, weights
from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.published import PRINTED, published_table
from robust_transfer.plan.specs import (
    AnyAttack,
    AnyDataset,
    AnyNetwork,
    Augmentation,
    FeatureAttack,
    Last,
    Recipe,
    Schedule,
    Smoothing,
    Spec,
    SplitName,
)
from robust_transfer.specs.origins import Origin
from robust_transfer.studies import checks
from robust_transfer.studies.checks import Brought

Cell = dict[str, Any]
"""What a place of a table or figure shows: row, column, metric, nodes: {role: id}; see graph.Product."""

Headline = tuple[str, list[tuple[str, str]]]
"""The name of a table, and some of its cells as (row, column): those that `protocols` compares."""

Numbers = dict[str, Cell]
"""Numbers of one model, which have no place yet, by the names of their columns."""


def last_units(k: Any) -> Any:
    """A number of units as a Last."""
    return k if isinstance(k, Last) else {"last": k, "of": "units"}


Units = Annotated[Last, BeforeValidator(last_units)]
"""A k of the config: the last so many units."""


NOTHING = Origin(file="nothing", sha256="0" * 64)
"""What is brought in a plan that has a mistake there: the plan is refused once all mistakes are found."""


@dataclass(frozen=True)
class Data:
    """A data set by its name in the config, as it is divided for some run."""

    name: str
    dataset: AnyDataset
    plan: Plan = field(repr=False, compare=False)

    @cached_property
    def node(self) -> Node:
        """The node that prepares it, which is in the plan from when it is first asked for."""
        return build.prepare(self.plan, self.dataset)


@dataclass(frozen=True)
class Model:
    """A trained network.

    learnt: the data set of its classes; None of one that is brought to be transferred. source: what it was transferred
    from: its start, or its teacher where it has no start; None of one that had no help.
    """

    node: Node
    network: AnyNetwork
    learnt: Data | None = None
    source: "Model | None" = None

    @property
    def data(self) -> Data:
        """The data set of its classes, on which it can be evaluated."""
        assert self.learnt, f"{self.node.id} is only there to be transferred"
        return self.learnt


class Section(Spec):
    """What a study's part of the config has in common with the others'."""

    evaluated_on: Literal["test", "validation"] = "test"
    """test is what is reported; validation is for choosing what no grid chooses (eps, a schedule)."""

    def mistakes(self, settings: Settings) -> Iterator[str]:
        """A sentence for each mistake that no single value shows, from the key on. Names may still be unknown."""
        yield from ()


S = TypeVar("S", bound=Section)


class Study(Generic[S]):
    """One paper. name: that of its section. paper: as captions cite it. decimals: of its tables; 1 unless given.
    measured_on: what the paper's tables are measured on, where their rows and columns do not say so.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    decimals: ClassVar[int | dict[str, int] | None] = None
    measured_on: ClassVar[str] = ""
    Section: ClassVar[type[Section]]

    def __init__(self, settings: Settings, section: S, plan: Plan):
        self.settings, self.section, self.plan = settings, section, plan
        self._mistakes: dict[str, str] = {}
        self._without_validation: dict[str, dict[str, str]] = {}
        self.schedules: dict[str, Schedule] = {}  # id of a training -> the section's schedule behind its own

    def headline(self) -> Headline:
        """A table, and the few cells of it that show what a switch does."""
        raise NotImplementedError

    def measured(self) -> str:
        """What a caption says of this study alone."""
        return ""

    def sources(self) -> Iterator[tuple[str, Model, AnyAttack]]:
        """The models that are transferred from, with the study's attack: the rows of the table `sources`."""
        yield from ()

    def products(self) -> Iterable[Callable]:
        """The methods that are marked as tables and figures, in order; then the table of the sources."""
        return [*(method for method in vars(type(self)).values() if hasattr(method, "product")), sources_table]

    def add(self) -> list[str]:
        """Add all tables and figures, and all that they need; or return a sentence for each mistake in the section."""
        found = checks.unknown_names(self.settings, self.section, self.name)
        found += [f"{self.name}.{sentence}" for sentence in self.section.mistakes(self.settings)]
        if found:
            return found
        try:
            for method in self.products():
                self._add_product(method)
        except ValidationError as error:  # values that are well each by itself, and do not go together
            found = [f"{self.name}.{item['msg'].removeprefix('Value error, ')}" for item in error.errors()]
        order = [path for path, *_ in checks.values_of(self.section, self.name)]
        for data, keys in self._without_validation.items():
            in_order = {path: keys[path] for path in order if path in keys}
            found.append(checks.no_validation_split(data, in_order))
        return [*self._mistakes.values(), *found]

    def _add_product(self, method: Callable[["Study[S]"], Iterable[Cell] | dict[str, Any]]) -> None:
        kind, name, given = vars(method)["product"]
        spec = {key: value(self) if callable(value) else value for key, value in given.items()}
        made = method(self)
        spec |= made if isinstance(made, dict) else {"cells": list(made)}
        if not spec["cells"] and "tensors" not in spec:
            return
        spec["cells"] = sorted(spec["cells"], key=is_ours)  # what is ours comes after what the paper has
        whole = spec.pop("caption", None)
        spec["measured"] = whole or self.caption(spec.get("measured", self.measured())) + self.remark(
            kind, spec["cells"]
        )
        if kind == "table":
            spec |= {} if self.decimals is None else {"decimals": self.decimals}
            spec["published"] = spec["published"] and f"{self.paper}, {spec['published']}"
            spec["on"] = self.measured_on if spec["on"] is None else spec["on"]
        self.plan.add_product(kind, self.name, name, spec)

    def caption(self, own: str) -> str:
        """The line below a table or figure. own: what this study or product says beside the rest."""
        scene = f"Measured at scale {self.settings.scale}" + (f": {own}" if own else "")
        return f"{scene}, {self.section.evaluated_on} split, {self._settings_in_words}"

    @cached_property
    def _settings_in_words(self) -> str:
        """The protocol, and what is set apart from it in what this study reads."""
        named = [value for _, value, refers in checks.values_of(self.section, self.name) if refers]
        return self.settings.in_words(self.name, named)

    def remark(self, kind: str, cells: list[Cell]) -> str:
        """What a caption says at its end of a table or figure (kind) with these cells."""
        return ""

    def scene(self, source: str | None, *targets: str) -> str:
        """`cifar100 -> CIFAR-10, SVHN`, for captions. source: a data set of the config; ImageNet where it is none."""
        return f"{self.settings.datasets[source].slug if source else 'ImageNet'} -> {', '.join(targets)}"

    def printed(self, table: str) -> list[Cell]:
        """The numbers that the paper prints in a table, as cells."""
        found = published_table(self.name, table).items()
        return [cell for place, value in found for cell in placed(*place, shows(PRINTED) | {"published": value})]

    # ---- models ------------------------------------------------------------------------------------------------------

    def data(self, name: str, held_out: bool = False) -> Data:
        """A data set of the config. Its validation split is held out only from a run whose schedule reads it, unless it
        is held out from all, so that runs can be compared on it: held_out, or evaluated_on: validation. Otherwise its
        images train. The test split is the same in either case.
        """
        dataset = self.settings.datasets[name]
        if not held_out and self.section.evaluated_on == "test":
            dataset = dataset.with_(validation=0)
        return Data(name, dataset, self.plan)

    def _divided(self, data: Data, schedule: Schedule) -> Data:
        """A data set as a run of this schedule has it."""
        if not (key := checks.validation_key(schedule)):
            return data
        self._needs_validation(data, schedule, *key)
        return self.data(data.name, held_out=True)

    def network(self, name: str) -> AnyNetwork:
        """A network of the config."""
        return self.settings.networks[name]

    def pretrained(self, data: Data, network: AnyNetwork, schedule: Schedule, **parts: Any) -> Model:
        """A network trained from a random start with no help. schedule: as the section has it. parts: of its Recipe."""
        data = self._divided(data, schedule)
        recipe = self._recipe(network, schedule, network=network, **parts)
        node = build.pretrain(self.plan, data.node, recipe)
        self.schedules.setdefault(node.id, schedule)
        return Model(node, network, data)

    def transferred(
        self,
        data: Data,
        start: Model | None,
        schedule: Schedule,
        teacher: Model | None = None,
        keeps_features: bool = False,
        tuned_by: Node | None = None,
        **parts: Any,
    ) -> Model:
        """A target model. start: whose weights it inherits; none is a random start of the network in parts.

        teacher: whose stages are distilled. keeps_features: it must keep the features of its start. tuned_by: the
        choice it takes values from. schedule, parts: as in `pretrained`.
        """
        network, data = start.network if start else parts["network"], self._divided(data, schedule)
        recipe = self._recipe(network, schedule, **parts)
        node = build.transfer(
            self.plan,
            data.node,
            recipe,
            start=start.node if start else None,
            teacher=teacher.node if teacher else None,
            features=build.features(self.plan, start.node, data.node) if start and keeps_features else None,
            tuned=tuned_by,
        )
        self.schedules.setdefault(node.id, schedule)
        return Model(node, network, data, start or teacher)

    def brought(
        self,
        network: AnyNetwork,
        key: str,
        given: str | Origin,
        data: Data | None = None,
        own: Data | None = None,
    ) -> Model:
        """A model that was trained elsewhere. key: where the section names it.

        data: of the model's own classes, where it is not to be transferred but evaluated as it is. own: of the classes
        of one that is transferred, where the origin itself does not say; its accuracy there is measured first.
        """
        origin, path = (Origin(weights=given), "") if isinstance(given, str) else (given, ".weights")
        if origin.weights and (sentence := checks.weights_of_others(network)):
            self._mistaken(f"{self.name}.{key}{path}", sentence)
            return Model(build.bring(self.plan, network, NOTHING), network, data or own)
        if origin.robustbench and (sentence := zoo.differs(origin.robustbench, network)):
            self._mistaken(f"{self.name}.{key}.robustbench", sentence)
            return Model(build.bring(self.plan, network, NOTHING), network, data or own)
        if origin.path and origin.sha256 is None:
            origin = origin.with_(sha256=self._sha256(origin, f"{self.name}.{key}.file"))
        if isinstance(origin, Brought) and origin.data and data is None:
            own = self.data(origin.data)
        node = build.bring(self.plan, network, origin, data.node if data else None, own.node if own else None)
        return Model(node, network, data or own)

    def _sha256(self, origin: Origin, path: str) -> str | None:
        """That of a brought file: as it was recorded, or else as it is. path: where the config names it.

        Returns:
            None of one that is fetched and was not recorded: the commit, or the id on Google Drive, stands for it, and
            the sha256 of what came is in the node's card.
        """
        name = str(origin.path)
        if (recorded := weights.recorded().get(name)) or origin.is_fetched:
            return recorded
        there = Path(self.settings.data_root) / "weights" / name
        if there.is_file():
            return weights.sha256_of(there)
        self._mistaken(path, f"{there} is missing; put the file there, or give its sha256")
        return "0" * 64

    def chosen(
        self,
        data: Data,
        candidates: list[tuple[dict[str, float], Model]],
        chosen_on: SplitName,
        under: AnyAttack | None = None,
        wanted_by: tuple[Spec, str, str] | None = None,
    ) -> Model:
        """The best of several models on a split, each with the values it had.

        data: held out from all of them, where that split is validation. under: an attack, the accuracy under which
        counts as much as the clean one. wanted_by: what has the key that wants the choice, the key, and a value of it
        that needs no validation split; the section and its chosen_on unless given.
        """
        if chosen_on == "validation":
            self._needs_validation(data, *(wanted_by or (self.section, "chosen_on", "test")))
        nodes = [(values, model.node) for values, model in candidates]
        attacked = [self.attacked(model, under, split=chosen_on) for _, model in candidates] if under else []
        node = build.choose(self.plan, data.node, nodes, chosen_on, attacked)
        _, first = candidates[0]
        return Model(node, first.network, data, first.source)

    def _recipe(
        self,
        of: AnyNetwork,
        schedule: Schedule,
        augmentation: Augmentation | None = None,
        values: dict[str, float] | None = None,
        **parts: Any,
    ) -> Recipe:
        """The recipe of a run that trains the network `of`; values: what a grid search tries (Recipe.with_values)."""
        augmented = augmentation.model_dump() if augmentation else {}
        recipe = Recipe(schedule=self.settings.seeded(schedule).with_(**augmented), **parts)
        for part, sentence in checks.too_deep(recipe, of):
            if (path := self._path(part)) != self.name:  # a part that the study makes itself is checked by its section
                self._mistaken(path, sentence)
        return recipe.with_values(values) if values else recipe

    # ---- outcomes ----------------------------------------------------------------------------------------------------

    def clean(self, model: Model, split: SplitName | None = None) -> Node:
        """Each image's outcome without an attack, by default of the split that is evaluated."""
        split = split or self._evaluated(model.data)
        return build.evaluate(self.plan, model.node, model.data.node, split=split)

    def crafted(self, model: Model, data: Data, attack: AnyAttack) -> Node:
        """Adversarial examples of the images of `data`, made against a model."""
        split, attack = self._evaluated(data), self._in_units_of(model.network, attack)
        return build.craft(self.plan, model.node, data.node, attack, self.settings.seed, split)

    def _in_units_of(self, network: AnyNetwork, attack: AnyAttack) -> AnyAttack:
        """An attack whose budget is in units of the network's input, with that network's normalisation."""
        if not isinstance(attack, FeatureAttack) or attack.space != "normalised":
            return attack
        if network.normalise == "per-image":
            sentence = f"the network {network.slug} normalises each image by its own pixels; write pixels"
            self._mistaken(f"{self._path(attack)}.space", sentence)
            return attack
        return attack.with_(mean=network.normalise.mean, std=network.normalise.std)

    def under(self, model: Model, examples: Node) -> Node:
        """Each image's outcome as an adversarial example of the model's own data."""
        return build.evaluate(self.plan, model.node, model.data.node, examples)

    def attacked(
        self, model: Model, attack: AnyAttack, surrogate: Model | None = None, split: SplitName | None = None
    ) -> Node:
        """Each image's outcome under an attack on this very model, or on a surrogate. split: as in `clean`."""
        surrogate, split, seed = surrogate or model, split or self._evaluated(model.data), self.settings.seed
        attack = self._in_units_of(surrogate.network, attack)
        return build.attacked(self.plan, model.node, model.data.node, attack, seed, split, surrogate=surrogate.node)

    def certificates(self, model: Model, smoothing: Smoothing) -> Node:
        """The smoothed model's certificates."""
        split = self._evaluated(model.data)
        return build.certify(self.plan, model.node, model.data.node, smoothing, self.settings.seed, split)

    def accuracy(self, model: Model, examples: Node | None = None) -> Cell:
        """A model's accuracy, clean or on adversarial examples."""
        return shows("accuracy", outcomes=self.under(model, examples) if examples else self.clean(model))

    def robustness(self, model: Model, attack: AnyAttack) -> Cell:
        """A model's accuracy under an attack on itself."""
        return shows("robustness", outcomes=self.attacked(model, attack))

    # ---- mistakes ----------------------------------------------------------------------------------------------------

    def _evaluated(self, data: Data) -> SplitName:
        """The split that is evaluated."""
        if self.section.evaluated_on == "validation":
            self._needs_validation(data, self.section, "evaluated_on", "test")
        return self.section.evaluated_on

    def _needs_validation(self, data: Data, owner: Spec, key: str, instead: str) -> None:
        """Note where the validation split is missing that a key needs. owner: what has the key. instead: see checks."""
        if self.settings.datasets[data.name].validation == 0:
            self._without_validation.setdefault(data.name, {})[f"{self._path(owner)}.{key}"] = instead

    def _mistaken(self, path: str, sentence: str | None) -> None:
        """Keep what is wrong at a path of the config, if anything is; the first time it shows."""
        if sentence:
            self._mistakes.setdefault(path, f"{path}: {sentence}")

    def _path(self, part: Spec) -> str:
        """Where a part of the section stands in the config."""
        found = (path for path, value, _ in checks.values_of(self.section, self.name) if value is part)
        return next(found, self.name)


# ---- cells, tables and figures ---------------------------------------------------------------------------------------


def shows(metric: str, **nodes: Node) -> Cell:
    """A cell that has no place yet: the metric, and the nodes it is computed from, by role."""
    return {"metric": metric, "nodes": {role: node.id for role, node in nodes.items()}}


def is_ours(cell: Cell) -> bool:
    """Whether a cell is none of the paper's."""
    return cell.get("ours", False)


def placed(row: str, column: str, *cells: Cell) -> Iterator[Cell]:
    """Cells in one place of a table or figure."""
    return ({"row": row, "column": column} | cell for cell in cells)


def in_row(row: str, numbers: Numbers, prefix: str = "") -> Iterator[Cell]:
    """A row of a table. prefix: what the names of the columns begin with."""
    for column, number in numbers.items():
        yield from placed(row, prefix + column, number)


def grid(rows: Iterable[tuple[str, Model]], numbers: Callable[[Model], Numbers]) -> Iterator[Cell]:
    """A row a model, a column a number of it."""
    return (cell for row, model in rows for cell in in_row(row, numbers(model)))


def mean(cells: list[Cell]) -> Cell:
    """The mean of numbers of one metric."""
    nodes = {f"{role}_{i}": node for i, cell in enumerate(cells) for role, node in cell["nodes"].items()}
    return {**cells[0], "metric": f"mean_{cells[0]['metric']}", "nodes": nodes}


def _product(kind: str, name: str, **spec: Any) -> Callable[[Callable], Callable]:
    def mark(method: Callable[[Any], Iterable[Cell]]) -> Callable:
        vars(method)["product"] = kind, name, spec
        return method

    return mark


def table(number: int | str, title: Any, corner: str, where: str | None = "", on: str | None = None, **spec: Any):
    """Mark a method as a table, by its number in the paper or by a name of ours.

    Any value may be a function of the study. corner: what heads the rows' names. where: in the paper, if more is to be
    said than the number; None where no paper prints it. on: what the paper measured it on, in place of
    Study.measured_on. measured: what the caption says in place of Study.measured; caption: all that it says.
    """
    name = f"table{number}" if isinstance(number, int) else number
    published = where if where is None or where else f"Table {number}"
    return _product("table", name, title=title, corner=corner, published=published, on=on, **spec)


def figure(number: int | str, draw: str, title: Any, **spec: Any):
    """Mark a method as a figure, likewise. draw: the function that draws it, and spec: what that needs to know.

    A method whose figure shows more than cells returns what it adds to the spec: cells, tensors, ...
    """
    name = f"fig{number}" if isinstance(number, int) else number
    return _product("figure", name, draw=draw, title=title, **spec)


def _evaluated_sources(study: Study) -> Iterator[tuple[str, Model, AnyAttack]]:
    """The sources that have a task of their own, of whose data there is the split that is evaluated."""
    for row, model, attack in study.sources():
        if model.learnt and (study.section.evaluated_on == "test" or model.data.dataset.validation):
            yield row, model, attack


def _attacks_on_sources(study: Study) -> str:
    return "attacked by " + ", ".join(dict.fromkeys(attack.slug for *_, attack in _evaluated_sources(study)))


@table("sources", "The sources on their own task", corner="Source", where=None, measured=_attacks_on_sources)
def sources_table(study: Study) -> Iterator[Cell]:
    """Each source's own accuracy, clean and under the study's attack on itself: the first thing to look at where a
    reproduction is off.
    """
    for row, model, attack in _evaluated_sources(study):
        yield from in_row(row, {"clean": study.accuracy(model), "attacked": study.robustness(model, attack)})
