"""What lies in results/ that nothing wants any more, and taking it away.

Wanted is what the config of today asks for, what plans that are to be kept ask for, and all that the tables, figures
and verdicts that are there were made from: those of another config, too, until they are made anew, and those that were
kept under a name of their own.
"""

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from robust_transfer import locks, pace, store
from robust_transfer.errors import UserError
from robust_transfer.plan import freeze
from robust_transfer.results.status import MADE, Status
from robust_transfer.stages.node import KINDS

PLAN_DAYS = 30
"""A plan by which nothing was made stays for so long after it was last started: somebody's jobs may wait with it."""


@dataclass(frozen=True)
class Unwanted:
    """Something that can go: a folder or file, its bytes, what it is in one word, and the plan it was made by."""

    path: Path
    bytes: int
    what: str
    plan: str | None = None


class Collection:
    """What a folder of results holds, held against what is wanted.

    status: of the plan of today. keep: names of frozen plans that are to be kept, or what they begin with.

    Raises:
        UserError: where no frozen plan is so named, or several are.
    """

    def __init__(self, status: Status, keep: Sequence[str] = ()):
        self.status, self.results = status, status.results
        self.kept = {path.stem: freeze.thaw(path) for path in (self._named(name) for name in keep)}

    def _named(self, name: str) -> Path:
        found = sorted((self.results / "plans").glob(f"{name}*.json"))
        if len(found) != 1:
            raise UserError(f"{len(found)} plans in {self.results / 'plans'} begin with {name!r}; name one")
        return found[0]

    # ---- what is wanted --------------------------------------------------------------------------------------------

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """The folders of all nodes that are there, by id."""
        return {
            path.name: path
            for kind in KINDS
            for path in sorted((self.results / kind).glob("*"))
            if path.is_dir() and path.name[0] != "."
        }

    @cached_property
    def _product_cards(self) -> list[dict[str, Any]]:
        paths = [path for kind in ("tables", "figures") for path in (self.results / kind).glob("*/*.json")]
        paths += [*self.results.glob("claims.json"), *self.results.glob("claims/*.json")]
        return [card for path in paths if (card := store.glance(path))]

    @cached_property
    def wanted(self) -> dict[str, dict[str, str]]:
        """The ids of all nodes that are wanted, with their parents by role."""
        plans = [self.status.plan, *self.kept.values()]
        found = {i: node.parents for plan in plans for i, node in plan.nodes.items()}
        to_see = [entry["id"] for card in self._product_cards for entry in card["read"].values()]
        while to_see:
            if (node_id := to_see.pop()) not in found:
                card = self._card(node_id) or {}
                found[node_id] = card.get("parents", {})
                to_see += found[node_id].values()
        return found

    def _card(self, node_id: str) -> dict[str, Any] | None:
        folder = self._folders.get(node_id)
        return store.glance(folder / store.CARD, node_id) if folder else None

    # ---- what is not -----------------------------------------------------------------------------------------------

    def unwanted(self) -> Iterator[Unwanted]:
        """All that can go, but for adversarial examples that could be made anew."""
        for node_id, folder in self._folders.items():
            if node_id not in self.wanted and not self._is_held(node_id):
                card = store.glance(folder / store.CARD) or {}
                yield Unwanted(folder, _size(folder), folder.parent.name, card.get("plan"))
        for path in sorted((self.results / "checkpoints").glob("*")):
            node_id = path.name.removesuffix(path.suffix)
            made = node_id in self._folders and (self._folders[node_id] / store.CARD).exists()
            if (made or node_id not in self.wanted) and not self._is_held(node_id):
                yield Unwanted(path, _size(path), "saved state")
        for path in sorted({path for depth in ("", "*/", "*/*/") for path in self.results.glob(f"{depth}.*.tmp")}):
            goes_anyway = path.parent.name in self._folders and path.parent.name not in self.wanted
            if not goes_anyway and store.is_left(path):
                yield Unwanted(path, _size(path), "half-written file")
        yield from self._plans()

    def _plans(self) -> Iterator[Unwanted]:
        cards = [*self._product_cards, *(card for i in self.wanted if (card := self._card(i)))]
        named = {card.get("plan") for card in cards} | self.kept.keys()
        for path in sorted((self.results / "plans").glob("*.json")):
            is_old = time.time() - path.stat().st_mtime > PLAN_DAYS * 24 * 3600
            if path.stem not in named and is_old:
                yield Unwanted(path, _size(path), "plan")

    def examples(self) -> Iterator[Unwanted]:
        """The adversarial examples that all that reads them is made from already, so that their cards are enough."""
        readers: dict[str, list[str]] = {}
        for plan in (self.status.plan, *self.kept.values()):
            for node in plan.nodes.values():
                for parent in node.parents.values():
                    readers.setdefault(parent, []).append(node.id)
        plan, status = self.status.plan, self.status
        shown = {
            i
            for product in plan.products.values()
            if status.products[product.stem].state != MADE
            for i in product.nodes
        }
        for node_id in self.wanted:
            folder = self._folders.get(node_id)
            if folder is None or folder.parent.name != "craft" or node_id in shown or self._is_held(node_id):
                continue
            artifact = folder / KINDS["craft"].artifact
            if artifact.exists() and self._card(node_id) and all(self._is_made(i) for i in readers.get(node_id, ())):
                yield Unwanted(artifact, _size(artifact), "examples")

    def _is_made(self, node_id: str) -> bool:
        if node_id in self.status.nodes:
            return self.status.nodes[node_id].state == MADE
        card = self._card(node_id)
        return card is not None and all((self._folders[node_id] / name).exists() for name in card["outputs"])

    def _is_held(self, node_id: str) -> bool:
        return locks.holder(self.results / "locks" / node_id) is not None


