"""Integrity: is everything in results/ what its card says, and is nothing gone or foreign?"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from robust_transfer import store
from robust_transfer.audit.manifest import is_manifest
from robust_transfer.audit.stored import ENDINGS, Finding, Stored, is_node, listed
from robust_transfer.chain import copies
from robust_transfer.errors import UserError
from robust_transfer.plan.graph import Plan
from robust_transfer.stages.node import KINDS

FEW = 3
BESIDE = ("plans", "logs", "checkpoints", "locks")
"""Folders of results/ that hold neither nodes nor products."""

damaged = partial(Finding, "integrity", "damaged")
note = partial(Finding, "integrity", "note")


def findings(stored: Stored) -> Iterator[Finding]:
    """Everything that is not what was written, and what nothing here wrote."""
    for folder in stored.folders:
        yield from _node(stored, folder)
    for path in stored.product_cards:
        yield from _product(stored, path)
    yield from _gone(stored)
    for copy, original in copies(stored.results, stored.newest.origin["main_study"]).items() if stored.newest else ():
        yield damaged(f"{copy} is no copy of {original}", damaged=(copy,))
    for path, plan in stored.plans.items():
        if isinstance(plan, str):
            yield damaged(f"{path}: {plan}", damaged=(path,), made=False)
    yield from (*_not_made(stored), *_beside_gone(stored), *_plans_gone(stored), *_written_anew(stored))
    yield from (*_foreign(stored, stored.results, ()), *_checkpoints(stored))


# ---- damage --------------------------------------------------------------------------------------------------------


def _node(stored: Stored, folder: Path) -> Iterator[Finding]:
    card_path, artifact = folder / store.CARD, folder / KINDS[folder.parent.name].artifact
    try:
        if not {card_path.name, artifact.name} & set(os.listdir(folder)):
            return  # nothing was made here: a job failed or still runs
    except OSError as error:
        yield damaged(f"{folder} cannot be read ({error.strerror})", (folder.name,), (folder,))
        return
    card = stored.read[folder]
    for sentence in [card] if isinstance(card, str) else stored.damage(folder):
        yield damaged(sentence, (folder.name,), (artifact,), card_path)
    for path in store.edited_beside(folder, card) if not isinstance(card, str) else ():
        yield damaged(f"{path} was edited: its content is not what was written", (folder.name,), (path,), made=False)


def _product(stored: Stored, path: Path) -> Iterator[Finding]:
    card = stored.read[path]
    for sentence in [card] if isinstance(card, str) else stored.damage(path):
        yield damaged(sentence, (stored.stem(path),), stored.files(path))


def _gone(stored: Stored) -> Iterator[Finding]:
    """Nodes of which nothing is left but what was made from them."""
    made = Counter(entry["id"] for card in stored.cards.values() for entry in card["read"].values())
    for node_id in sorted(made.keys() - stored.here):
        node = stored.newest.nodes.get(node_id) if stored.newest else None
        path = stored.results / node.folder if node else node_id
        sentence = f"{path} is gone, from which {made[node_id]} things here were made"
        yield damaged(sentence, (node_id,), (stored.results / node.artifact,) if node else ())


def repair(found: Iterable[Finding]) -> list[Path]:
    """Take the damaged and stale files away; returns the files that are to be made anew."""
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


# ---- what deserves a look ------------------------------------------------------------------------------------------


def _not_made(stored: Stored) -> Iterator[Finding]:
    """What the newest plan wants and is not there; where something was made from it, it is damage as well."""
    if stored.newest is None:
        return
    present = set(stored.product_cards)
    products = [stem for stem in stored.newest.products if stored.results / f"{stem}.json" not in present]
    nodes = [node for node in stored.newest.nodes.values() if node.id not in stored.here]
    if products:
        yield note(f"not made yet or deleted: {', '.join(products)}", tuple(products))
    if nodes:
        counts = ", ".join(f"{count} {kind}" for kind, count in Counter(node.kind for node in nodes).items())
        sentence = f"not made yet or deleted: {len(nodes)} of {len(stored.newest.nodes)} nodes of the plan ({counts})"
        yield note(sentence, tuple(node.id for node in nodes))


def _beside_gone(stored: Stored) -> Iterator[Finding]:
    gone = [path / name for path, card in stored.cards.items() for name in card.get("beside", ())]
    if gone := [path for path in gone if not path.exists()]:
        sentence = f"deleted: {len(gone)} histories of trainings, {gone[0]} first; nothing is made from them"
        yield note(sentence, tuple(path.parent.name for path in gone))


def _plans_gone(stored: Stored) -> Iterator[Finding]:
    named = Counter(card["plan"] for card in stored.cards.values())
    for plan in sorted(named.keys() - {path.stem for path in stored.plans}):
        yield note(
            f"the frozen plan {plan} is gone, by which {named[plan]} things were made; their cards say what of it"
        )


def _written_anew(stored: Stored) -> Iterator[Finding]:
    """Cards with another seal than the one that was read: of a node that was made anew to the same bytes, or of an
    editor's own.
    """
    seals = {folder.name: card["seal"] for folder, card in stored.cards.items()}
    read = {(entry["id"], entry["seal"]) for card in stored.cards.values() for entry in card["read"].values()}
    if changed := sorted({i for i, seal in read if seals.get(i, seal) != seal}):
        shown = ", ".join(changed[:FEW]) + (" and others" if len(changed) > FEW else "")
        sentence = f"{len(changed)} cards were written anew, or edited, after others had read them: {shown}"
        yield note(sentence, tuple(changed))


def _foreign(stored: Stored, folder: Path, within: tuple[str, ...]) -> Iterator[Finding]:
    """Files, folders and links that nothing here wrote; hidden ones are left out."""
    for path in listed(folder):
        parts = (*within, path.name)
        if path.is_symlink():
            yield note(f"{path} is a link to {os.readlink(path)}: what is there may change or go")
        elif not _is_own(stored, path, parts):
            yield note(f"{path} is foreign: nothing here wrote it, and nothing reads it")
        elif path.is_dir() and parts[0] != "logs":
            yield from _foreign(stored, path, parts)


def _is_own(stored: Stored, path: Path, parts: tuple[str, ...]) -> bool:
    top, depth, is_dir = parts[0], len(parts), path.is_dir()
    if depth == 1:
        files = "README.md", "report.html", *(f"claims.{ending}" for ending in (*ENDINGS["claims"], "json"))
        return top in files or (is_dir and top in (*KINDS, *ENDINGS, *BESIDE)) or is_manifest(path)
    if top in KINDS:
        beside = stored.cards.get(path.parent, {}).get("beside", {})
        return is_node(path) if depth == 2 else path.name in (store.CARD, store.RELEASED, KINDS[top].artifact, *beside)
    if top == "claims":
        return depth == 2 and not is_dir and path.suffix[1:] in (*ENDINGS[top], "json")
    if top in ENDINGS and depth < 4:
        copy = depth == 2 and not is_dir and path.suffix[1:] in ENDINGS[top]
        own = {stored.results / top / card.parent.name for card in stored.product_cards if top in card.parts[-3:-2]}
        if depth == 2:
            return (copy and any((study / path.name).exists() for study in own)) or path in own
        return not is_dir and path.suffix[1:] in (*ENDINGS[top], "json")
    return not is_dir and (top != "plans" or path in stored.plans)


def _checkpoints(stored: Stored) -> Iterator[Finding]:
    """States of trainings that no plan knows or that are another node's, and those of nodes that are made."""
    known = {i for plan in stored.plans.values() if isinstance(plan, Plan) for i in plan.nodes}
    made = {path.name for path in stored.cards}
    for path in listed(stored.results / "checkpoints"):
        node = path.name.removesuffix(path.suffix)
        if path.suffix not in (".safetensors", ".json") or node not in known or _run_of(path) != node:
            yield note(f"{path} is foreign: the saved state of no node that is planned here; no training continues it")
        elif node in made:
            yield note(f"{path} is of no use: {node} is made")


def _run_of(path: Path) -> str | None:
    """The node whose saved state is in a file; None where that cannot be read."""
    try:
        with open(path, "rb") as file:
            if path.suffix == ".json":
                return json.load(file)["run"]
            return json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]["run"]
    except (OSError, KeyError, OverflowError, MemoryError, *store.MALFORMED):
        return None
