"""Whether claims hold: of printed numbers as they stand, of measured ones as far as tests can tell.

A comparison of two shares of the same images is tested by McNemar's exact test, of a share with a number by the exact
binomial test, and everything else by the normal distribution with the standard error of the resamples. A predicate of
which all, most or any parts must hold is tested as a partial conjunction (Benjamini and Heller 2008), with Bonferroni's
bound. Within a study the claims' p-values are Holm's.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest, norm, rankdata

from robust_transfer.claims.cells import Cells, Missing, Place, Value
from robust_transfer.claims.spec import (
    VARIABLE,
    Cell,
    Claim,
    Combination,
    Comparison,
    Domain,
    Except,
    NumberOf,
    Operation,
    Ours,
    Over,
    parts,
)

ALPHA = 0.05
ROUNDING = 1e-9
"""Sums of printed numbers differ by less than this from what they are on paper."""
NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")
Labels = Mapping[str, str]
"""What each variable stands for."""


class Outcome(NamedTuple):
    """holds: of the numbers as they are. p_holds, p_reversed: one-sided, against its being otherwise. shown: numbers
    that say why not.
    """

    holds: bool
    p_holds: float
    p_reversed: float
    shown: str = ""


class Judged(NamedTuple):
    """A claim in all its instances. whole: None where there is no instance. k: how many of the n hold. against: those
    that do not.
    """

    whole: Outcome | None
    k: int = 0
    n: int = 0
    against: tuple[str, ...] = ()

    @property
    def p(self) -> float:
        """Two-sided."""
        return min(1.0, 2 * min(self.whole.p_holds, self.whole.p_reversed)) if self.whole else np.nan


def judge(claim: Claim, cells: Cells) -> Judged:
    """What the numbers say of a claim."""
    found: list[Outcome] = []
    against = []
    for labels in _values(claim.each, claim.holds, cells, {}):
        try:
            outcome = _outcome(claim.holds, cells, labels)
        except Missing:
            continue
        found.append(outcome)
        if not outcome.holds:
            against.append(": ".join(filter(None, [", ".join(labels.values()), outcome.shown])))
    if not found:
        return Judged(None)
    return Judged(_joined(claim.of_these, found), len(found) - len(against), len(found), tuple(against))


def holm(p_values: list[float]) -> list[float]:
    """The p-values adjusted for their number (Holm 1979); NaN stays, and does not count."""
    there = [i for i in np.argsort(p_values) if not np.isnan(p_values[i])]
    adjusted, highest = list(p_values), 0.0
    for rank, i in enumerate(there):
        highest = max(highest, min(1.0, (len(there) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


# ---- what variables stand for --------------------------------------------------------------------------------------


def _values(domains: Mapping[str, Domain], of: Any, cells: Cells, bound: Labels) -> list[Labels]:
    """What variables may stand for, so that each cell in which they occur may be there; in the order of the cells,
    where a variable ranges over numbers in theirs.
    """
    found: list[dict[str, str]] = [dict(bound)]
    for name, domain in domains.items():
        if isinstance(domain, list):
            found = [labels | {name: label} for labels in found for label in domain]
    free = {name for name, domain in domains.items() if not isinstance(domain, list)}
    for cell in (part for part in parts(of) if isinstance(part, Cell) and free & part.variables):
        matching = [
            labels | match
            for labels in found
            for match in _matches(cell, cells.places, labels, free)
            if all(_is_in(domains[name], label) for name, label in match.items())
        ]
        # A cell that is ours matches nothing, and may yet be there for what other cells' variables stand for.
        found = list({tuple(labels.items()): labels for labels in matching}.values()) or found
    found = [labels for labels in found if labels.keys() >= free]
    numbers = [name for name, domain in domains.items() if domain == "number"]
    return sorted(found, key=lambda labels: [float(labels[name]) for name in numbers])


def _matches(cell: Cell, places: list[Place], labels: Labels, free: set[str]) -> Iterator[dict[str, str]]:
    """What the free variables of a cell stand for, in each place that it may mean; unbound others match all."""
    seen: set[str] = set()

    def label_of(name: str) -> str:
        if name in labels:
            return re.escape(labels[name])
        if name not in free:
            return "[^\0]+"
        again = name in seen
        seen.add(name)
        return f"(?P={name})" if again else f"(?P<{name}>[^\0]+)"

    def pattern(label: str) -> str:
        between, names = VARIABLE.split(label)[::2], VARIABLE.findall(label)
        return re.escape(between[0]) + "".join(
            label_of(n) + re.escape(after) for n, after in zip(names, between[1:], strict=True)
        )

    *texts, metric = map(pattern, cell.labels)
    whole = re.compile("\0".join([*texts, metric or "[^\0]*"]))
    return (match.groupdict() for place in places if (match := whole.fullmatch("\0".join(place))))


def _is_in(domain: Domain, label: str) -> bool:
    if isinstance(domain, Except):
        return label not in domain.except_
    return domain == "any" or NUMBER.fullmatch(label) is not None


# ---- numbers -------------------------------------------------------------------------------------------------------


HALVES = ("spearman", "r2")
FEWEST = {"distance": 2, "ratio": 2, "difference": 2, "trend": 2, "spearman": 6, "r2": 6}
"""How many operands there must be; a line through two points says nothing."""


def _correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's, of each column."""
    x, y = x - x.mean(0), y - y.mean(0)
    return (x * y).sum(0) / np.sqrt((x**2).sum(0) * (y**2).sum(0))


OPERATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sum": lambda numbers: numbers.sum(0),
    "difference": lambda numbers: numbers[0] - numbers[1:].sum(0),
    "product": lambda numbers: numbers.prod(0),
    "ratio": lambda numbers: numbers[0] / numbers[1:].prod(0),
    "distance": lambda numbers: abs(numbers[0] - numbers[1]),
    "mean": lambda numbers: numbers.mean(0),
    "highest": lambda numbers: numbers.max(0),
    "lowest": lambda numbers: numbers.min(0),
    "first": lambda numbers: numbers[0],
    "last": lambda numbers: numbers[-1],
    "trend": lambda numbers: _correlation(rankdata(numbers, axis=0), np.arange(len(numbers))[:, None]),
    "spearman": lambda numbers: _correlation(*(rankdata(half, axis=0) for half in np.split(numbers, 2))),
    "r2": lambda numbers: _correlation(*np.split(numbers, 2)) ** 2,
}
"""Of operands x resamples; of a correlation the first half of the operands goes with the second."""


def _number_of(operand: Any, cells: Cells, labels: Labels) -> Value:
    """A single operand's number."""
    if isinstance(operand, Cell):
        value = cells[Place(*(VARIABLE.sub(lambda found: labels[found[1]], label) for label in operand.labels))]
    elif isinstance(operand, Operation):
        each = _numbers(operand.of, cells, labels)
        if len(each) < FEWEST.get(operand.name, 1) or (operand.name in HALVES and len(each) % 2):
            raise Missing(f"{operand} has too few operands here")
        with np.errstate(divide="ignore", invalid="ignore"):
            value = Value(OPERATIONS[operand.name](np.stack(np.broadcast_arrays(*(e.numbers for e in each)))))
    elif isinstance(operand, NumberOf):
        value = Value(np.array([operand.among.get(labels[operand.number_of], np.nan)]))
    else:
        value = Value(np.array([operand.ours if isinstance(operand, Ours) else operand], dtype=float))
    if not np.isfinite(value.numbers[0]):
        raise Missing(f"{operand} has no value")
    return value


def _numbers(operands: list[Any], cells: Cells, labels: Labels) -> list[Value]:
    """The numbers of operands, some of which are several."""
    found: list[Value] = []
    for operand in operands:
        if isinstance(operand, Over):
            for inner in _values(operand.over, operand.of, cells, labels):
                found += _numbers([operand.of], cells, inner)
        elif isinstance(operand, Operation) and operand.name == "steps":
            each = [value.numbers for value in _numbers(operand.of, cells, labels)]
            found += [Value(after - before) for before, after in pairwise(each)]
        else:
            found.append(_number_of(operand, cells, labels))
    if not found:
        raise Missing("no operand is there")
    return found


# ---- predicates ----------------------------------------------------------------------------------------------------


