"""Tables that are kept beside those that come later, each under the name of its content: STUDY/TABLE.<12 hex>.

The plain name is that of the table that was made last, and is written anew for another config. What is kept is a copy
of it with a card of its own. Nothing writes it anew, so the audit checks it like any other table, and what it was made
from is wanted as long as it is there (see gc).
"""

import re
import shutil
from pathlib import Path
from typing import Any

from robust_transfer import store
from robust_transfer.canonical import digest

NAME = re.compile(r"(.+)\.[0-9a-f]{12}")


def plain(name: str) -> str:
    """The plain name of a table that may be a kept one."""
    found = NAME.fullmatch(name)
    return found[1] if found else name


def content_name(card: dict[str, Any]) -> str:
    """12 hex digits for what a table shows, and for the bytes it was made from."""
    read = {i: entry["sha256"] for i, entry in card["read"].items()}
    return digest([card["version"], card["spec"], read])[:12]


def keep(stem: Path) -> Path:
    """Copy a table; returns the path of the copy, without an ending.

    Raises:
        UserError: where its card or its files are not what was written.
    """
    card = store.read_whole(_card(stem))
    copy = stem.with_name(f"{stem.name}.{content_name(card)}")
    outputs = {}
    for name, written in card["outputs"].items():
        path = copy.with_name(copy.name + Path(name).suffix)
        with store.replacing(path) as temporary:
            shutil.copyfile(stem.parent / name, temporary)
        outputs[path.name] = written
    store.write_card(_card(copy), {key: value for key, value in card.items() if key != "seal"} | {"outputs": outputs})
    return copy


def of(stem: Path) -> dict[Path, dict[str, Any]]:
    """The kept copies of a table and their cards, by their paths without an ending."""
    cards = sorted(stem.parent.glob(f"{stem.name}.*.json"))
    paths = [path.with_suffix("") for path in cards if plain(path.stem) == stem.name]
    return {path: card for path in paths if (card := store.glance(_card(path)))}


def _card(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.json")
