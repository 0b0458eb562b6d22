"""The audit: is everything in results/ what its card says, and made by the code of today?

Damage (edited, truncated, deleted, foreign) is what must be mended: `--repair` takes the damaged outputs away, and the
next `snakemake` makes just those anew. Nodes whose code has changed since, whose plan is another than today's, or that
were made from uncommitted code are named, but left.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from robust_transfer import provenance, store
from robust_transfer.errors import UserError
from robust_transfer.plan.graph import KINDS
from robust_transfer.stages.__main__ import STAGES


@dataclass(frozen=True)
class Finding:
    """Something the audit found.

    damaged: the files to be taken away so that they are made anew. card: of a node, stays, because it is what later
    nodes wait for: were it gone, they would be made anew as well.
    """

    what: str
    damaged: tuple[Path, ...] = ()
    card: Path | None = None


def node_folders(results: Path) -> list[Path]:
    """All node folders on disk."""
    return sorted(folder for kind in KINDS for folder in (results / kind).glob("*.*") if folder.is_dir())


def product_cards(results: Path) -> list[Path]:
    """The cards of all tables and figures of which anything is on disk."""
    made = (path for kind in ("tables", "figures") for path in (results / kind).glob("*/*.*") if path.name[0] != ".")
    return sorted({path.with_suffix(".json") for path in made})


def damages(results: Path) -> Iterator[Finding]:
    """Everything that is not what was written, and nodes whose parents are gone."""
    for folder in node_folders(results):
        card_path, artifact = folder / store.CARD, folder / KINDS[folder.parent.name].artifact
        if not card_path.exists() and not artifact.exists():
            continue  # nothing was made here: a job failed or still runs
        for sentence in _wrong_with(folder, card_path):
            yield Finding(sentence, (artifact,), card_path)
    for path in product_cards(results):
        endings = ("csv", "parquet", "md") if path.parts[-3] == "tables" else ("png", "svg")
        everything = (path, *(path.with_suffix(f".{ending}") for ending in endings))
        for sentence in _wrong_with(None, path):
            yield Finding(sentence, everything)


def _wrong_with(node: Path | None, card_path: Path) -> list[str]:
    """What is wrong with the card or the outputs of a node (its folder), or of a table or figure."""
    try:
        card = store.read_card(card_path)
    except UserError as error:
        return [str(error).removesuffix(f"; {store.REMEDY}")]
    wrong = store.identity(card, node) if node else None
    return [wrong] if wrong else store.damage(card_path.parent, card)


def remarks(results: Path) -> Iterator[Finding]:
    """What is whole but deserves a look: made by other code than today's, or from uncommitted code."""
    changed, dirty = Counter(), Counter()
    for folder in node_folders(results):
        try:
            card = store.read_card(folder / store.CARD)
        except UserError:
            continue
        module = import_module(f"robust_transfer.stages.{STAGES[folder.parent.name]}").__name__
        if card["code"] != provenance.fingerprint(module):
            changed[folder.parent.name] += 1
        if card["git"].get("dirty"):
            dirty[folder.parent.name] += 1
    for kind, count in changed.items():
        yield Finding(f"{count} {kind} nodes were made by other code than today's; delete results/{kind} to redo them")
    for kind, count in dirty.items():
        yield Finding(f"{count} {kind} nodes were made from a clone with uncommitted changes")


def repair(found: list[Finding]) -> list[Path]:
    """Take the damaged files away; returns the files that are to be made anew."""
    for finding in found:
        for path in finding.damaged:
            path.unlink(missing_ok=True)
        if finding.card and not finding.card.exists():
            finding.card.write_text("{}\n", encoding="utf-8")
    return list(dict.fromkeys(path for finding in found for path in finding.damaged))