def remove(found: Iterable[Unwanted], results: Path) -> int:
    """Take it away; returns how many bytes. What somebody began to make in the meantime stays.

    Raises:
        UserError: where something may not be taken away.
    """
    freed = 0
    for each in found:
        node_id = each.path.name if each.what in KINDS else each.path.parent.name
        try:
            with locks.alone(results / "locks" / node_id):
                if each.what == "examples":
                    store.release(each.path)
                elif each.path.is_dir():
                    shutil.rmtree(each.path)
                    (results / "logs" / each.what / f"{node_id}.log").unlink(missing_ok=True)
                else:
                    each.path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"{each.path} cannot be taken away ({error.strerror}); give yourself the right to"
            ) from None
        freed += each.bytes
    return freed


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files if file.is_file())


def lines(found: Sequence[Unwanted], results: Path, gone: bool) -> Iterator[str]:
    """What can go, or is gone, in words: a line a kind, then a line a plan by which it was made."""
    if not found:
        yield "nothing is there that nothing wants"
        return
    for what in dict.fromkeys(each.what for each in found):
        alike = [each.bytes for each in found if each.what == what]
        yield f"{len(alike):6} {what:<18} {pace.in_bytes(sum(alike)):>9}"
    for name in dict.fromkeys(each.plan for each in found if each.plan):
        alike = [each.bytes for each in found if each.plan == name]
        keep = "" if gone else f"; `--keep {name}` keeps them"
        plan = f"plan {name}{_config_of(name, results)}"
        yield f"{len(alike)} of them were made by {plan}, {pace.in_bytes(sum(alike))}{keep}"
    end = "were removed" if gone else "can go; `robust-transfer gc --yes`, with the same options, removes it"
    yield f"{pace.in_bytes(sum(each.bytes for each in found))} {end}"


def _config_of(name: str, results: Path) -> str:
    """The config of a frozen plan, in the words that tell plans apart; nothing where it is gone."""
    try:
        config = freeze.thaw(results / "plans" / f"{name}.json").origin["config"]
    except (UserError, KeyError):
        return ""
    seeds = config.get("seeds") or config.get("seed", 0)
    return f" (scale {config.get('scale')}, protocol {config.get('protocol')}, seed {seeds})"
