"""Terms of the loss: the base of each, and what a training does with all of them together."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_serializer, model_validator

from robust_transfer.specs.fields import Spec, in_slug, number
from robust_transfer.specs.passes import PerImage

if TYPE_CHECKING:
    from torch import Tensor

    from robust_transfer.models.classifier import Classifier
    from robust_transfer.recipes import Recipe
    from robust_transfer.training.objective import Objective


class Term(Spec):
    """A term of the loss; see docs/terms.md. Its name in `terms:` is that of its file.

    A term with one field may be written as that number, and then 0 means that it is absent. So may one that names a
    field for it, where the others have their defaults.
    """

    slug_part: ClassVar[str] = ""
    """What it adds to the slugs of trainings."""
    function_of: ClassVar[Literal["batch", "step", "weights"]] = "step"
    """What it is a function of: each batch that the network is shown, clean or adversarial (a `Shown`; its value counts
    as that batch does), a whole iteration (a `Step`), or the weights alone."""
    replaces_cross_entropy: ClassVar[bool] = False
    """Whether it takes the place of the cross entropy of what it is a function of."""
    needs: ClassVar[Literal["start", "teacher", "features"] | None] = None
    """What a run must have beside data: the parent of its node, by role."""
    looks_at: ClassVar[frozenset[str]] = frozenset()
    """The batches, clean and adversarial, that it has shown whether the inputs weigh them or not."""
    has_accuracy: ClassVar[bool] = True
    """Whether the network that it trains predicts classes, so that its accuracy can be measured."""
    rank: ClassVar[int] = 0
    """Terms are added in rising rank, and by name in one rank: a floating-point sum depends on the order."""

    @property
    def numbers(self) -> str:
        """Its weight, or the number that it is, and how many units it takes, for slugs: `0_005x6`."""
        shown = {self.number_field(), "weight", "units"}
        return "x".join(in_slug(value) for name, value in self if name in shown)

    @property
    def observed_unit(self) -> int | None:
        """The unit, counted from the end, whose input it looks at; see Classifier.observe."""
        return None

    @property
    def over_images(self) -> Literal["mean", "sum", "together"]:
        """How a batch's images are put together: a mean (or no function of them), a sum, or compared with each other,
        which takes `Objective.rows`. A batch may pass in parts, on several devices or one after another.
        """
        return "mean"

    @property
    def two_crops(self) -> float | None:
        """Least share of a photograph's area in each of two random crops, where it wants two; see batches.stream."""
        return None

    def mistakes(self, recipe: "Recipe") -> Iterator[str]:
        """A sentence for everything in a recipe that does not go with it."""
        yield from ()

    @property
    def shown(self) -> int:
        """How many batches of its own an iteration shows the network."""
        return 0

    def passes(self, recipe: "Recipe") -> PerImage:
        """What an attack of its own costs an image; see Attack.passes."""
        return PerImage(0, 0)

    def equip(self, network: "Classifier") -> None:
        """Give the network what it needs for this training alone, in place."""

    def strip(self, network: "Classifier", classes: int) -> None:
        """Take that away when the training is over, in place."""

    def begin(self, training: "Objective") -> Callable[[Any], "Tensor"]:
        """The weighted term, a function of what `function_of` says that gives a scalar; asked for once, at the start.

        Raises:
            UserError: where the run lacks what the term needs.
        """
        raise NotImplementedError

    @classmethod
    def number_field(cls) -> str | None:
        """The field that a number stands for: the only one. None of a term that has several and names none."""
        return next(iter(cls.model_fields)) if len(cls.model_fields) == 1 else None

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        field = cls.number_field()
        return value if field is None or isinstance(value, dict | Term) else {field: value}

    @model_serializer(mode="wrap")
    def _as_number(self, as_mapping: Callable[[Any], dict[str, Any]]) -> Any:
        field = self.number_field()
        others = (name for name in type(self).model_fields if name != field)
        is_number = field and all(getattr(self, name) == type(self).model_fields[name].default for name in others)
        return getattr(self, field) if field and is_number else as_mapping(self)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        schema = handler(core)
        return {"anyOf": [{"type": "number", "minimum": 0}, schema]} if cls.number_field() else schema


class TermsBase(Spec):
    """What is added to the cross entropy, or takes its place: any of the terms, each by its name."""

    forms: ClassVar[dict[str, type[Term]]] = {}
    """Every term by its name, in the order of addition."""

    if TYPE_CHECKING:  # the fields are made of the files there are

        def __init__(self, **terms: Any): ...
        def __getattr__(self, name: str) -> Any: ...

    @model_validator(mode="before")
    @classmethod
    def _zero_is_absent(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        numbers = {name for name in values if name in cls.forms and cls.forms[name].number_field()}
        return {name: None if name in numbers and _is_zero(value) else value for name, value in values.items()}

    @classmethod
    def weighted(cls) -> tuple[str, ...]:
        """The terms whose weight a grid search can choose: the one number that they are, or the field `weight`."""
        return tuple(name for name, form in cls.forms.items() if form.number_field() or "weight" in form.model_fields)

    @property
    def used(self) -> dict[str, Term]:
        """The terms that are there by name, in the order of addition."""
        found = {name: getattr(self, name) for name in self.forms}
        return {name: term for name, term in found.items() if term is not None}

    @property
    def has_accuracy(self) -> bool:
        """Whether the network predicts classes while it trains."""
        return all(term.has_accuracy for term in self.used.values())

    def slug(self, tuned: Iterable[str] = ()) -> str:
        """The parts of the terms that are there with their numbers, or will be when the tuned values are known."""
        parts = {name: term.slug_part and term.slug_part + term.numbers for name, term in self.used.items()}
        parts |= {name: form.slug_part for name, form in self.forms.items() if name in {*tuned}}
        return "".join(parts.get(name, "") for name in self.forms)

    def mistakes(self, recipe: "Recipe") -> Iterator[str]:
        """A sentence for everything in a recipe that does not go with its terms, each beginning with the key."""
        used = self.used
        for name, term in used.items():
            yield from (f"terms.{name}: {sentence}" for sentence in term.mistakes(recipe))
        for name, term in used.items():
            if term.replaces_cross_entropy:
                # Without batches of examples nothing is left to a term of them.
                lost = {"batch", "step"} if term.function_of == "step" else set()
                for other, replaced in used.items():
                    if other != name and (replaced.replaces_cross_entropy or replaced.function_of in lost):
                        yield f"terms.{other}: {name} takes the place of what it is computed from; leave one out"

    def with_weights(self, values: dict[str, float]) -> "TermsBase":
        """The terms with other weights, by name; a weight brings in a term that was not there.

        Raises:
            ValidationError: for a term that cannot have that weight, or needs more than a weight.
        """
        changes: dict[str, Any] = {}
        for name, value in values.items():
            term = getattr(self, name)
            field = self.forms[name].number_field()
            if field and (term is None or value == 0):
                changes[name] = value
            else:
                changes[name] = term.with_(**{field or "weight": value}) if term else {"weight": value}
        return self.with_(**changes)


def _is_zero(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and number(value) == 0
    except ValueError:
        return False
