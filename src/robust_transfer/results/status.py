"""The status: what the config of today asks for, held against what is there.

Only a look: sizes, cards and their seals, locks. Whether artifacts have the bytes that their cards say is the audit's.
A node is named by its content, so one that was made for other values is simply another; a table, figure or page of
verdicts has a plain name, so it may be there and show what another config asked for. That is called stale.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from robust_transfer import chain, locks, pace, store
from robust_transfer.errors import UserError
from robust_transfer.plan import differences, freeze
from robust_transfer.plan.differences import Difference
from robust_transfer.plan.effective import Value
from robust_transfer.plan.graph import ENDINGS, Plan, Product
from robust_transfer.results import kept
from robust_transfer.stages.node import Node
from robust_transfer.studies import STUDIES

MADE, MISSING, STALE, DAMAGED, RUNNING, HALF_MADE = "made", "missing", "stale", "damaged", "running", "half-made"
STATES = (MADE, MISSING, STALE, DAMAGED, RUNNING, HALF_MADE)
FEW = 5
SECTIONS = {name: study.Section for name, study in STUDIES.items()}


@dataclass(frozen=True)
class Found:
    """How something is: one of STATES; why, where it is not simply made or missing; for what is stale because the
    config has other values, these.
    """

    state: str
    why: str = ""
    differing: tuple[Difference, ...] = ()


class Status:
    """The nodes and products of a plan, as they are in a folder of results; everything is looked at once."""

    def __init__(self, plan: Plan, results: Path):
        self.plan, self.results = plan, results
        self.chain = chain.Chain(plan.nodes, results, Path(plan.origin["data_root"]))
        self._begun = _names(results / "checkpoints")
        self._locks = _names(results / "locks")

    @cached_property
    def nodes(self) -> dict[str, Found]:
        """How all nodes of the plan are, by id."""
        return {node.id: self._node(node) for node in self.plan.nodes.values()}

    @cached_property
    def products(self) -> dict[str, Found]:
        """How all its products are, by stem."""
        return {stem: self.product(stem) for stem in self.plan.products}

    # ---- one node or product ---------------------------------------------------------------------------------------

    def _node(self, node: Node) -> Found:
        if by := self._holder(node.id):
            return Found(RUNNING, f"by {by}")
        folder = self.results / node.folder
        if self.chain.card(node.id) is None:
            return self._without_card(node, folder)
        try:
            card = store.read_card(folder / store.CARD)
        except UserError as error:
            return Found(DAMAGED, str(error).removesuffix(f"; {store.REMEDY}"))
        return self._outputs(folder, card) or self._stale(self.chain.reason(node.id)) or Found(MADE)

    def _without_card(self, node: Node, folder: Path) -> Found:
        try:
            written = (folder / store.CARD).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            written = ""
        if written not in ("", "{}"):  # the audit leaves the latter where it took something away
            return Found(DAMAGED, f"{folder / store.CARD} is no card of this node")
        if f"{node.id}.safetensors" in self._begun:
            return Found(HALF_MADE, "stopped; it continues from its saved state")
        if node.id in self._locks or any(folder.glob(".*.tmp")):
            return Found(HALF_MADE, "its process was killed; it begins anew")
        return Found(MISSING)

    def product(self, stem: str) -> Found:
        """How one product is, or a kept table (see kept). What the plan does not have, and is there, is stale."""
        product = self.plan.products.get(kept.plain(stem))
        if product is None:
            return Found(STALE, "the config asks for no such thing")
        if by := self._holder(stem.replace("/", "-")):
            return Found(RUNNING, f"by {by}")
        path = self.results / f"{stem}.json"
        card = store.glance(path)
        if card is None:
            return Found(DAMAGED, f"{path} is no card") if path.exists() else Found(MISSING)
        names = {path.with_suffix(f".{ending}").name for ending in ENDINGS[product.kind]}
        if card["outputs"].keys() != names:
            return Found(DAMAGED, f"{path} is damaged: entries are missing")
        if not chain.shows(card, product):
            return self._of_another_config(card, product)
        return self._outputs(path.parent, card) or self._stale(self.chain.reason_of_card(card, stem)) or Found(MADE)

    def _holder(self, name: str) -> str | None:
        return locks.holder(self.results / "locks" / name) if name in self._locks else None

    @staticmethod
    def _outputs(folder: Path, card: dict[str, Any]) -> Found | None:
        """What the sizes of files say that a card describes."""
        for name, written in card["outputs"].items():
            try:
                size = (folder / name).stat().st_size
            except OSError:
                if store.is_released(folder / name):
                    continue
                return Found(MISSING, f"{folder / name} was deleted")
            if size != written["bytes"]:
                return Found(DAMAGED, f"{folder / name} has {size:,} bytes, but was written with {written['bytes']:,}")
        return None

    @staticmethod
    def _stale(why: str | None) -> Found | None:
        return Found(STALE, why) if why else None

    def _of_another_config(self, card: dict[str, Any], product: Product) -> Found:
        differing = differences.concerning(self._since(str(card.get("plan"))), product.study)
        why = "it was made for other values" if differing else "it shows what another config or version asked for"
        shown = {_place(cell): cell["nodes"] for cell in card.get("spec", {}).get("cells", ())}
        others = sum(shown.get(_place(cell)) != cell["nodes"] for cell in product.spec["cells"])
        return Found(STALE, f"{why}: {others} of {len(product.spec['cells'])} cells are of other nodes", (*differing,))

    def _since(self, name: str) -> list[Difference]:
        """What differs between the config of a frozen plan and that of today; nothing where that plan is gone."""
        if name not in self._configs:
            try:
                old = freeze.thaw(self.results / "plans" / f"{name}.json").origin["config"]
                self._configs[name] = differences.between(old, self.plan.origin["config"], SECTIONS)
            except UserError:
                self._configs[name] = []
        return self._configs[name]

    @cached_property
    def _configs(self) -> dict[str, list[Difference]]:
        return {}

    # ---- all of them -----------------------------------------------------------------------------------------------

    @cached_property
    def copies(self) -> list[str]:
        """What is wrong with the copies that have the main study's plain names, a sentence each."""
        study, found = self.plan.origin["main_study"], []
        wrong = chain.copies(self.results, study)
        for copy in sorted((*self.results.glob("tables/*.*"), *self.results.glob("figures/*.*"))):
            stem = f"{copy.parent.name}/{study}/{copy.stem}"
            of_main = self.products.get(stem)
            if not copy.is_file() or copy.name[0] == ".":
                continue
            if of_main is None or of_main.state == MISSING:
                found.append(f"{copy} is no copy of anything that is there of the main study, {study}")
            elif copy in wrong:
                found.append(f"{copy} is no copy of {wrong[copy]}")
            elif of_main.state == STALE:
                found.append(f"{copy} is stale, as {wrong.get(copy, self.results / stem)} is")
        return found

    @cached_property
    def of_studies(self) -> dict[str, tuple[list[str], list[str]]]:
        """Study -> the ids of the nodes behind its tables, figures and verdicts, and the stems of these."""
        return self.plan.of_studies()

    def seconds_left(self, ids: Iterable[str]) -> tuple[float, Counter[str]]:
        """How long one process would work on those of some nodes that are not made: their number by kind times the mean
        over the cards of that kind in the plan; and how many are of kinds of which no card says anything.
        """
        seconds, unknown = 0.0, Counter[str]()
        for kind, count in Counter(self.plan.nodes[i].kind for i in ids if self.nodes[i].state != MADE).items():
            if kind in self._seconds:
                seconds += count * self._seconds[kind]
            else:
                unknown[kind] += count
        return seconds, unknown

    @cached_property
    def _seconds(self) -> dict[str, float]:
        recorded: dict[str, list[float]] = {}
        for node in self.plan.nodes.values():
            card = self.chain.card(node.id)
            if card and isinstance(card.get("seconds"), int | float):
                recorded.setdefault(node.kind, []).append(card["seconds"])
        return {kind: fmean(each) for kind, each in recorded.items()}

    @property
    def exit_status(self) -> int:
        """0: everything is made and of today's config. 3: something is to be made. 4: something is damaged."""
        states = {found.state for found in (*self.nodes.values(), *self.products.values())}
        return 4 if DAMAGED in states else 3 if states - {MADE} or self.copies else 0


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*")}


