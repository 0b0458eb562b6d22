"""The config: what its layers say once they are laid over each other, and every mistake in one message."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, create_model, model_validator

from robust_transfer.errors import UserError
from robust_transfer.plan.layers import Layer, differing, is_mapping, lay_over, look, scale_name, without_nulls
from robust_transfer.plan.mistakes import check, did_you_mean, heading, path_of
from robust_transfer.plan.protocol import NAMES, Protocol, chosen, resolve, set_apart
from robust_transfer.plan.shapes import Shape, shape_of
from robust_transfer.plan.specs import (
    AnyDataset,
    AnyNetwork,
    Count,
    Positive,
    Schedule,
    Spec,
    WholeNumber,
)
from robust_transfer.specs.fields import CANONICAL
from robust_transfer.specs.precision import Compiled, Precision, Precisions

Known = TypeVar("Known")


def each_once(entries: list) -> list:
    """A list, refused where an entry stands in it twice."""
    if any(entry in entries[:place] for place, entry in enumerate(entries)):
        raise ValueError("an entry stands here twice; take one away")
    return entries


class Machine(Spec):
    """Where and how nodes run. Nothing here enters an id but a training's precision, and that it is compiled."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes the GPU where there is one."""
    threads: Count = 1
    """CPU threads of one node; sums may differ in the last bit between thread counts, so a node's card names it."""
    memory_mb: Count = 8000
    """Memory that a training, attack or evaluation asks the scheduler for at least, and on a cluster more where the
    cost model says so; as much again for each retry.
    """
    gpus: WholeNumber = 0
    """GPUs a training, attack or evaluation asks the scheduler for (0 at digits scale); a training uses all of them."""
    precision: Precision | Precisions = "float32"
    """In what networks compute: float32, tf32 (a GPU's products of 10 bits) or bf16 (autocast); one word for
    trainings, attacks' steps and certification, or one for each. What judges computes in float32 in any case.
    """
    compile: list[Compiled] = []  # noqa: RUF012 (pydantic copies it)
    """Kinds of training whose networks torch compiles block by block."""
    checkpoint_seconds: Positive = 60.0
    """How often a running training saves its state."""
    longest_job: Positive = 24.0
    """Hours that a job asks a cluster for at most, if what it makes continues where it was stopped: it comes back."""

    @model_validator(mode="after")
    def _compiled_alone(self):
        if self.gpus > 1 and self.compile:
            raise ValueError("compile: a training on several GPUs is not compiled; take compile out, or set gpus to 1")
        return self


class Settings(Spec):
    """The config but for the studies' own sections."""

    scale: str
    """Data sets, networks and schedules: digits (2 CPU cores, minutes), cifar (one GPU, hours), paper (as printed, for
    a cluster), another name in workflow/scales/, or the path of a .yaml file.
    """
    protocol: Protocol = "corrected"
    """Where paper and code disagree: paper (the text), code (the authors'), corrected (the sound way) or as_published
    (what made the paper's tables, as far as it is known: code, but where a switch says otherwise).
    """
    switches: dict[str, Protocol] = Field(default_factory=dict)
    """Single disagreements set apart from the protocol, e.g. {D15: code}, or all parts of one, e.g. {D6: code}."""
    studies: Annotated[list[str], Field(min_length=1)]
    """The papers whose tables and figures are made, and custom for a study of one's own."""
    main_study: str
    """The study that results/tables/tableN.csv means."""
    compare_protocols: bool = False
    """true also makes results/tables/STUDY/protocols: what each switch does to the headline numbers."""
    seed: WholeNumber = 0
    """Seed of every initialisation, order, augmentation and random start."""
    seeds: Annotated[list[WholeNumber], AfterValidator(each_once)] = []  # noqa: RUF012 (pydantic copies it)
    """Several seeds in place of one: every training and attack runs with each, and what is shown is their mean."""
    data_root: str = "data"
    """Folder of the data sets that are not embedded; relative to config.yaml."""
    machine: Machine = Machine()
    datasets: dict[str, AnyDataset]
    """The data sets by name."""
    networks: dict[str, AnyNetwork]
    """The networks by name."""
    _overlaid: tuple[str, ...] = ()
    """Paths of the values that the layers over recipes and scale change."""

    @property
    def all_seeds(self) -> list[int]:
        """The seeds that are planned; `seed` is the one that a study plans with."""
        return self.seeds or [self.seed]

    @property
    def changes_scale(self) -> bool:
        """Whether the config changes a value of recipes and scale: of a study, a data set or a network."""
        return bool(self._overlaid)

    def in_words(self, section: str, names: Collection[str]) -> str:
        """What a caption says of the config: the protocol, the switches that are set apart from it, a single seed other
        than 0, and which values of recipes and scale are changed.

        section: whose values count, beside data sets and networks of these names.
        """
        apart = ", ".join(f"{name}: {choice}" for name, choice in set_apart(self.protocol, self.switches).items())
        # By name: the order in which files are written means nothing.
        changed = sorted(path.removeprefix(f"{section}.") for path in self._overlaid if _is_of(path, section, names))
        first, *others = self.all_seeds
        words = [
            f"protocol {self.protocol}" + (f" but for {apart}" if apart else ""),
            *([f"seed {first}"] if first and not others else []),
            *([f"changed in the config: {', '.join(changed)}"] if changed else []),
        ]
        return ", ".join(words)

    def seeded(self, schedule: Schedule) -> Schedule:
        """A schedule with the config's seed, unless it has one of its own."""
        own = "seed" in schedule.model_fields_set
        return schedule if own else schedule.with_(seed=self.seed)


