"""The trace: from a cell of a table, or a point of a figure, back to the data, node by node.

A product's card says which nodes each of its cells shows; where the product is not made yet, the newest plan says which
it will show. Each node's card says the rest.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robust_transfer import provenance, store
from robust_transfer.chain import Chain
from robust_transfer.errors import UserError
from robust_transfer.plan import freeze
from robust_transfer.plan.graph import Plan, Product, nodes_of, replicates
from robust_transfer.results.shown import IMAGES, Shown, cells_of, place_of
from robust_transfer.stages.node import KINDS, Node
from robust_transfer.studies.places import Place, Places, leaves

NUMBERS = ("value", "ci_low", "ci_high", "n", "seeds", "sd_seeds", "published")
"""What is told of a cell's number; see tables.tidy."""


@dataclass(frozen=True)
class Step:
    """A node of the chain.

    state: `made`, `missing`, or why what is there is out of date. card: None where there is none. values: the full
    spec, of each value its path and whether it differs from the default. code: whether its code is that of today.
    """

    node: Node
    state: str
    card: Mapping[str, Any] | None
    values: tuple[tuple[str, Any, bool], ...]
    places: tuple[Place, ...]
    code: bool | None
    command: str

    def as_json(self) -> dict[str, Any]:
        """It as plain values; what a card says is as there."""
        card = self.card or {}
        told = ["metrics", "seconds", "device", "computed", "threads", "machine", "git"]
        told += ["versions", "started", "plan", "outputs"]
        return {
            "kind": self.node.kind,
            "state": self.state,
            "spec": {path: {"value": value, "changed": changed} for path, value, changed in self.values},
            "places": [vars(place) for place in self.places],
            "parents": self.node.parents,
            **{key: card.get(key) for key in told},
            "code_of_today": self.code,
            "command": self.command,
        }


@dataclass(frozen=True)
class Traced:
    """A cell and all that it is made from.

    numbers: see NUMBERS; None of a product that is not made. out_of_date: why what is there does not show what the
    newest plan asks for. steps: the nodes behind it, each before its parents.
    """

    product: Product
    cell: Mapping[str, Any]
    numbers: Mapping[str, Any] | None
    out_of_date: str | None
    steps: Mapping[str, Step]

    @property
    def is_sound(self) -> bool:
        """Whether the number is there, and nothing behind it is missing or out of date."""
        made = all(step.state == "made" for step in self.steps.values())
        return self.numbers is not None and self.out_of_date is None and made

    def as_json(self) -> dict[str, Any]:
        """It as plain values."""
        spec = self.product.spec
        return {
            "product": self.product.stem,
            **{key: self.cell[key] for key in ("row", "column", "metric")},
            "numbers": self.numbers,
            "out_of_date": self.out_of_date,
            "measured": spec["measured"],
            "published": spec.get("published"),
            "published_on": spec.get("on"),
            "nodes": replicates(dict(self.cell)),
            "chain": {i: step.as_json() for i, step in self.steps.items()},
        }


