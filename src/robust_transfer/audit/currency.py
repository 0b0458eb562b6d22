"""Currency: was it made from what is there now, for what the newest plan wants, and by the code of today?"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from robust_transfer import provenance, store
from robust_transfer.audit.stored import Finding, Stored
from robust_transfer.plan.graph import nodes_of
from robust_transfer.stages.node import KINDS

stale = partial(Finding, "currency", "stale")
note = partial(Finding, "currency", "note")


def findings(stored: Stored) -> Iterator[Finding]:
    """Everything that is out of date, and what deserves a look."""
    for folder, _ in stored.node_cards():
        if why := stored.chain.reason(folder.name):
            artifact = folder / KINDS[folder.parent.name].artifact
            yield stale(f"{artifact} is out of date: {why}", (folder.name,), (artifact,), folder / store.CARD)
    for path in stored.product_cards:
        if path in stored.cards and (why := _why_stale(stored, path)):
            yield stale(f"{path} is out of date: {why}", (stored.stem(path),), stored.files(path))
    yield from (*_code(stored), *_mixed(stored))


def _why_stale(stored: Stored, path: Path) -> str | None:
    """Why a product is out of date; None where nothing speaks against it. path: of its card."""
    stem = stored.stem(path)
    product = stored.newest.products.get(stem) if stored.newest else None
    return stored.chain.reason_of(product) if product else stored.chain.reason_of_card(stored.cards[path], stem)


def _code(stored: Stored) -> Iterator[Finding]:
    """Nodes that were made by other code than today's (that of the modules which their specs name), or by nobody knows
    which.
    """
    changed: dict[str, list[str]] = {}
    dirty: dict[str, list[str]] = {}
    for folder, card in stored.node_cards():
        if card["code"] != provenance.fingerprint(*card["modules"]):
            changed.setdefault(folder.parent.name, []).append(folder.name)
        if card["git"].get("dirty"):
            dirty.setdefault(folder.parent.name, []).append(folder.name)
    for kind, nodes in changed.items():
        sentence = f"{len(nodes)} {kind} nodes were made by other code than today's; delete results/{kind} to redo them"
        yield note(sentence, tuple(nodes))
    for kind, nodes in dirty.items():
        yield note(f"{len(nodes)} {kind} nodes were made from a clone with uncommitted changes", tuple(nodes))


def _mixed(stored: Stored) -> Iterator[Finding]:
    """Tables and figures made from nodes that were not all made under the same circumstances; what is the same of
    several is one finding.
    """
    cards = {folder.name: card for folder, card in stored.node_cards() if KINDS[card["kind"]].gpu}
    alike: dict[str, list[str]] = {}
    for stem, spec in stored.shown().items():
        shown = [i for array in spec.get("tensors", {}).values() for i in array["nodes"]]
        behind = stored.behind([*(i for cell in spec["cells"] for i in nodes_of(cell)), *shown])
        found: dict[str, set[str]] = {}
        for card in (cards[i] for i in behind if i in cards):
            for name, value in _circumstances(card):
                found.setdefault(name, set()).add(value)
        mixed = [f"{name} {' and '.join(sorted(values))}" for name, values in found.items() if len(values) > 1]
        if mixed:
            alike.setdefault("; ".join(mixed), []).append(stem)
    for circumstances, stems in alike.items():
        yield note(f"{', '.join(stems)}: made from nodes of {circumstances}", tuple(stems))


def _circumstances(card: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What may change bits, and is no part of a spec."""
    for part in (card.get("versions"), {name: card.get(name) for name in ("device", "threads")}):
        if isinstance(part, dict):
            yield from ((name, str(value)) for name, value in part.items())