def _is_of(path: str, section: str, names: Collection[str]) -> bool:
    """Whether a caption of a section names a path of the config. Rows of one's own and the split it says elsewhere."""
    place, _, rest = path.partition(".")
    if place == section:
        return rest.partition(".")[0] not in ("", "extra", "evaluated_on")
    return place in ("datasets", "networks") and rest.partition(".")[0] in names


def load(
    layers: Sequence[Layer], sections: Mapping[str, type[Spec]]
) -> tuple[Settings | None, dict[str, Any], list[str]]:
    """The settings, all values with the switches resolved, and the mistakes found so far.

    layers: all of them, the lowest first. sections: the model of each study's part of the config.
    """
    mistakes: list[str] = []
    shape = shape_of_all(tuple(sections.items()))
    values = _laid(layers, shape)

    switches = values["switches"] if isinstance(values.get("switches"), dict) else {}
    mistakes += [
        f"switches.{name}: unknown switch; the switches are {', '.join(NAMES)}"
        for name in switches
        if name not in NAMES
    ]
    choices = chosen(values.get("protocol"), switches)

    def is_given(path: tuple[str, ...]) -> bool:
        found = (look(layer.values, path, choices) for layer in layers)
        return any(value and value[0] is not None for value in found)

    values = {key: v if key == "switches" else resolve(v, choices, mistakes, key) for key, v in values.items()}
    values = without_nulls(values, shape, is_given)
    own = {key: values[key] for key in Settings.model_fields if key in values}
    own["scale"] = scale_name(own.get("scale"))
    settings = check(Settings, own, "", mistakes)
    if settings:
        below = _laid([layer for layer in layers if not layer.over_scale], shape)
        below = without_nulls({key: resolve(value, choices, []) for key, value in below.items()}, shape, is_given)
        settings._overlaid = tuple(changes(below, values, sections))
    return settings, values, mistakes


def changes(below: Mapping[str, Any], values: Mapping[str, Any], sections: Mapping[str, type[Spec]]) -> Iterator[str]:
    """Paths of the data sets, networks and values of studies in which values (switches resolved) depart from others
    below. Another label, a default that is written out, and another way to write a number change nothing; what is taken
    away is named.
    """
    models: dict[str, Any] = {key: Settings.model_fields[key].annotation for key in ("datasets", "networks")}
    for key, model in (models | dict(sections)).items():
        if key not in values or below.get(key) == values[key]:
            continue
        whole: TypeAdapter[Any] = TypeAdapter(model)
        written = list(differing(below.get(key, {}), values[key], key))
        try:
            old, new = (
                whole.dump_python(
                    whole.validate_python(each), mode="json", by_alias=True, exclude_defaults=True, context=CANONICAL
                )
                for each in (below.get(key, {}), values[key])
            )
        except ValidationError:  # a mistake, which has its sentence, or a study of one's own, of which nothing is below
            yield from written
            continue
        changed = [f"{path}." for path in differing(old, new, key)]
        for path in written:
            means_something = any(one.startswith(f"{path}.") or f"{path}.".startswith(one) for one in changed)
            if means_something or not look({key: values[key]}, tuple(path.split(".")), {}):
                yield path


def _laid(layers: Iterable[Layer], shape: Shape) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for layer in layers:
        if "seed" in layer.values:  # it goes before the seeds of the layers below
            values.pop("seeds", None)
        for key, value in layer.values.items():  # the whole config is no switched value, whatever its keys
            values[key] = lay_over(values[key], value, shape.under({}, key)) if key in values else value
    return values


@cache
def shape_of_all(sections: tuple[tuple[str, type[Spec]], ...]) -> Shape:
    """The shape of the whole config, with the sections of some studies."""
    fields: dict[str, Any] = {name: (section, ...) for name, section in sections}
    return shape_of(create_model("Config", __base__=Settings, **fields))


def fail(mistakes: Iterable[str], layers: Sequence[Layer]) -> None:
    """Raise one UserError that lists every mistake, if there is any, under the files in which it can be mended."""
    of_files: dict[tuple[str, ...], list[str]] = {}
    for line in dict.fromkeys(mistakes):
        of_files.setdefault(_mended_in(path_of(line), layers), []).append(f"  - {line}")
    if of_files:
        raise UserError("\n".join("\n".join([heading(names), *lines]) for names, lines in of_files.items()))


def _mended_in(path: str, layers: Sequence[Layer]) -> tuple[str, ...]:
    """The user's layer that gives a path, or else what stands beside it; all of them where none does."""
    missed = [
        (layer.name, _missed(layer.values, path)) for layer in reversed(layers) if layer.values and not layer.shipped
    ]
    giving = [name for name, rest in missed if not rest]
    beside = [name for name, rest in missed if rest != path and "." not in rest]
    return tuple((giving or beside)[:1] or dict.fromkeys(name for name, _ in reversed(missed)))


def _missed(values: Mapping[str, Any], path: str) -> str:
    """The last keys of a path like `davchev.depths.12` that a layer does not give; what is no mapping gives all below
    it.
    """
    for key, value in values.items():
        if path == key:
            return ""
        if path.startswith((f"{key}.", f"{key}[")):
            return _missed(value, path.removeprefix(key).removeprefix(".")) if is_mapping(value) else ""
    return path


def look_up(name: str, known: Mapping[str, Known], what: str, path: str, mistakes: list[str]) -> Known | None:
    """known[name], or a mistake that lists what there is. path: of the name, which is its last key where it is one."""
    if not isinstance(name, str) or name not in known:
        if all(path_of(line) != path for line in mistakes):
            one_of = f"write one of {', '.join(known)}{did_you_mean(name, known)}"
            one_of += f", or {name}: null" if path.endswith(f".{name}") else ""
            mistakes.append(f"{path}: unknown {what} {name!r}; {one_of}")
        return None
    return known[name]
