"""Claims as data: each says where the paper claims what, as a predicate over cells of its tables and figures.

A cell is written `table | row | column`, in a figure `figure | row | column | metric`. `{c}` stands for a part of a
label; what it ranges over is said by `each` or `over`. docs/claims.md shows all of it by examples.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator

from robust_transfer.errors import UserError
from robust_transfer.plan.reading import read_yaml
from robust_transfer.specs.fields import Number, Spec

VARIABLE = re.compile(r"{(\w+)}")
INFIX = {"sum": " + ", "difference": " - ", "product": " × ", "ratio": " / "}
SIGNS = {"greater": " > ", "less": " < ", "at_least": " >= ", "at_most": " <= ", "equal": " = "}


class Except(Spec):
    """All labels that are there but these."""

    except_: list[str] = Field(alias="except")


Domain = Literal["any", "number"] | list[str] | Except
"""What a variable ranges over: the labels that are there, those that are numbers (in rising order), these, or all but
these. Labels of what is ours are never among them unless they are named."""


class Cell(Spec):
    """A number of a table or figure."""

    table: str
    row: str
    column: str
    metric: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = value.split(" | ")
        if not 3 <= len(parts) <= 4:
            raise ValueError(f"{value!r} names no cell; write `table | row | column`, and ` | metric` in a figure")
        return dict(zip(cls.model_fields, parts, strict=False))

    @cached_property
    def variables(self) -> set[str]:
        """The names of the variables in its labels."""
        return {name for part in self.labels for name in VARIABLE.findall(part)}

    @property
    def labels(self) -> tuple[str, str, str, str]:
        return self.table, self.row, self.column, self.metric

    def __str__(self) -> str:
        return f"{self.table}[{', '.join(filter(None, self.labels[1:]))}]"


class Ours(Spec):
    """A threshold that the paper does not print."""

    ours: Number

    def __str__(self) -> str:
        return f"{self.ours:g}*"


class NumberOf(Spec):
    """A number that the paper gives of what a variable stands for, which no cell has."""

    number_of: str
    among: dict[str, Number]

    def __str__(self) -> str:
        return f"number of {self.number_of}"


class Over(Spec):
    """Several operands or predicates: one for each value of the variables for which its cells are there."""

    over: dict[str, Domain]
    of: "Operand | Predicate"

    def __str__(self) -> str:
        return f"{self.of} for {_ranges(self.over)}"


class _Named(Spec):
    """A mapping of one key: what is done, and with what."""

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) == 1:
            [(name, of)] = value.items()
            return {"name": name, "of": of}
        return value


class Operation(_Named):
    """A number made of others. trend: the rank correlation with their order; spearman and r2: of the first half of them
    with the second. steps: in a list of operands, what each one is more than the one before it.
    """

    name: Literal[
        "sum",
        "difference",
        "product",
        "ratio",
        "distance",
        "mean",
        "highest",
        "lowest",
        "first",
        "last",
        "trend",
        "spearman",
        "r2",
        "steps",
    ]
    of: Annotated[list["Operand"], Field(min_length=1)]

    def __str__(self) -> str:
        if self.name in INFIX:
            return f"({INFIX[self.name].join(map(str, self.of))})"
        return f"{self.name}({'; '.join(map(str, self.of))})"


class Comparison(_Named):
    """Numbers, each with the next one; greatest and least: the first with each of the others."""

    name: Literal["greater", "less", "at_least", "at_most", "equal", "greatest", "least"]
    of: Annotated[list["Operand"], Field(min_length=1)]

    def __str__(self) -> str:
        if self.name in SIGNS and len(self.of) > 1:
            return SIGNS[self.name].join(map(str, self.of))
        return f"{self.name}({'; '.join(map(str, self.of))})"


class Combination(_Named):
    """Predicates of which all, most (more than half) or any must hold."""

    name: Literal["all", "most", "any"]
    of: Annotated[list["Predicate"], Field(min_length=1)]

    def __str__(self) -> str:
        return f"{self.name} of ({'; '.join(map(str, self.of))})"


def _form(value: Any) -> str:
    """Which form an operand or predicate has, by its key."""
    if isinstance(value, str):
        return "Cell"
    if not isinstance(value, dict):
        return "Number" if not isinstance(value, Spec) else type(value).__name__
    key = next(iter(value), "")
    forms = {"ours": "Ours", "number_of": "NumberOf", "over": "Over", "of": "Over"}
    forms |= dict.fromkeys(("all", "most", "any"), "Combination")
    forms |= dict.fromkeys((*SIGNS, "greatest", "least"), "Comparison")
    return forms.get(key, "Operation")


Operand = Annotated[
    Annotated[Cell, Tag("Cell")]
    | Annotated[Number, Tag("Number")]
    | Annotated[Ours, Tag("Ours")]
    | Annotated[NumberOf, Tag("NumberOf")]
    | Annotated[Over, Tag("Over")]
    | Annotated[Operation, Tag("Operation")],
    Discriminator(_form),
]
Whole = Annotated[
    Annotated[Comparison, Tag("Comparison")] | Annotated[Combination, Tag("Combination")], Discriminator(_form)
]
Predicate = Annotated[
    Annotated[Comparison, Tag("Comparison")]
    | Annotated[Combination, Tag("Combination")]
    | Annotated[Over, Tag("Over")],
    Discriminator(_form),
]


class Claim(Spec):
    """A claim of a paper.

    where: the place in the paper. claim: it in our own words. each: the variables for all or most (of_these) of whose
    values it is said. holds: the predicate. printed_only: it is about the paper's numbers themselves. untestable: why
    there is no predicate.
    """

    where: str
    claim: str
    each: dict[str, Domain] = {}  # noqa: RUF012 (pydantic copies it)
    of_these: Literal["all", "most"] = "all"
    holds: Whole | None = None
    printed_only: bool = False
    untestable: str = ""

    @model_validator(mode="after")
    def _one_of_both(self):
        if bool(self.holds) == bool(self.untestable):
            raise ValueError("either `holds` is wanted, or `untestable` with the reason")
        found = list(parts(self.holds))
        used = {name for part in found if isinstance(part, Cell) for name in part.variables}
        known = {*self.each, *(name for part in found if isinstance(part, Over) for name in part.over)}
        if self.holds and used != known:
            raise ValueError(f"{', '.join(sorted(used ^ known))}: a variable is in a cell, and in `each` or an `over`")
        return self

    @property
    def predicate(self) -> str:
        """The predicate as a formula, in which * marks what is ours."""
        if not self.holds:
            return ""
        said = str(self.holds)
        return said + (f"; {self.of_these} {_ranges(self.each)}" if self.each else "")

    @property
    def ours(self) -> str:
        """The thresholds that are ours."""
        return ", ".join(dict.fromkeys(f"{part.ours:g}" for part in parts(self.holds) if isinstance(part, Ours)))


def _ranges(variables: dict[str, Domain]) -> str:
    def words(domain: Domain) -> str:
        if isinstance(domain, Except):
            return f" but {', '.join(domain.except_)}"
        return f" in {', '.join(domain)}" if isinstance(domain, list) else ""

    return ", ".join(f"{name}{words(domain)}" for name, domain in variables.items())


def parts(of: Any) -> Iterator[Any]:
    """A predicate and all that it is made of, in the order in which it is written."""
    if of is None:
        return
    yield of
    inner = getattr(of, "of", ())
    for part in inner if isinstance(inner, list) else [inner] if inner else ():
        yield from parts(part)


for _model in (Over, Operation, Comparison, Combination, Claim):
    _model.model_rebuild()


def _mistakes(error: ValidationError) -> list[str]:
    """A sentence for each, from the key on. Names of forms, which nobody writes, are left out."""
    found = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"] if not str(part)[0].isupper() or part == item["loc"][0])
        found.append(f"{path}: {item['msg'].removeprefix('Value error, ')}")
    return found


def checked(claim: dict[str, Any]) -> dict[str, Any]:
    """A claim as it is written, if it is one.

    Raises:
        ValueError: with each mistake in it.
    """
    try:
        Claim.model_validate(claim)
    except ValidationError as error:
        raise ValueError("; ".join(_mistakes(error))) from None
    return claim


def read(path: Path) -> dict[str, Claim]:
    """The claims in a file.

    Raises:
        UserError: with each mistake in it.
    """
    try:
        return TypeAdapter(dict[str, Claim]).validate_python(read_yaml(path))
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {mistake}" for mistake in _mistakes(error))) from None