class Traces:
    """The traces of all that lies in a folder of results.

    workflow, page: see studies.places.Places. plan: what things are held against, the newest unless given.
    """

    def __init__(
        self,
        results: Path,
        workflow: Path = Path("workflow"),
        page: Path = Path("docs/protocols.md"),
        plan: Plan | None = None,
    ):
        self.results, self.workflow, self.page, self._given = results, workflow, page, plan
        self.step = cache(self._step)

    # ---- what is there ---------------------------------------------------------------------------------------------

    @cached_property
    def newest(self) -> Plan | None:
        """The plan that was given, or the newest, if there is any that can be believed."""
        if self._given:
            return self._given
        try:
            return freeze.thaw(freeze.newest(self.results))
        except UserError:
            return None

    @cached_property
    def shown(self) -> Shown:
        """What is made, and what that plan has besides."""
        return Shown(self.results, self.newest)

    # ---- cells -----------------------------------------------------------------------------------------------------

    def trace(self, name: str, row: str | None, column: str | None, metric: str | None = None) -> list[Traced]:
        """The traces of the cells in a place of a product; see Shown.place, also for what is raised."""
        product, cells = self.shown.place(name, row, column, metric)
        return [self.of_cell(product, cell) for cell in cells]

    def of_cell(self, product: Product, cell: Mapping[str, Any]) -> Traced:
        """The trace of one cell."""
        steps = {i: self.step(i, product.study) for i in self.behind(nodes_of(dict(cell)))}
        return Traced(product, cell, self._numbers(product, cell), self._out_of_date(product, cell), steps)

    def _numbers(self, product: Product, cell: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a product shows in a cell: of a table from its file; of a figure from a table that shows the same of the
        same bytes, or else computed as when it was drawn, for which scipy is imported.
        """
        if not (self.results / f"{product.stem}.json").exists():
            return None
        if cell["metric"] == IMAGES:
            return {}
        if product.kind == "table":
            found = self.shown.rows(product.stem).get(place_of(cell))
            return {key: found.get(key) for key in NUMBERS} if found else None
        if same := next(filter(None, (self._same(table, cell) for table in self.shown.products.values())), None):
            return {key: same.get(key) for key in NUMBERS} | {"published": cell.get("published")}
        from robust_transfer.tables.tidy import tidy

        try:
            frame = tidy(product.study, product.name, [dict(cell)], self._artifact)
        except UserError:  # an artifact is gone or damaged, which its step says
            return None
        return {key: None if (value := frame[key].item()) != value else value for key in NUMBERS}

    def _same(self, table: Product, cell: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What a table that is made shows of the same nodes as they are now; None where it does not."""
        ids = nodes_of(dict(cell))
        card = store.glance(self.results / f"{table.stem}.json") if table.kind == "table" and ids else None
        now = {i: self._chain.sha256(i) for i in ids if i in self._known}
        if card is None or any(card["read"].get(i, {}).get("sha256") != now.get(i) for i in ids):
            return None
        expected = (cell["metric"], " ".join(ids))
        rows = self.shown.rows(table.stem).values()
        return next((row for row in rows if (row["metric"], row["nodes"]) == expected), None)

    def _artifact(self, node_id: str) -> Path:
        node = self.node(node_id)
        return store.checked_artifact(self.results / node.folder, KINDS[node.kind].artifact)

    def _out_of_date(self, product: Product, cell: Mapping[str, Any]) -> str | None:
        """Why what is there is not what would be made now; None where nothing is, or nothing speaks against it."""
        card = store.glance(self.results / f"{product.stem}.json")
        if card is None:
            return None
        if self.newest:
            planned = self.newest.products.get(product.stem)
            same = [each for each in cells_of(planned) if place_of(each) == place_of(cell)] if planned else []
            if not same:
                return "the newest plan has no such number: it belongs to another config"
            if replicates(same[0]) != replicates(dict(cell)):
                return f"the newest plan makes it from other nodes ({', '.join(nodes_of(same[0]))}): another config's"
        for i in nodes_of(dict(cell)):
            now, read = self._chain.sha256(i), card["read"].get(i, {}).get("sha256")
            if now not in (None, read):
                return f"it was made from other bytes of {i} than are there now"
        return None

    # ---- nodes -----------------------------------------------------------------------------------------------------

    @cached_property
    def _known(self) -> dict[str, Node]:
        """The nodes of the newest plan, and those that were asked for."""
        return dict(self.newest.nodes) if self.newest else {}

    @cached_property
    def _chain(self) -> Chain:
        return Chain(self._known, self.results, Path(self.newest.origin["data_root"] if self.newest else ""))

    def card(self, node_id: str) -> Mapping[str, Any] | None:
        """A node's card; None where there is none."""
        self.node(node_id)
        return self._chain.card(node_id)

    def node(self, node_id: str) -> Node:
        """A node by its id: as the newest plan has it, or as its card says; of kind `unknown` where neither does."""
        if node_id not in self._known:
            cards = (store.glance(self.results / kind / node_id / store.CARD, node_id) for kind in KINDS)
            card: dict[str, Any] = next(filter(None, cards), {"kind": UNKNOWN, "spec": {}, "parents": {}})
            self._known[node_id] = Node.recorded(node_id, card["kind"], card["spec"], card["parents"])
        return self._known[node_id]

    def behind(self, ids: Iterable[str]) -> Iterator[str]:
        """These nodes and all that they are made from, each once and before its parents."""
        seen: set[str] = set()
        to_see = [*ids][::-1]
        while to_see:
            if (node_id := to_see.pop()) not in seen:
                seen.add(node_id)
                yield node_id
                to_see += [*self.node(node_id).parents.values()][::-1]

    def _step(self, node_id: str, study: str) -> Step:
        node = self.node(node_id)
        if node.kind == UNKNOWN:
            return Step(node, "missing", None, (), (), None, "none: no plan that is here knows it")
        card = self._chain.card(node_id)
        state = (self._chain.reason(node_id) or "made") if card else "missing"
        return Step(
            node=node,
            state=state,
            card=card,
            values=tuple(_values(node, (card or {}).get("full_spec"))),
            places=tuple(self._places_of(node, study)),
            code=card["code"] == provenance.fingerprint(*card["modules"]) if card and "modules" in card else None,
            command=self._command(node),
        )

    def _places_of(self, node: Node, study: str) -> list[Place]:
        try:
            return self._places.of(KINDS[node.kind].parse(node.spec), study)
        except ValidationError:  # of an earlier version
            return []

    @cached_property
    def _places(self) -> Places:
        config = self.newest.origin["config"] if self.newest else {}
        return Places(config, self.workflow, self.page)

    def _command(self, node: Node) -> str:
        """What makes a node alone, where what it is made from is there."""
        results = "" if self.results == Path("results") else f" --results {shlex.quote(str(self.results))}"
        card = self._chain.card(node.id) or {}
        plan = self.results / "plans" / f"{card.get('plan')}.json"
        older = node.id not in (self.newest.nodes if self.newest else ()) and plan.is_file()
        return f"python -m robust_transfer.run node {node.id}{f' --plan {plan}' if older else ''}{results}"


UNKNOWN = "unknown"


def _values(node: Node, recorded: Mapping[str, Any] | None) -> Iterator[tuple[str, Any, bool]]:
    """The full spec of a node, of each value its path and whether it differs from the default.

    recorded: as its card has it, by the defaults of then.
    """
    try:
        spec = KINDS[node.kind].parse(node.spec)
        full, changed = spec.model_dump(mode="json"), spec.model_dump(mode="json", exclude_defaults=True)
    except ValidationError:  # of an earlier version
        full, changed = node.spec, node.spec
    paths = {path for path, _ in leaves(changed)}
    yield from ((path, value, path in paths) for path, value in leaves(recorded or full))