def _place(cell: dict[str, Any]) -> tuple[Any, ...]:
    return cell.get("study"), cell["row"], cell["column"], cell["metric"]


# ---- in words and as values ----------------------------------------------------------------------------------------


def lines(status: Status, values: Mapping[str, Value]) -> Iterator[str]:
    """The status in words, a line each. values: those of the config with their origins, see studies.Present."""
    rows = [("", "nodes made", "products made", "")]
    rows += [(name, *_counts(status, ids, stems)) for name, (ids, stems) in _groups(status).items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield from ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    stale = {stem: found.differing for stem, found in status.products.items() if found.differing}
    told: set[str] = set()
    while differing := next((each for stem, each in stale.items() if stem not in told), None):
        alike = [stem for stem, each in stale.items() if each == differing]
        told |= {*alike}
        yield f"stale: {_first_of(alike)}, made for other values:"
        yield from (f"    {each.sentence}{_origin(each.path, values)}" for each in differing[:FEW])
        if len(differing) > FEW:
            yield f"    and {len(differing) - FEW} others"
    for state in STATES[1:]:
        sentences = _sentences(status, state)
        yield from (f"{state}: {sentence}" for sentence in sentences[:FEW])
        if len(sentences) > FEW:
            yield f"{state}: {len(sentences) - FEW} others; --json names all"
    if status.exit_status == 4:
        yield "`robust-transfer audit --repair` takes away what is damaged."
    if status.exit_status:
        yield "`snakemake --cores all` makes what is not made, not of today's config, or was taken away."


def _sentences(status: Status, state: str) -> list[str]:
    """What is to be said of the things in a state, but for those of another config. Of what is stale each cause once,
    because all that was made from a stale thing is stale for the same cause.
    """
    found = {name: each.why for name, each in (status.nodes | status.products).items() if each.state == state}
    if state != STALE:
        return [f"{name}: {why}" for name, why in found.items() if why]
    causes = Counter(why for name, why in found.items() if name in status.nodes or not status.products[name].differing)
    return [f"{why}; {count} things in all" if count > 1 else why for why, count in causes.items()] + status.copies


def remarks(status: Status, values: Mapping[str, Value], stem: str) -> list[str]:
    """What is to be said beside a product that is shown: nothing where it is what the config of today asks for."""
    found = status.product(stem)
    if found.state == MADE:
        return []
    differing = [f"{each.sentence}{_origin(each.path, values)}" for each in found.differing[:FEW]]
    more = [f"and {len(found.differing) - FEW} others"] if len(found.differing) > FEW else []
    return [f"{found.state.upper()}: {found.why or 'not what the config of today asks for'}", *differing, *more]


def _groups(status: Status) -> dict[str, tuple[list[str], list[str]]]:
    return status.of_studies | {"all": (list(status.plan.nodes), list(status.plan.products))}


def _counts(status: Status, ids: Sequence[str], stems: Sequence[str]) -> tuple[str, str, str]:
    """How many of some nodes and products are made, and what the others are."""
    states = [
        Counter(found[name].state for name in names) for found, names in ((status.nodes, ids), (status.products, stems))
    ]
    others = [
        f"{sum(each[state] for each in states)} {state}" for state in STATES[1:] if any(each[state] for each in states)
    ]
    seconds, unknown = status.seconds_left(ids)
    time = [f"{pace.in_words(seconds)} to go"] * bool(seconds)
    time += [f"more for {', '.join(unknown)}, of which none is timed yet"] * bool(unknown)
    nodes, products = (f"{each[MADE]} of {each.total()}" for each in states)
    return nodes, products, "; ".join(filter(None, (", ".join(others), ", ".join(time))))


def as_values(status: Status, values: Mapping[str, Value]) -> dict[str, Any]:
    """The status as plain JSON values: of each study how many nodes and products are in each state and the seconds to
    go, and of all that is not simply made its state, why, and the values for which it was made instead of today's.
    """

    def of(found: Found) -> dict[str, Any]:
        differing = [each._asdict() | _given(each.path, values) for each in found.differing]
        return {"state": found.state, "why": found.why, "differing": differing}

    studies = {}
    for name, (ids, stems) in _groups(status).items():
        seconds, unknown = status.seconds_left(ids)
        studies[name] = {
            "nodes": Counter(status.nodes[i].state for i in ids),
            "products": Counter(status.products[stem].state for stem in stems),
            "seconds_to_go": round(seconds, 1),
            "of_unknown_time": unknown,
        }
    not_made = (
        {name: of(each) for name, each in found.items() if each.state != MADE}
        for found in (status.nodes, status.products)
    )
    nodes, products = not_made
    return {"studies": studies, "nodes": nodes, "products": products, "copies": status.copies}


def _given(path: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """The layer and switch that give the value at or first below a path; None where there is none any more."""
    value = values.get(path) or next((each for name, each in values.items() if name.startswith(f"{path}.")), None)
    return {"layer": value.layer if value else None, "switch": value.switch if value else None}


def _origin(path: str, values: Mapping[str, Value]) -> str:
    given = [each for each in _given(path, values).values() if each]
    return f" ({', '.join(given)})" if given else ""


def _first_of(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} others" if len(names) > FEW else "")
