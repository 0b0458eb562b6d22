"""The manifest: what was in results/ at a time, kept elsewhere, so that no later change of files and cards can hide.

A card's seal shows a mistake, not a forgery: whoever edits a card can seal it anew. A manifest lists the sha256 of
every file, in the form that `sha256sum --check` reads, with a Merkle root over all lines. Committed, signed, or its
root printed in a paper, it is out of an editor's reach.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from robust_transfer import store
from robust_transfer.audit.stored import Finding, Stored, listed
from robust_transfer.errors import UserError
from robust_transfer.stages.node import KINDS

NAME = "manifest.sha256"
"""Where it is written unless another file is named, below results/."""
HEAD = "# robust-transfer manifest 1, Merkle root "
FEW = 3

changed = partial(Finding, "integrity", "damaged", made=False)


def entries(stored: Stored) -> dict[str, str]:
    """sha256 of every file that was made: cards, artifacts, tables, figures, verdicts, copies and plans; by the path
    below results/, in order.

    That of an artifact is taken from its card, which integrity holds against its bytes.
    """
    found: dict[Path, str | None] = {}
    for path in (*stored.folders, *stored.product_cards):
        if path.suffix == ".json":
            card, outputs = path, stored.files(path)[1:]
        else:
            card, outputs = path / store.CARD, (path / KINDS[path.parent.name].artifact,)
        described = stored.cards[path]["outputs"] if path in stored.cards else {}
        beside = [path / name for name in stored.cards.get(path, {}).get("beside", ())]
        found |= {file: _sha256(file) for file in (card, *beside)}
        for out in filter(os.path.exists, outputs):  # False where the folder cannot be read
            found[out] = described[out.name]["sha256"] if out.name in described else _sha256(out)
    copies = (path for folder in ("tables", "figures") for path in listed(stored.results / folder))
    found |= {path: _sha256(path) for path in (*copies, *stored.plans)}
    return {path.relative_to(stored.results).as_posix(): sha for path, sha in sorted(found.items()) if sha}


def _sha256(path: Path) -> str | None:
    try:
        return store.sha256_of(path) if path.is_file() else None
    except OSError:
        return None


def merkle_root(leaves: Sequence[bytes]) -> str:
    """The root (64 hex digits) of the Merkle tree of RFC 6962 over these leaves: with few other hashes it can be shown
    that a leaf is under it.
    """
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        alone = level[len(level) // 2 * 2 :]
        level = [hashlib.sha256(b"\1" + left + right).digest() for left, right in pairs] + alone
    return (level[0] if level else hashlib.sha256(b"").digest()).hex()


def root_of(files: dict[str, str]) -> str:
    """The Merkle root of a manifest's lines."""
    return merkle_root([line.encode(errors="surrogateescape") for line in _lines(files)])


def _lines(files: dict[str, str]) -> list[str]:
    return [f"{sha256}  {path}" for path, sha256 in sorted(files.items())]


def record(stored: Stored, path: Path) -> str:
    """Write the manifest; returns its root."""
    files = entries(stored)
    root = root_of(files)
    with store.replacing(path) as temporary:
        content = "\n".join([HEAD + root, *_lines(files)]) + "\n"
        temporary.write_text(content, encoding="utf-8", errors="surrogateescape")
    return root


def read(path: Path) -> dict[str, str]:
    """The entries of a manifest.

    Raises:
        UserError: where it is missing or is not what was written.
    """
    try:
        head, *lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines() or [""]
    except OSError as error:
        raise UserError(f"the manifest {path} cannot be read ({error.strerror}); name another") from None
    files = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
    if head != HEAD + root_of(files) or _lines(files) != lines:
        raise UserError(f"{path} is no manifest, or was edited: its root is not that of its lines; take a copy that is")
    return files


def against(stored: Stored, known: str) -> Iterator[Finding]:
    """What is not as a manifest recorded it: changed, gone or new. known: its path, or its root alone.

    Raises:
        UserError: where the manifest cannot be believed.
    """
    now = entries(stored)
    if re.fullmatch("[0-9a-f]{64}", known):
        if (root := root_of(now)) != known:
            yield changed(f"the files are not those of the root {known[:12]}...: theirs is {root}")
        return
    before = read(Path(known))
    for path, sha256 in before.items():
        if path not in now and store.is_released(stored.results / path):
            continue  # let go on purpose; its card is there, and says what it was
        if path not in now:
            yield changed(f"{stored.results / path} is gone, which {known} recorded", (_subject(path),))
        elif now[path] != sha256:
            yield changed(f"{stored.results / path} is not what {known} recorded", (_subject(path),))
    if new := [path for path in now if path not in before]:
        shown = ", ".join(new[:FEW]) + (" and others" if len(new) > FEW else "")
        subjects = tuple(dict.fromkeys(map(_subject, new)))
        yield Finding("integrity", "note", f"{len(new)} files are new since {known}: {shown}", subjects)


def _subject(path: str) -> str:
    """The node's id or the product's stem, by the path of one of its files."""
    parts = Path(path).parts
    return parts[1] if parts[0] in KINDS and len(parts) == 3 else Path(path).with_suffix("").as_posix()


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest in results/, or a signature of it."""
    return path.is_file() and path.name in (NAME, f"{NAME}.sig", f"{NAME}.minisig")