def _outcome(predicate: Any, cells: Cells, labels: Labels) -> Outcome:
    if isinstance(predicate, Comparison):
        values = _numbers(predicate.of, cells, labels)
        if len(values) < 2:
            raise Missing(f"{predicate} has nothing to compare with")
        first = predicate.name in ("greatest", "least")
        pairs = [(values[0], other) for other in values[1:]] if first else list(pairwise(values))
        return _joined("all", [_compared(predicate.name, *pair) for pair in pairs])
    assert isinstance(predicate, Combination)
    found = []
    for part in predicate.of:
        if isinstance(part, Over):
            inner = _values(part.over, part.of, cells, labels)
            if not inner:
                raise Missing(f"{part} has no cells here")
            found += [_outcome(part.of, cells, each) for each in inner]
        else:
            found.append(_outcome(part, cells, labels))
    return _joined(predicate.name, found)


def _joined(how: str, outcomes: list[Outcome]) -> Outcome:
    """All, most or any of them: the p-value that at least so many hold, and that at least so many do not that it is
    otherwise.
    """
    n = len(outcomes)
    needed = {"all": n, "most": n // 2 + 1, "any": 1}[how]
    holds, otherwise = sorted(o.p_holds for o in outcomes), sorted(o.p_reversed for o in outcomes)
    return Outcome(
        sum(outcome.holds for outcome in outcomes) >= needed,
        min(1.0, (n - needed + 1) * holds[needed - 1]),
        min(1.0, needed * otherwise[n - needed]),
        next((outcome.shown for outcome in outcomes if not outcome.holds), ""),
    )


def _compared(name: str, a: Value, b: Value) -> Outcome:
    """One comparison."""
    difference = _difference(a, b)
    shown = f"{a.numbers[0]:.4g} against {b.numbers[0]:.4g}"
    greater, less = _tails(a, b)
    if name == "equal":
        same = bool((abs(difference) <= ROUNDING).all())
        p = (0.0, 1.0) if same else (1.0, min(1.0, 2 * min(greater, less)))
        return Outcome(abs(difference[0]) <= ROUNDING, *p, shown)
    if name in ("less", "at_most", "least"):
        difference, greater, less = -difference, less, greater
    least = -ROUNDING if name in ("at_least", "at_most") else ROUNDING
    return Outcome(bool(difference[0] > least), greater, less, shown)


def _difference(a: Value, b: Value) -> np.ndarray:
    """Draw by draw; without a value where both are infinite."""
    with np.errstate(invalid="ignore"):
        return a.numbers - b.numbers


def _tails(a: Value, b: Value) -> tuple[float, float]:
    """One-sided p-values that a is greater than b, and that it is less."""
    if a.images and b.images and a.images.key == b.images.key and a.images.counted.all() and b.images.counted.all():
        only_a = int((a.images.amount > b.images.amount).sum())
        return _binomial(only_a, only_a + int((a.images.amount < b.images.amount).sum()), 0.5)
    if a.images and b.is_exact:
        return _binomial(int((a.images.amount > 0).sum()), int(a.images.counted.sum()), b.numbers[0] / 100)
    if b.images and a.is_exact:
        return _tails(b, a)[::-1]
    difference = _difference(a, b)
    if len(difference) == 1:
        return (0.0 if difference[0] > 0 else 1.0), (0.0 if difference[0] < 0 else 1.0)
    draws = difference[1:]
    # A ratio to nothing has no standard error; draws without a value speak for neither.
    if not np.isfinite(draws).all():
        greater, less = ((1 + (~agree).sum()) / (1 + len(draws)) for agree in (draws > 0, draws < 0))
        return float(greater), float(less)
    error = np.std(draws, ddof=1)
    if error > 0:
        return float(norm.sf(difference[0] / error)), float(norm.cdf(difference[0] / error))
    no_other = 1 / len(difference)
    return (no_other if difference[0] > 0 else 1.0), (no_other if difference[0] < 0 else 1.0)


def _binomial(successes: int, n: int, p: float) -> tuple[float, float]:
    if n == 0:
        return 1.0, 1.0
    p = min(1.0, max(0.0, p))
    greater, less = (binomtest(successes, n, p, alternative=side).pvalue for side in ("greater", "less"))
    return float(greater), float(less)
