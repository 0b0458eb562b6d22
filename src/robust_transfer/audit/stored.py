"""All that lies in a folder of results, read once, for every level of the audit."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from robust_transfer import store
from robust_transfer.chain import Chain
from robust_transfer.errors import UserError
from robust_transfer.plan import freeze, graph
from robust_transfer.plan.graph import Plan
from robust_transfer.stages.node import KINDS, Node

ENDINGS = {f"{kind}s": endings for kind, endings in graph.ENDINGS.items()}
"""The files of each kind of product, by the folder that they lie in; those of the verdicts of all lie above theirs."""
NODE = re.compile(r".+\.[0-9a-f]{12}")


@dataclass(frozen=True)
class Finding:
    """Something the audit found.

    level: integrity, currency or science. severity: see audit.STATUS.
    about: ids of the nodes and stems of the products that it is about.
    damaged: the files to be taken away so that they are made anew. card: of a node, stays, because it is what later
    nodes wait for: were it gone, they would be made anew as well. made: whether `snakemake` makes the files anew.
    """

    level: str
    severity: str
    what: str
    about: tuple[str, ...] = ()
    damaged: tuple[Path, ...] = ()
    card: Path | None = None
    made: bool = True


class Stored:
    """What lies in a folder of results."""

    def __init__(self, results: Path):
        self.results = results
        self._damage: dict[Path, list[str]] = {}
        self._ancestors: dict[str, frozenset[str]] = {}

    @cached_property
    def folders(self) -> list[Path]:
        """All node folders."""
        return sorted(folder for kind in KINDS for folder in listed(self.results / kind) if is_node(folder))

    @cached_property
    def here(self) -> set[str]:
        """The ids of the nodes of which anything is there."""
        return {folder.name for folder in self.folders if listed(folder)}

    @cached_property
    def product_cards(self) -> list[Path]:
        """The cards of all tables, figures and verdicts of which anything is there."""
        studies = [study for kind in ("tables", "figures") for study in listed(self.results / kind)]
        there = [path for study in studies for path in listed(study)] + listed(self.results / "claims")
        there += [path for path in listed(self.results) if path.stem == "claims" and path.suffix]
        made = (path for path in there if path.suffix[1:] in (*self.endings(path), "json"))
        return sorted({path.with_suffix(".json") for path in made})

    def endings(self, path: Path) -> tuple[str, ...]:
        """Of the files of a product, by the path of one of them."""
        return ENDINGS[path.relative_to(self.results).parts[0].partition(".")[0]]

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files of a product, by its card's path."""
        return (path, *(path.with_suffix(f".{ending}") for ending in self.endings(path)))

    def stem(self, path: Path) -> str:
        """A product's, by its card's path."""
        return path.relative_to(self.results).with_suffix("").as_posix()

    @cached_property
    def plans(self) -> dict[Path, Plan | str]:
        """The frozen plans, the newest last; in place of one that cannot be believed, what is wrong with it."""

        def read(path: Path) -> Plan | str:
            try:
                return freeze.thaw(path)
            except UserError as error:
                return str(error)

        paths = [path for path in listed(self.results / "plans") if path.suffix == ".json"]
        return {path: read(path) for path in sorted(paths, key=lambda path: path.lstat().st_mtime_ns)}

    @cached_property
    def newest(self) -> Plan | None:
        """The newest plan that can be believed."""
        return next((plan for plan in reversed(self.plans.values()) if isinstance(plan, Plan)), None)

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """The nodes of the newest plan and all others that are there with a sound card."""
        nodes = dict(self.newest.nodes) if self.newest else {}
        for _, card in self.node_cards():
            if card["id"] not in nodes:
                nodes[card["id"]] = Node.recorded(card["id"], card["kind"], card["spec"], card["parents"])
        return nodes

    @cached_property
    def chain(self) -> Chain:
        """Those nodes, held against what is there now."""
        return Chain(self.nodes, self.results, Path(self.newest.origin["data_root"]) if self.newest else Path())

    def shown(self) -> dict[str, dict[str, Any]]:
        """What each table and figure shows, by its stem: the spec in its card, or in the plan where that is damaged."""
        planned = self.newest.products if self.newest else {}
        found: dict[str, dict[str, Any]] = {}
        for path in self.product_cards:
            stem = self.stem(path)
            spec: Any = self.cards[path].get("spec") if path in self.cards else None
            if spec is None and stem in planned:
                spec = planned[stem].spec
            if not stem.startswith("claims") and _is_shown(spec):
                found[stem] = spec
        return found

    def behind(self, ids: Iterable[str]) -> frozenset[str]:
        """These nodes and all that they are made from."""
        return frozenset().union(*map(self._behind, ids))

    def _behind(self, node_id: str) -> frozenset[str]:
        if node_id not in self._ancestors:
            parents = self.nodes[node_id].parents.values() if node_id in self.nodes else ()
            self._ancestors[node_id] = frozenset({node_id}).union(*map(self._behind, parents))
        return self._ancestors[node_id]

    def damage(self, path: Path) -> list[str]:
        """What is wrong with the files that a sound card describes, a sentence each; path as in `cards`."""
        if path not in self._damage:
            self._damage[path] = store.damage(path.parent if path.suffix == ".json" else path, self.cards[path])
        return self._damage[path]

    # ---- cards -----------------------------------------------------------------------------------------------------

    @cached_property
    def cards(self) -> dict[Path, dict[str, Any]]:
        """The cards that are what was written, by the node's folder, or by the card's path for a table or figure."""
        return {path: card for path, card in self.read.items() if isinstance(card, dict)}

    def node_cards(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Those of the nodes."""
        return ((folder, self.cards[folder]) for folder in self.folders if folder in self.cards)

    @cached_property
    def read(self) -> dict[Path, dict[str, Any] | str]:
        """Cards, or what is wrong with them."""
        return {
            path: self._card(path / store.CARD if path in nodes else path, path if path in nodes else None)
            for nodes in [set(self.folders)]
            for path in (*self.folders, *self.product_cards)
        }

    def _card(self, path: Path, node: Path | None) -> dict[str, Any] | str:
        try:
            card = store.read_card(path)
        except UserError as error:
            return str(error).removesuffix(f"; {store.REMEDY}")
        if node and (wrong := store.identity(card, node)):
            return wrong
        if node:
            outputs = {KINDS[node.parent.name].artifact}
        else:
            outputs = {path.with_suffix(f".{ending}").name for ending in self.endings(path)}
        lacks = card["outputs"].keys() != outputs or _lacks(card, node is not None)
        return f"{path} is damaged: entries are missing" if lacks else card


def listed(folder: Path) -> list[Path]:
    """What lies in a folder, by name, hidden files left out; nothing where it is no folder that can be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != ".")
    except OSError:
        return []


def is_node(path: Path) -> bool:
    """Whether a path is that of a folder which is named like a node's."""
    return path.is_dir() and NODE.fullmatch(path.name) is not None


def _is_shown(spec: Any) -> bool:
    """Whether something is in form what a table or figure shows."""
    try:
        arrays = [i for array in spec.get("tensors", {}).values() for i in array["nodes"]]
        return {str} >= {*map(type, arrays), *(type(i) for cell in spec["cells"] for i in graph.nodes_of(cell))}
    except (LookupError, *store.MALFORMED):
        return False


def _lacks(card: dict[str, Any], is_node: bool) -> bool:
    """Whether a card says less than what every card of today says."""
    kinds = {"plan": str, "code": str, "git": dict, "read": dict}
    if is_node:
        kinds |= {"modules": list, "data": dict, "files": list}
    if not all(isinstance(card.get(key), kind) for key, kind in kinds.items()):
        return True
    if not is_node:
        return False
    read_ids = {role: entry["id"] for role, entry in card["read"].items()}
    return read_ids != card["parents"] or not all(isinstance(module, str) for module in card["modules"])
