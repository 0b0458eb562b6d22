"""What lies on disk: artifacts, the cards beside them, and the rules for writing and believing them.

An artifact is written under a temporary name, synced and renamed, its card after it: a reader never meets half a file.
Whatever is read is first checked against its card.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robust_transfer.errors import UserError
from robust_transfer.plan.canonical import digest
from robust_transfer.plan.graph import KINDS, node_id

CARD = "card.json"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; renamed to `path` when the block ends well, removed when it does not.

    Raises:
        UserError: where the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if is_full(error):
            raise UserError(f"no space is left for {path}; make room on that disk and start again") from None
        raise


def _sweep(path: Path) -> None:
    """Take away what processes that were killed had written of `path`."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        try:
            os.kill(int(left.name.split(".")[-2]), 0)
        except ProcessLookupError:
            left.unlink(missing_ok=True)
        except PermissionError:
            pass  # it lives, and is another user's


def is_full(error: BaseException) -> bool:
    """Whether an exception says that the disk or the quota is full, in whichever library's words."""
    return getattr(error, "errno", None) in (28, 122) or "No space left on device" in str(error)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that people can read, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write a card with its seal, the digest of all else it says, by which a later edit shows."""
    write_json(path, card | {"seal": digest(card)})


def sha256_of(path: Path) -> str:
    """sha256 (64 hex digits) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """What a card says of an output."""
    return {"sha256": sha256_of(path), "bytes": path.stat().st_size}


def read_card(path: Path) -> dict[str, Any]:
    """A card's content.

    Raises:
        UserError: where it is missing or no card.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {REMEDY}") from None
    except (ValueError, UnicodeDecodeError):
        card = None
    if not isinstance(card, dict) or not isinstance(card.get("outputs"), dict):
        raise UserError(f"{path} is damaged: it is no card; {REMEDY}")
    if card.get("seal") != digest({key: value for key, value in card.items() if key != "seal"}):
        raise UserError(f"{path} was edited: it is not what was written; {REMEDY}")
    return card


REMEDY = (
    "run `robust-transfer audit --repair` and then the `snakemake` command that it prints, which makes just that anew"
)


def damage(folder: Path, card: dict[str, Any]) -> list[str]:
    """What is wrong with the outputs a card describes: a sentence each, none when all is well."""
    found = []
    for name, wanted in card["outputs"].items():
        path = folder / name
        if not path.exists():
            found.append(f"{path} was deleted")
        elif (size := path.stat().st_size) != wanted["bytes"]:
            found.append(f"{path} has {size:,} bytes, but was written with {wanted['bytes']:,}")
        elif sha256_of(path) != wanted["sha256"]:
            found.append(f"{path} was edited: its content is not what was written")
    return found


def identity(card: dict[str, Any], folder: Path) -> str | None:
    """What is wrong with a node's card itself: its spec and parents must give the folder's name."""
    try:
        slug, _, _ = card["id"].rpartition(".")
        true_id = node_id(card["kind"], slug, card["spec"], card["parents"], card["version"])
    except (KeyError, TypeError, AttributeError):
        return f"{folder / CARD} is damaged: entries are missing"
    if card["kind"] not in KINDS or (card["id"], card["kind"]) != (folder.name, folder.parent.name):
        return f"{folder / CARD} belongs to another node ({card['kind']}/{card['id']})"
    if true_id != card["id"]:
        return f"{folder / CARD} was edited: its spec and parents do not give its id"
    return None


def believed(folder: Path, artifact: str) -> Path:
    """The path of a node's artifact, once its card and its bytes have been checked.

    Raises:
        UserError: where anything is missing, damaged or foreign.
    """
    card = read_card(folder / CARD)
    found = [wrong] if (wrong := identity(card, folder)) else damage(folder, card)
    if not found and artifact not in card["outputs"]:
        found = [f"{folder / CARD} does not describe {artifact}"]
    if found:
        raise UserError(f"{'; '.join(found)}. {REMEDY[0].upper()}{REMEDY[1:]}")
    return folder / artifact
