"""What the chain asks of cards, kept in one file: a card that nobody touched since is not read again.

A cache and no more. A card counts as untouched while its file has the inode, size, and times of content and of status
that it had when it was read; the last nobody can set. Where the file of all is missing, damaged or of another version,
cards are read; where it cannot be written, it is not.
"""

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from robust_transfer import store
from robust_transfer.errors import UserError
from robust_transfer.stages.node import Node

NAME = ".cards"
"""The file in the folder of results: a line with the sha256 of the rest, which is JSON: path -> [stamp, entries]."""
VERSION = 1
"""Raised with what _asked_of keeps of a card."""
SETTLED_NS = 2_000_000_000
"""A file may be written twice within a tick of its clock: so what was touched so shortly before is not kept."""


class CardIndex:
    """The cards of nodes in a folder of results, as far as the chain asks for them."""

    def __init__(self, results: Path):
        self.results, self.began = results, time.time_ns()
        self._before = _read(results / NAME)
        self._now: dict[str, list[Any]] = {}
        self._is_news = False

    def glance(self, node: Node) -> dict[str, Any] | None:
        """As store.glance, with what the chain asks for alone; see _asked_of."""
        path = f"{self.results}/{node.card}"
        try:
            descriptor = os.open(path, os.O_RDONLY)  # NFS asks its server about a file that is opened
            try:
                found = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            return None
        stamp = [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
        known = self._before.get(node.card)
        if known is None or known[0] != stamp:
            card = store.glance(Path(path), node.id)
            if card is None:
                return None
            known = [stamp, _asked_of(card)]
            self._is_news = True
        self._now[node.card] = known
        return known[1]

    def save(self) -> None:
        """Keep what was looked at, and nothing else, for the next time."""
        if not self._is_news and len(self._now) == len(self._before):
            return
        last = self.began - SETTLED_NS
        kept = {path: known for path, known in self._now.items() if max(known[0][2:]) < last}
        text = json.dumps([VERSION, kept], separators=(",", ":")).encode()
        with contextlib.suppress(OSError, UserError), store.replacing(self.results / NAME) as temporary:
            temporary.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)


def _asked_of(card: dict[str, Any]) -> dict[str, Any]:
    """Of a card (see store.glance): its files and data sets, and the digests of its outputs and of what it has read."""
    outputs = {name: {"sha256": output["sha256"]} for name, output in card["outputs"].items()}
    read = {role: {"id": entry["id"], "sha256": entry["sha256"]} for role, entry in card["read"].items()}
    return {"outputs": outputs, "read": read, "data": card["data"], "files": card["files"]}


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        seal, _, text = path.read_bytes().partition(b"\n")
        if hashlib.sha256(text).hexdigest().encode() == seal:
            version, known = json.loads(text)
            return known if version == VERSION else {}
    except (OSError, *store.MALFORMED):
        pass
    return {}
