"""The files of weights that were trained elsewhere: where they lie, and which bytes the config means.

`weights.lock`, beside config.yaml, has the sha256 of each file that was recorded (`robust-transfer inspect FILE
--record`). A plan goes by it, so that it is the same where the file is not there yet, and other bytes are refused.
"""

import os
from functools import lru_cache
from pathlib import Path

import yaml

from robust_transfer import store
from robust_transfer.errors import UserError
from robust_transfer.plan.reading import read_yaml

LOCK = Path("weights.lock")
HEADING = "# sha256 of brought weights, by their names below data_root/weights: robust-transfer inspect FILE --record\n"


def located(file: Path, config: Path = Path("config.yaml")) -> tuple[Path, str]:
    """A file that is named by its path or below data_root/weights; and its name in the config: below that folder, or
    its whole path where it lies elsewhere.

    Raises:
        UserError: where it is in neither place.
    """
    values = read_yaml(config) if config.is_file() else {}
    folder = Path(str(values.get("data_root", "data"))) / "weights"
    path = file if file.is_file() else folder / file
    if not path.is_file():
        raise UserError(f"there is no file {file}, nor {path}; name a checkpoint")
    absolute = Path(os.path.abspath(path))  # as it is named: a link leads elsewhere, and is what the config says
    top = next((top for top in (Path(os.path.abspath(folder)), folder.resolve()) if absolute.is_relative_to(top)), None)
    return path, str(absolute.relative_to(top) if top else absolute)


def sha256_of(path: Path) -> str:
    """That of a file's bytes, which are read once as long as nobody touches them."""
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _sha256(path: Path, changed: int, size: int) -> str:
    return store.sha256_of(path)


def recorded(lock: Path = LOCK) -> dict[str, str]:
    """The sha256 of each file that was recorded, by its name in the config.

    Raises:
        UserError: where the lock cannot be read.
    """
    if not lock.is_file():
        return {}
    return dict(_recorded(lock.absolute(), lock.stat().st_mtime_ns))


@lru_cache(maxsize=16)
def _recorded(lock: Path, changed: int) -> dict[str, str]:
    found = read_yaml(lock)
    if wrong := [name for name, sha256 in found.items() if not isinstance(sha256, str) or len(sha256) != 64]:
        record_it = f"robust-transfer inspect {wrong[0]} --record"
        raise UserError(f"{lock.name}: {wrong[0]} has no sha256; take the line away, and record the file: {record_it}")
    return {str(name): sha256 for name, sha256 in found.items()}


def record(name: str, sha256: str, lock: Path = LOCK) -> None:
    """Write the sha256 of a file into the lock, in place of what stood there of it."""
    entries = dict(sorted((recorded(lock) | {name: sha256}).items()))
    temporary = lock.with_name(f".{lock.name}.{os.getpid()}")
    temporary.write_text(HEADING + yaml.safe_dump(entries), encoding="utf-8")
    temporary.replace(lock)
