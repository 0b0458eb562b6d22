"""Currency: was it made from what is there now, for what the newest plan wants, and by the code of today?"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from robust_transfer import provenance, store
from robust_transfer.audit.stored import Finding, Stored
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
    yield from _code(stored)


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
