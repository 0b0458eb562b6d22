"""The chain: which bytes everything was made from, and what no longer agrees with what is there now.

Every card says what was read: `read`, the sha256 of each parent's artifact, and `data`, for each prepared data set
behind it the digest of the files below data_root that it was prepared from; likewise for weights that were fetched, of
which the plan names no sha256. So what was made from other bytes than those of today can be told from the cards alone:
it is stale, and so is all that was made from it.
"""

import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from robust_transfer import store
from robust_transfer.canonical import canonical_json, digest
from robust_transfer.card_index import CardIndex
from robust_transfer.errors import UserError
from robust_transfer.plan.graph import Plan, Product
from robust_transfer.specs.datasets import Dataset
from robust_transfer.specs.origins import Origin
from robust_transfer.stages.node import KINDS, Node

# ---- the files of a data set ---------------------------------------------------------------------------------------


def files_of(spec: Any, data_root: Path, known: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]] | None:
    """What a data set or fetched weights are read from: an entry for each file or folder that the spec names,
    {path, stamp, sha256}.

    stamp: of sizes and times, which tells without reading that nothing was touched. sha256: of the file, or over the
    paths and sha256 of all files in the folder. Photographs of a collection are not looked at: those that stay where
    they are have their digests in the artifact, and are checked whenever they are read.

    known: entries of before, from which the sha256 is taken where the stamp is the same.

    Returns:
        None where something is missing.
    """
    before = {(entry["path"], entry["stamp"]): entry["sha256"] for entry in known}
    entries = []
    for name in _names(spec, data_root):
        top = data_root / name
        if not top.exists():
            return None
        if top.is_dir() and isinstance(spec, Dataset) and spec.reader == "collection":
            continue
        below = _below(top)
        stamp = digest([[path.hex(), *_size_and_time(top, path)] for path in below])
        sha256 = before.get((name, stamp)) or _content(top, below)
        entries.append({"path": name, "stamp": stamp, "sha256": sha256})
    return entries


def _names(spec: Any, data_root: Path) -> list[str]:
    if isinstance(spec, Dataset):
        return spec.files_in(data_root)
    return spec.files if isinstance(spec, Origin) else []


def content_of(files: list[dict[str, Any]]) -> str:
    """The digest of all that a data set is read from."""
    return digest([[entry["path"], entry["sha256"]] for entry in files])


def _content(top: Path, below: list[bytes]) -> str:
    shas = [[path.hex(), _sha256(top / os.fsdecode(path))] for path in below]
    return digest(shas) if top.is_dir() else shas[0][1]


def _sha256(path: Path) -> str:
    try:
        return store.sha256_of(path) if path.is_file() else "no file"
    except OSError:
        return "unreadable"  # the reader says what it thinks of that


def _size_and_time(top: Path, path: bytes) -> tuple[int, int]:
    try:
        found = (top / os.fsdecode(path)).stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _below(top: Path) -> list[bytes]:
    """The files in a folder at any depth, hidden ones and loops of links left out; of a file just itself, as b""."""
    if not top.is_dir():
        return [b""]
    found, seen, root = [], set(), os.fsencode(top)
    for folder, folders, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(b".")]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names if not name.startswith(b".")]
    return sorted(found)


# ---- what a node or product is made from ---------------------------------------------------------------------------


def read_by(node: Node, nodes: Mapping[str, Node], results: Path) -> dict[str, dict[str, str]]:
    """What a node is about to read: of each parent, by role, its id, the sha256 of its artifact and the seal of its
    card.

    Raises:
        UserError: where a parent's card is missing or damaged, or where parents were made from different bytes of
            something that they share.
    """
    return _read(node.parents, nodes, results)


def shown_by(product: Product, nodes: Mapping[str, Node], results: Path) -> dict[str, dict[str, str]]:
    """What a product is about to show, in the form of read_by, by the nodes' ids; raises as that does."""
    return _read({i: i for i in product.nodes}, nodes, results)


def data_behind(node: Node, nodes: Mapping[str, Node], results: Path, files: list[dict[str, Any]]) -> dict[str, str]:
    """The data sets that a node goes back to, with the digest of the files that each was prepared from.

    files: those that it reads itself.
    """
    cards = (store.read_card(results / nodes[parent].card) for parent in node.parents.values())
    found = {prepared: content for card in cards for prepared, content in card.get("data", {}).items()}
    return found | ({node.id: content_of(files)} if files else {})


def _read(roles: Mapping[str, str], nodes: Mapping[str, Node], results: Path) -> dict[str, dict[str, str]]:
    _must_agree(roles.values(), nodes, results)
    return {role: _entry(nodes[i], results) for role, i in roles.items()}


def _entry(node: Node, results: Path) -> dict[str, str]:
    path = results / node.card
    card = store.read_card(path)
    described = card["outputs"].get(KINDS[node.kind].artifact)
    if described is None:
        raise UserError(f"{path} does not describe its artifact; {store.REMEDY}")
    return {"id": node.id, "sha256": described["sha256"], "seal": card["seal"]}


