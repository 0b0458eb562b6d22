"""Two configs, plans or folders of results side by side: which values differ, and what that does to the numbers."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from robust_transfer import chain, store
from robust_transfer.errors import UserError
from robust_transfer.plan import differences, freeze
from robust_transfer.plan.graph import Plan, Product
from robust_transfer.results import kept
from robust_transfer.results.status import SECTIONS
from robust_transfer.stages.node import KINDS

FEW = 10
Place = tuple[str, str, str]
"""Row, column and metric."""


@dataclass
class Side:
    """One of the two: its name on the command line, its plan, and the folder where its numbers are."""

    name: str
    plan: Plan
    results: Path

    @cached_property
    def tables(self) -> dict[str, Product]:
        """The tables of its plan, by stem."""
        return {stem: product for stem, product in self.plan.products.items() if product.kind == "table"}

    def has(self, stem: str) -> bool:
        """Whether the numbers of a table can be had without making anything."""
        artifacts = (self.plan.nodes[i].artifact for i in self.tables[stem].nodes)
        return self._written(stem) is not None or all((self.results / path).exists() for path in artifacts)

    def numbers(self, stem: str) -> dict[Place, tuple[float, float, float]]:
        """Value and ends of the interval of each number of a table: as it was written, if a table of this plan is
        there, kept or under its plain name; else computed from outcomes.
        """
        import pandas as pd

        product = self.tables[stem]
        if path := self._written(stem):
            frame = pd.read_parquet(f"{path}.parquet")
        else:
            from robust_transfer.tables.tidy import tidy

            frame = tidy(product.study, product.name, product.spec["cells"], self._artifact)
        places = zip(frame.row, frame.column, frame.metric, strict=True)
        return dict(zip(places, zip(frame.value, frame.ci_low, frame.ci_high, strict=True), strict=True))

    def _written(self, stem: str) -> Path | None:
        """The path of a whole table of this plan, made from what is there now, without an ending."""
        plain = self.results / stem
        card = store.glance(plain.with_name(f"{plain.name}.json"))
        for path, found in [*([(plain, card)] if card else []), *kept.of(plain).items()]:
            is_of_now = chain.shows(found, self.tables[stem]) and self._chain.reason_of_card(found, stem) is None
            if is_of_now and not store.damage(plain.parent, found):
                return path
        return None

    @cached_property
    def _chain(self) -> chain.Chain:
        return chain.Chain(self.plan.nodes, self.results, Path(self.plan.origin["data_root"]))

    def _artifact(self, node_id: str) -> Path:
        node = self.plan.nodes[node_id]
        return store.checked_artifact(self.results / node.folder, KINDS[node.kind].artifact)


class Change(NamedTuple):
    """A number that two sides have in one place of a table.

    beyond: whether they are further apart than the intervals of both allow, taken as independent: at a level of 5 %,
    one in twenty of many is so by chance.
    """

    table: str
    row: str
    column: str
    metric: str
    was: float
    now: float
    half_width: float
    beyond: bool

    @property
    def sentence(self) -> str:
        """In words."""
        change = f"{self.was:.4g}, now {self.now:.4g} ({self.now - self.was:+.4g}"
        allowed = f"{'beyond' if self.beyond else 'within'} ±{self.half_width:.2g})"
        return f"{self.row} | {self.column} | {self.metric}: {change}, {allowed}"


class Comparison:
    """What differs between two sides. differing: values of the config, by name. not_made: tables of which a side has
    no numbers, and whose. alone: tables that one of them has not.
    """

    def __init__(self, old: Side, new: Side):
        self.differing = differences.between(old.plan.origin["config"], new.plan.origin["config"], SECTIONS)
        self.counts: dict[str, int] = {}
        self.changes: list[Change] = []
        self.not_made: dict[str, list[str]] = {}
        self.alone = sorted(old.tables.keys() ^ new.tables.keys())
        for stem in [stem for stem in old.tables if stem in new.tables]:
            if lacking := [side.name for side in (old, new) if not side.has(stem)]:
                self.not_made[stem] = lacking
                continue
            first, second = old.numbers(stem), new.numbers(stem)
            shared = [place for place in first if place in second]
            self.counts[stem] = len(shared)
            self.changes += filter(None, (_change(stem, place, first[place], second[place]) for place in shared))

    @property
    def exit_status(self) -> int:
        """0: no value and no number differs. 3: some do. 4: some numbers do beyond their intervals."""
        if any(change.beyond for change in self.changes):
            return 4
        return 3 if self.differing or self.changes or self.alone or self.not_made else 0


def _change(stem: str, place: Place, first: tuple[Any, ...], second: tuple[Any, ...]) -> Change | None:
    (was, *ends), (now, *other_ends) = first, second
    if was == now or (math.isnan(was) and math.isnan(now)):
        return None
    half_width = math.hypot((ends[1] - ends[0]) / 2, (other_ends[1] - other_ends[0]) / 2)
    return Change(stem, *place, was, now, half_width, beyond=not abs(now - was) <= half_width)


def side(name: str, results: Path, today: Callable[[Sequence[Path], Sequence[str]], Plan]) -> Side:
    """What a word of the command line means: a folder of results (with its newest plan), a config file or KEY=VALUE
    (laid over config.yaml), a frozen plan or what its name begins with, or `now`, the config of today.

    today: makes the plan of config.yaml with files and KEY=VALUE words laid over it.

    Raises:
        UserError: where it is none of these.
    """
    path = Path(name)
    if name == "now":
        return Side(name, today([], []), results)
    if path.is_dir():
        return Side(name, _shown_in(path), path)
    if path.suffix in (".yaml", ".yml"):
        return Side(name, today([path], []), results)
    if "=" in name:
        return Side(name, today([], name.split()), results)
    frozen = [path] if path.suffix == ".json" else sorted((results / "plans").glob(f"{name}*.json"))
    if len(frozen) != 1:
        raise UserError(
            f"{name} is no folder of results, config file (.yaml), KEY=VALUE, `now`, or the name of one plan in "
            f"{results / 'plans'} ({len(frozen)} begin so)"
        )
    return Side(name, freeze.thaw(frozen[0]), results)


def _shown_in(results: Path) -> Plan:
    """The plan by which most tables in a folder were made; the newest where there are none."""
    cards = [card for path in results.glob("tables/*/*.json") if (card := store.glance(path))]
    names = [str(card.get("plan")) for card in cards if (results / "plans" / f"{card.get('plan')}.json").exists()]
    return freeze.thaw(results / "plans" / f"{max(names, key=names.count)}.json" if names else freeze.newest(results))


# ---- in words and as values ----------------------------------------------------------------------------------------


def lines(found: Comparison, everything: bool) -> Iterator[str]:
    """The comparison in words, a line each. everything: all changed numbers, not only those beyond their intervals."""
    for each in found.differing if everything else found.differing[:FEW]:
        yield each.sentence
    if len(found.differing) > FEW and not everything:
        yield f"and {len(found.differing) - FEW} other values; --all shows them"
    for stem, count in found.counts.items():
        changes = [change for change in found.changes if change.table == stem]
        beyond = [change for change in changes if change.beyond]
        yield f"{stem}: {len(changes)} of {count} numbers differ, {len(beyond)} beyond their intervals"
        shown = changes if everything else sorted(beyond, key=lambda change: -abs(change.now - change.was))[:FEW]
        yield from (f"    {change.sentence}" for change in shown)
    for stem, names in found.not_made.items():
        yield f"{stem}: not made for {' and '.join(names)}"
    yield from (f"{stem}: only one of the two has it" for stem in found.alone)


def as_values(found: Comparison) -> dict[str, Any]:
    """The comparison as plain JSON values."""
    return {
        "values": [each._asdict() for each in found.differing],
        "numbers": [{key: _plain(value) for key, value in each._asdict().items()} for each in found.changes],
        "compared": found.counts,
        "not_made": found.not_made,
        "only_one_has": found.alone,
    }


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
