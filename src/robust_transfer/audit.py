"""The audit: is everything in results/ what its card says, made from what is there now, and by the code of today?

Damage is what must be mended: files that were edited, cut short, exchanged or deleted, nodes that are gone from which
others were made, and what was made from other bytes than those of today. `--repair` takes the damaged files away,
and the next `snakemake` makes just those anew. What is whole but deserves a look is noted and left alone: other code
than today's, uncommitted code, what the newest plan wants and is not there, foreign files, links, cards written anew.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from robust_transfer import provenance, store
from robust_transfer.canonical import digest
from robust_transfer.chain import Chain, copies
from robust_transfer.errors import UserError
from robust_transfer.plan import freeze, graph
from robust_transfer.plan.graph import Plan
from robust_transfer.stages.node import KINDS, Node

ENDINGS = {f"{kind}s": endings for kind, endings in graph.ENDINGS.items()}
"""The files of each kind of product, by the folder that they lie in; those of the verdicts of all lie above theirs."""
FEW = 3
NODE = re.compile(r".+\.[0-9a-f]{12}")

BESIDE = ("plans", "logs", "checkpoints", "locks")
"""Folders of results/ that hold neither nodes nor products."""


@dataclass(frozen=True)
class Finding:
    """Something the audit found.

    damaged: the files to be taken away so that they are made anew. card: of a node, stays, because it is what later
    nodes wait for: were it gone, they would be made anew as well. made: whether `snakemake` makes the files anew.
    """

    what: str
    damaged: tuple[Path, ...] = ()
    card: Path | None = None
    made: bool = True


class Audit:
    """All that lies in a folder of results, read once."""

    def __init__(self, results: Path):
        self.results = results

    @cached_property
    def folders(self) -> list[Path]:
        """All node folders."""
        return sorted(folder for kind in KINDS for folder in _listed(self.results / kind) if _is_node(folder))

    @cached_property
    def product_cards(self) -> list[Path]:
        """The cards of all tables, figures and verdicts of which anything is there."""
        studies = [study for kind in ("tables", "figures") for study in _listed(self.results / kind)]
        there = [path for study in studies for path in _listed(study)] + _listed(self.results / "claims")
        there += [path for path in _listed(self.results) if path.stem == "claims" and path.suffix]
        made = (path for path in there if path.suffix[1:] in (*self._endings(path), "json"))
        return sorted({path.with_suffix(".json") for path in made})

    def _endings(self, path: Path) -> tuple[str, ...]:
        """Of the files of a product, by the path of one of them."""
        return ENDINGS[path.relative_to(self.results).parts[0].partition(".")[0]]

    @cached_property
    def plans(self) -> dict[Path, Plan | str]:
        """The frozen plans, the newest last; in place of one that cannot be believed, what is wrong with it."""

        def read(path: Path) -> Plan | str:
            try:
                return freeze.thaw(path)
            except UserError as error:
                return str(error)

        paths = [path for path in _listed(self.results / "plans") if path.suffix == ".json"]
        return {path: read(path) for path in sorted(paths, key=lambda path: path.lstat().st_mtime_ns)}

    @cached_property
    def newest(self) -> Plan | None:
        """The newest plan that can be believed."""
        return next((plan for plan in reversed(self.plans.values()) if isinstance(plan, Plan)), None)

    @cached_property
    def chain(self) -> Chain:
        """The nodes of the newest plan and all others that are there."""
        nodes = dict(self.newest.nodes) if self.newest else {}
        for folder in self.folders:
            if (card := self.cards.get(folder)) and card["id"] not in nodes:
                nodes[card["id"]] = Node(card["kind"], card["id"].rpartition(".")[0], card["spec"], card["parents"])
        return Chain(nodes, self.results, Path(self.newest.origin["data_root"]) if self.newest else Path())

    @cached_property
    def cards(self) -> dict[Path, dict[str, Any]]:
        """The cards that are what was written, by the node's folder, or by the card's path for a table or figure."""
        return {path: card for path, card in self._read.items() if isinstance(card, dict)}

    @cached_property
    def _read(self) -> dict[Path, dict[str, Any] | str]:
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
            outputs = {path.with_suffix(f".{ending}").name for ending in self._endings(path)}
        lacks = card["outputs"].keys() != outputs or _lacks(card, node is not None)
        return f"{path} is damaged: entries are missing" if lacks else card

    @property
    def root(self) -> str:
        """A digest over all cards: kept elsewhere, it shows any later change, even one with a seal of its own."""
        seals = ([path.relative_to(self.results).as_posix(), card["seal"]] for path, card in self.cards.items())
        return digest(sorted(seals))

    # ---- damage ----------------------------------------------------------------------------------------------------

    def damages(self) -> Iterator[Finding]:
        """Everything that is not what was written, or was not made from what is there now."""
        for folder in self.folders:
            yield from self._node(folder)
        for path in self.product_cards:
            yield from self._product(path)
        yield from self._gone()
        for copy, original in copies(self.results, self.newest.origin["main_study"]).items() if self.newest else ():
            yield Finding(f"{copy} is no copy of {original}", (copy,))
        for path, plan in self.plans.items():
            if isinstance(plan, str):
                yield Finding(f"{path}: {plan}", (path,), made=False)

    def _node(self, folder: Path) -> Iterator[Finding]:
        card_path, artifact = folder / store.CARD, folder / KINDS[folder.parent.name].artifact
        try:
            if not {card_path.name, artifact.name} & set(os.listdir(folder)):
                return  # nothing was made here: a job failed or still runs
        except OSError as error:
            yield Finding(f"{folder} cannot be read ({error.strerror})", (folder,))
            return
        card = self._read[folder]
        wrong = [card] if isinstance(card, str) else store.damage(folder, card)
        if not wrong and (why := self.chain.reason(folder.name)):
            wrong = [f"{artifact} is out of date: {why}"]
        yield from (Finding(sentence, (artifact,), card_path) for sentence in wrong)

    def _product(self, path: Path) -> Iterator[Finding]:
        card = self._read[path]
        wrong = [card] if isinstance(card, str) else store.damage(path.parent, card)
        stem = path.relative_to(self.results).with_suffix("").as_posix()
        if not wrong and not isinstance(card, str):
            product = self.newest.products.get(stem) if self.newest else None
            why = self.chain.reason_of(product) if product else self.chain.reason_of_card(card, stem)
            wrong = [f"{path} is out of date: {why}"] if why else []
        everything = (path, *(path.with_suffix(f".{ending}") for ending in self._endings(path)))
        yield from (Finding(sentence, everything) for sentence in wrong)

    def _gone(self) -> Iterator[Finding]:
        """Nodes of which nothing is left but what was made from them."""
        made = Counter(entry["id"] for card in self.cards.values() for entry in card["read"].values())
        for node_id in sorted(made.keys() - self._here):
            node = self.newest.nodes.get(node_id) if self.newest else None
            path = self.results / node.folder if node else node_id
            sentence = f"{path} is gone, from which {made[node_id]} things here were made"
            yield Finding(sentence, (self.results / node.artifact,) if node else ())

    @cached_property
    def _here(self) -> set[str]:
        """The ids of the nodes of which anything is there."""
        return {folder.name for folder in self.folders if _listed(folder)}

    # ---- what deserves a look --------------------------------------------------------------------------------------

    def remarks(self) -> Iterator[str]:
        """What is whole but deserves a look, a sentence each."""
        yield from (*self._code(), *self._not_made(), *self._plans_gone(), *self._written_anew())
        yield from (*self._foreign(self.results, ()), *self._checkpoints())

    def _code(self) -> Iterator[str]:
        changed: Counter[str] = Counter()
        dirty: Counter[str] = Counter()
        for folder in self.folders:
            if card := self.cards.get(folder):
                changed[folder.parent.name] += card["code"] != provenance.fingerprint(*card["modules"])
                dirty[folder.parent.name] += bool(card["git"].get("dirty"))
        for kind, count in changed.items():
            if count:
                yield f"{count} {kind} nodes were made by other code than today's; delete results/{kind} to redo them"
        for kind, count in dirty.items():
            if count:
                yield f"{count} {kind} nodes were made from a clone with uncommitted changes"

    def _not_made(self) -> Iterator[str]:
        """What the newest plan wants and is not there; where something was made from it, it is damage as well."""
        if self.newest is None:
            return
        present = set(self.product_cards)
        products = [stem for stem in self.newest.products if self.results / f"{stem}.json" not in present]
        nodes = Counter(node.kind for node in self.newest.nodes.values() if node.id not in self._here)
        if products:
            yield f"not made yet or deleted: {', '.join(products)}"
        if nodes:
            counts = ", ".join(f"{count} {kind}" for kind, count in nodes.items())
            yield f"not made yet or deleted: {nodes.total()} of {len(self.newest.nodes)} nodes of the plan ({counts})"

    def _plans_gone(self) -> Iterator[str]:
        named = Counter(card["plan"] for card in self.cards.values())
        for plan in sorted(named.keys() - {path.stem for path in self.plans}):
            yield f"the frozen plan {plan} is gone, by which {named[plan]} things were made; their cards say what of it"

    def _written_anew(self) -> Iterator[str]:
        """Cards with another seal than the one that was read: of a node that was made anew to the same bytes, or of an
        editor's own.
        """
        seals = {folder.name: card["seal"] for folder, card in self.cards.items()}
        read = {(entry["id"], entry["seal"]) for card in self.cards.values() for entry in card["read"].values()}
        if changed := sorted({i for i, seal in read if seals.get(i, seal) != seal}):
            shown = ", ".join(changed[:FEW]) + (" and others" if len(changed) > FEW else "")
            yield f"{len(changed)} cards were written anew, or edited, after others had read them: {shown}"

    def _foreign(self, folder: Path, within: tuple[str, ...]) -> Iterator[str]:
        """Files, folders and links that nothing here wrote; hidden ones are left out."""
        for path in _listed(folder):
            parts = (*within, path.name)
            if path.is_symlink():
                yield f"{path} is a link to {os.readlink(path)}: what is there may change or go"
            elif not self._is_own(path, parts):
                yield f"{path} is foreign: nothing here wrote it, and nothing reads it"
            elif path.is_dir() and parts[0] != "logs":
                yield from self._foreign(path, parts)

    def _is_own(self, path: Path, parts: tuple[str, ...]) -> bool:
        top, depth, is_dir = parts[0], len(parts), path.is_dir()
        if depth == 1:
            files = "README.md", *(f"claims.{ending}" for ending in (*ENDINGS["claims"], "json"))
            return top in files or (is_dir and top in (*KINDS, *ENDINGS, *BESIDE))
        if top in KINDS:
            return _is_node(path) if depth == 2 else path.name in (store.CARD, KINDS[top].artifact)
        if top == "claims":
            return depth == 2 and not is_dir and path.suffix[1:] in (*ENDINGS[top], "json")
        if top in ENDINGS and depth < 4:
            copy = depth == 2 and not is_dir and path.suffix[1:] in ENDINGS[top]
            own = {self.results / top / card.parent.name for card in self.product_cards if top in card.parts[-3:-2]}
            if depth == 2:
                return (copy and any((study / path.name).exists() for study in own)) or path in own
            return not is_dir and path.suffix[1:] in (*ENDINGS[top], "json")
        return not is_dir and (top != "plans" or path in self.plans)

    def _checkpoints(self) -> Iterator[str]:
        """States of trainings that no plan knows or that are another node's, and those of nodes that are made."""
        known = {i for plan in self.plans.values() if isinstance(plan, Plan) for i in plan.nodes}
        made = {path.name for path in self.cards}
        for path in _listed(self.results / "checkpoints"):
            node = path.name.removesuffix(path.suffix)
            if path.suffix not in (".safetensors", ".json") or node not in known or _run_of(path) != node:
                yield f"{path} is foreign: the saved state of no node that is planned here; no training continues it"
            elif node in made:
                yield f"{path} is of no use: {node} is made"


def _run_of(path: Path) -> str | None:
    """The node whose saved state is in a file; None where that cannot be read."""
    try:
        with open(path, "rb") as file:
            if path.suffix == ".json":
                return json.load(file)["run"]
            return json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]["run"]
    except (OSError, KeyError, OverflowError, MemoryError, *store.MALFORMED):
        return None


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder, by name, hidden files left out; nothing where it is no folder that can be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != ".")
    except OSError:
        return []


def _is_node(folder: Path) -> bool:
    return folder.is_dir() and NODE.fullmatch(folder.name) is not None


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


def repair(found: Iterable[Finding]) -> list[Path]:
    """Take the damaged files away; returns the files that are to be made anew."""
    found = list(found)
    for finding in found:
        for path in finding.damaged:
            _take_away(path)
        if finding.card and not finding.card.is_file():
            _take_away(finding.card)
            finding.card.write_text("{}\n", encoding="utf-8")
    return list(dict.fromkeys(path for finding in found if finding.made for path in finding.damaged))


def _take_away(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be taken away ({error.strerror}); give yourself the right to") from None