def _must_agree(ids: Iterable[str], nodes: Mapping[str, Node], results: Path) -> None:
    """Everything behind these nodes must have been made from the same bytes of the same thing, and from those of now.

    What is gone by now, or cannot be read as a card, counts by what others say that they read of it.
    """
    found: dict[str, tuple[str, str]] = {}
    seen, to_see = set(), list(ids)

    def note(thing: str, sha256: str, who: str) -> None:
        first, before = found.setdefault(thing, (who, sha256))
        if before != sha256:
            raise UserError(
                f"{first} and {who} do not go back to the same bytes of {thing}: it was made anew or changed between "
                "them; start `snakemake` again, which makes anew what is out of date"
            )

    while to_see:
        node = nodes[to_see.pop()]
        if node.id in seen:
            continue
        seen.add(node.id)
        to_see += node.parents.values()
        card = store.glance(results / node.card, node.id)
        if card is None:
            continue
        if described := card["outputs"].get(KINDS[node.kind].artifact):
            note(node.id, described["sha256"], node.id)
        for entry in card["read"].values():
            note(entry["id"], entry["sha256"], node.id)
        for name, content in card["data"].items():
            note(f"the files of {name}", content, node.id)


# ---- what is stale -------------------------------------------------------------------------------------------------


class Chain:
    """Nodes as their cards say that they were made, held against what is there now.

    Nothing is believed here for good (no seal, no artifact is checked): whoever reads an artifact does that.

    cards: where to look for cards that were read before; then `card` has only what the chain asks of one.
    """

    def __init__(self, nodes: Mapping[str, Node], results: Path, data_root: Path, cards: CardIndex | None = None):
        self.nodes, self.results, self.data_root, self.cards = nodes, results, data_root, cards
        self.card = cache(self._card)
        self.content = cache(self._content)
        self.sha256 = cache(self._sha256)
        self.reason = cache(self._reason)

    def _card(self, node_id: str) -> dict[str, Any] | None:
        node = self.nodes[node_id]
        return self.cards.glance(node) if self.cards else store.glance(self.results / node.card, node_id)

    def _content(self, prepared: str) -> str | None:
        """The digest of a data set's files as they are now; None where they are not there."""
        card, node = self.card(prepared), self.nodes[prepared]
        files = files_of(KINDS[node.kind].parse(node.spec), self.data_root, card["files"] if card else ())
        return None if files is None else content_of(files)

    def _sha256(self, node_id: str) -> str | None:
        """The sha256 of a node's artifact as its card says; None where there is no card."""
        card, kind = self.card(node_id), self.nodes[node_id].kind
        return card["outputs"].get(KINDS[kind].artifact, {}).get("sha256") if card else None

    def _reason(self, node_id: str) -> str | None:
        """Why a node, if it is there at all, is not what would be made now; None where nothing speaks against it."""
        card = self.card(node_id)
        return self._inherited(self.nodes[node_id].parents.values()) or (self._own(card, node_id) if card else None)

    def reason_of_card(self, card: dict[str, Any], who: str) -> str | None:
        """The same of anything with a card (see store.glance): what it is called, and why it is out of date."""
        return self._inherited(entry["id"] for entry in card["read"].values()) or self._own(card, who)

    def _inherited(self, parents: Iterable[str]) -> str | None:
        for parent in parents:
            if parent in self.nodes and (why := self.reason(parent)):
                return why
        return None

    def _own(self, card: dict[str, Any], who: str) -> str | None:
        for prepared, content in card.get("data", {}).items():
            if prepared in self.nodes and self.content(prepared) not in (None, content):
                done = "brought" if self.nodes[prepared].kind == "bring" else "prepared"
                return f"the files of {prepared} have changed since it was {done}"
        for entry in card["read"].values():
            now = self.sha256(entry["id"]) if entry["id"] in self.nodes else None
            if now not in (None, entry["sha256"]):
                return f"{who} was made from other bytes of {entry['id']} than are there now"
        return None

    def reason_of(self, product: Product) -> str | None:
        """Why a product, if it is there at all, does not show what it should; None where nothing speaks against it."""
        path = self.results / f"{product.stem}.json"
        if not path.exists():
            return None
        card = store.glance(path)
        if card is None:
            return f"{path} does not say what {product.key} shows"
        if not shows(card, product):
            other = "config" if card.get("version") == product.param["version"] else "version of this project"
            return f"{product.stem} shows what another {other} asked for"
        return self.reason_of_card(card, product.stem)


def shows(card: dict[str, Any], product: Product) -> bool:
    """Whether the card of a table, figure or verdicts (see store.glance) is of what a plan asks for under that name."""
    shown = {"version": card.get("version"), "spec": card.get("spec")}
    return canonical_json(shown) == canonical_json(product.param) and card["read"].keys() == set(product.nodes)


def out_of_date(plan: Plan, results: Path, cards: CardIndex | None = None) -> dict[str, str]:
    """What is there but has to be made anew: of each thing a path below results/, and why.

    A node's card, a product's card, or a copy of one of the main study's products.

    cards: see Chain.
    """
    chain = Chain(plan.nodes, results, Path(plan.origin["data_root"]), cards)
    found = {node.card: chain.reason(node.id) for node in plan.nodes.values() if chain.card(node.id)}
    found |= {f"{product.stem}.json": chain.reason_of(product) for product in plan.products.values()}
    found |= {
        copy.relative_to(results).as_posix(): f"{copy} is no copy of {original}"
        for copy, original in copies(results, plan.origin["main_study"]).items()
    }
    return {path: why for path, why in found.items() if why}


def copies(results: Path, study: str) -> dict[Path, Path]:
    """The copies of a study's tables and figures that are not what they are copies of, with the latter."""
    found = {}
    for copy in sorted((*results.glob("tables/*.*"), *results.glob("figures/*.*"))):
        original = copy.parent / study / copy.name
        if copy.is_file() and original.is_file() and copy.read_bytes() != original.read_bytes():
            found[copy] = original
    return found
