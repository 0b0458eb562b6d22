"""What lies on disk: artifacts, the cards beside them, and the rules for writing and believing them.

An artifact is written under a temporary name, synced and renamed, its card after it: a reader never meets half a file.
Whatever is read is first checked against its card.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

from robust_transfer import locks
from robust_transfer.canonical import digest, node_id
from robust_transfer.errors import UserError

CARD = "card.json"
LOCK = "lock"
"""Beside a half-written file; held by its writer."""
RELEASED = "released.txt"
"""Beside the card of a node whose artifact was let go on purpose, because all that reads it is made."""
LEFT_SECONDS = 24 * 3600
"""Of a half-written file of another machine: nothing writes so slowly."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; renamed to `path` when the block ends well, removed when it does not.

    Any number of processes may do so at once, each to a file of its own: the last to end wins, with a whole file.

    Raises:
        UserError: where the disk is full, or where the temporary file was taken away meanwhile.
    """
    folder = descriptor = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        folder, descriptor = _begun(path)
        temporary = folder / path.name
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(os.fstat(descriptor).st_mode & 0o777)  # as umask has it; safetensors makes files of its own
        temporary.replace(path)
    except BaseException as error:
        if is_full(error):
            raise UserError(f"no space is left for {path}; make room on that disk and start again") from None
        if isinstance(error, FileNotFoundError) and folder and str(error.filename).startswith(str(folder)):
            raise UserError(f"{folder} was taken away while it was written to; start again") from None
        raise
    finally:
        if folder is not None and descriptor is not None:
            os.close(descriptor)  # first, because NFS keeps the name of an open file
            shutil.rmtree(folder, ignore_errors=True)


def _begun(path: Path) -> tuple[Path, int]:
    """A new folder beside a file, and a descriptor of the lock in it: while that is open the file's writer lives.

    A folder, because libraries write by a temporary file of their own, beside the one that they are given.
    """
    while True:
        folder = path.with_name(f".{path.name[:40]}.{locks.kernel()}.{secrets.token_hex(6)}.tmp")
        folder.mkdir()
        # Another process may take the new folder for a left one, until it is locked.
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            if locks.lock(descriptor) is not False and locks.is_at(descriptor, folder / LOCK):
                return folder, descriptor
            os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Take away what killed processes had begun to write: nobody holds its lock.

    That proves it for processes of this kernel. What others left must also have lain untouched for a day.
    """
    for left in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):  # it is gone already, or another user's
            descriptor = os.open(left / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                is_free = locks.lock(descriptor)
                if (_of_this_kernel(left) and is_free) or (_is_old(left) and is_free is not False):
                    shutil.rmtree(left)
            finally:
                os.close(descriptor)
                left.rmdir()  # what NFS has kept of it so long; of a living writer it is not empty


def is_left(folder: Path) -> bool:
    """Whether a temporary folder is one that the next writer beside it takes away."""
    try:
        return locks.holder(folder / LOCK) is None and (_of_this_kernel(folder) or _is_old(folder))
    except (OSError, ValueError):
        return False


def _of_this_kernel(left: Path) -> bool:
    return left.name.split(".")[-3] == locks.kernel()


def _is_old(left: Path) -> bool:
    return time.time() - max(file.stat().st_mtime for file in left.iterdir()) > LEFT_SECONDS


def is_full(error: BaseException) -> bool:
    """Whether an exception says that the disk or the quota is full, in whichever library's words."""
    return getattr(error, "errno", None) in (28, 122) or "No space left on device" in str(error)


def is_forbidden(error: BaseException) -> TypeGuard[OSError]:
    """Whether an exception says that a file or folder may not be read or written."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that people can read, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write a card with its seal, the digest of all else it says, by which a later edit shows."""
    write_json(path, card | {"seal": digest(card)})


def stamp_of(path: Path) -> tuple[int, ...]:
    """What changes with a file's content, and with its age; nothing of one that is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


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
        sealed = digest({key: value for key, value in card.items() if key != "seal"})
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {REMEDY}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {REMEDY}") from None
    except MALFORMED:
        card = sealed = None
    if not _is_card(card):
        raise UserError(f"{path} is damaged: it is no card; {REMEDY}")
    if card.get("seal") != sealed:
        raise UserError(f"{path} was edited: it is not what was written; {REMEDY}")
    return card


def glance(path: Path, node: str | None = None) -> dict[str, Any] | None:
    """A card's content without a look at its seal, with all that the chain asks for; None where there is no card.

    node: the id that it must have.
    """
    try:
        with open(path, "rb") as file:
            card = json.loads(file.read())
    except (OSError, *MALFORMED):
        return None
    if not _is_card(card) or (node and card.get("id") != node):
        return None
    return {"read": {}, "data": {}, "files": []} | card


def _is_card(card: Any) -> bool:
    """Whether something is a card in form: what is looked up in it later is there, and of its kind."""
    try:
        read, files, data = card.get("read", {}), card.get("files", []), card.get("data", {})
        written = [*card["outputs"].items(), *card.get("beside", {}).items()]
        texts = [*(name for name, _ in written), *(output["sha256"] for _, output in written), *data.values()]
        texts += [entry[key] for entry in read.values() for key in ("id", "sha256", "seal")]
        texts += [entry[key] for entry in files for key in ("path", "stamp", "sha256")]
        sizes = [output["bytes"] for _, output in written]
    except (LookupError, *MALFORMED):
        return False
    names = all(os.path.basename(name) == name and "\0" not in name for name in texts[: len(sizes)])
    return names and {*map(type, texts)} <= {str} and {*map(type, sizes)} <= {int}


MALFORMED = (ValueError, TypeError, AttributeError, RecursionError)
"""What a file that is no card, but NaN, a list or nested without end, may raise on its way to being one."""
REMEDY = (
    "run `robust-transfer audit --repair` and then the `snakemake` command that it prints, which makes just that anew"
)


def find(results: Path, name: str, kinds: Iterable[str]) -> Path:
    """The folder of the node that a name stands for: its id, a part of it that no other has, or a path to it.

    kinds: those that it may be of.

    Raises:
        UserError: where there is none, or several.
    """
    part = name.rstrip("/").removesuffix(f"/{CARD}").rpartition("/")[2]
    folders = [folder for kind in kinds for folder in (results / kind).glob("*.*") if part in folder.name]
    folders = [folder for folder in folders if folder.name == part] or folders
    if len(folders) != 1 or not part:
        ids = ", ".join(sorted(folder.name for folder in folders)[:5])
        found = (
            f"{len(folders)} nodes have {name} in their name ({ids}, ...)" if folders else f"no node is named {name}"
        )
        raise UserError(f"{found} in {results}; give the whole name, as that of its folder")
    return folders[0]


def edited_beside(folder: Path, card: dict[str, Any]) -> list[Path]:
    """The files beside an artifact that are there and are not what was written; nothing is made from them."""
    described = card.get("beside", {}).items()
    return [
        folder / name for name, about in described if (folder / name).is_file() and describe(folder / name) != about
    ]


def damage(folder: Path, card: dict[str, Any]) -> list[str]:
    """What is wrong with the outputs a card describes: a sentence each, none when all is well."""
    found = []
    for name, written in card["outputs"].items():
        path = folder / name
        try:
            if (size := path.stat().st_size) != written["bytes"] and path.is_file():
                found.append(f"{path} has {size:,} bytes, but was written with {written['bytes']:,}")
            elif sha256_of(path) != written["sha256"]:
                found.append(f"{path} was edited: its content is not what was written")
        except FileNotFoundError:
            if not is_released(path):
                found.append(f"{path} was deleted")
        except OSError as error:
            found.append(f"{path} cannot be read ({error.strerror})")
    return found


def read_whole(path: Path) -> dict[str, Any]:
    """A card's content, once all that it describes is found to be what was written.

    Raises:
        UserError: where it is not, or as read_card.
    """
    card = read_card(path)
    if found := damage(path.parent, card):
        raise UserError(f"{'; '.join(found)}; {REMEDY}")
    return card


def release(artifact: Path) -> None:
    """Take an artifact away on purpose; its card stays, so that what was made from it does, too."""
    text = f"{artifact.name} was let go: its card stays. It is made anew when something is to be made from it.\n"
    with replacing(artifact.with_name(RELEASED)) as temporary:
        temporary.write_text(text, encoding="utf-8")
    artifact.unlink()


def is_released(artifact: Path) -> bool:
    """Whether an artifact was let go on purpose and was not made anew since."""
    return not artifact.exists() and artifact.with_name(RELEASED).exists()


def identity(card: dict[str, Any], folder: Path) -> str | None:
    """What is wrong with a node's card itself: its spec and parents must give the folder's name."""
    try:
        slug, _, _ = card["id"].rpartition(".")
        true_id = node_id(card["kind"], slug, card["spec"], card["parents"], card["version"])
    except (KeyError, *MALFORMED):
        return f"{folder / CARD} is damaged: entries are missing"
    if (card["id"], card["kind"]) != (folder.name, folder.parent.name):
        return f"{folder / CARD} belongs to another node ({card['kind']}/{card['id']})"
    if true_id != card["id"]:
        return f"{folder / CARD} was edited: its spec and parents do not give its id"
    return None


def checked_artifact(folder: Path, artifact: str) -> Path:
    """The path of a node's artifact, once its card and its bytes have been checked.

    Raises:
        UserError: where anything is missing, damaged or foreign.
    """
    card = read_card(folder / CARD)
    found = [wrong] if (wrong := identity(card, folder)) else damage(folder, card)
    if not found and is_released(folder / artifact):
        raise UserError(f"{folder / artifact} was let go; `snakemake --cores all {folder / artifact}` makes it anew")
    if not found and artifact not in card["outputs"]:
        found = [f"{folder / CARD} does not describe {artifact}"]
    if found:
        raise UserError(f"{'; '.join(found)}. {REMEDY[0].upper()}{REMEDY[1:]}")
    return folder / artifact
