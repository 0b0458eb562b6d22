"""Is an archive of a table what was packed, and does it bear its numbers out? Checked anywhere, from the file alone.

No folder of results and no config is asked. What is checked: the archive against its own list (size and sha256 of every
file), every card's seal and id, the chain (which bytes each thing was made from, down to the data files), the artifacts
against their cards, the plan, and the table: its .csv and .md against its .parquet, and every number whose artifacts
are there, computed anew.

A seal is a plain digest, which an editor can write anew. Whoever knows the archive's own sha256 from elsewhere, e.g.
from the paper, knows that nothing was changed.
"""

import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from robust_transfer import chain, provenance, store
from robust_transfer.errors import UserError
from robust_transfer.plan import freeze
from robust_transfer.plan.graph import PRODUCTS, Plan, Product, nodes_of
from robust_transfer.share import crate
from robust_transfer.stages.node import KINDS

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OverflowError)
"""What zipfile raises for members that are damaged, encrypted or compressed in a way that it does not know."""
LAST_BITS = 1e-9
"""By how much a number may differ, relatively, for another machine to have computed it."""


@dataclass
class Verified:
    """What a check found.

    findings: what is wrong, a sentence each. notes: what is whole but deserves a look. numbers: of the table, how many
    there are, how many were computed anew, and how many of those came out the same. artifacts: how many are there.
    """

    sha256: str
    table: str = ""
    nodes: int = 0
    artifacts: int = 0
    numbers: dict[str, int] = field(default_factory=lambda: {"all": 0, "computed": 0, "same": 0})
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(path: Path) -> Verified:
    """Check an archive that crate.pack wrote.

    Raises:
        UserError: where it cannot be read, or is no such archive at all.
    """
    try:
        found = Verified(store.sha256_of(path))
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="robust-transfer-") as scratch:
            folder = Path(scratch)
            found.findings += _unpacked(archive, folder)
            if not found.findings:
                _check(folder, found)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except BROKEN as error:
        raise UserError(f"{path} is no zip archive, or was cut short ({error})") from None
    return found


# ---- the archive ---------------------------------------------------------------------------------------------------


def _unpacked(archive: zipfile.ZipFile, folder: Path) -> Iterator[str]:
    """Unpack it, and say what is not as its own list has it."""
    names = [info.filename for info in archive.infolist()]
    for name in sorted({name for name in names if not _is_harmless(name) or names.count(name) > 1}):
        yield f"{name!r} is no name that a packed file has, or is there twice"
        names = [other for other in names if other != name]
    described = None
    for name in names:
        try:
            crate.extract(archive, folder, [name])
        except BROKEN as error:
            yield f"{name} is damaged ({error})"
    if crate.METADATA not in names:
        yield f"{crate.METADATA} is missing: this is no RO-Crate"
        return
    try:
        described = _described(json.loads((folder / crate.METADATA).read_text(encoding="utf-8")))
    except (OSError, LookupError, *store.MALFORMED):
        yield f"{crate.METADATA} is damaged: it does not describe an RO-Crate 1.1"
        return
    for name in sorted(described.keys() - {*names}):
        yield f"{name} is missing"
    for name in sorted({*names} - described.keys() - {crate.METADATA}):
        yield f"{name} is foreign: {crate.METADATA} does not describe it"
    for name in sorted(described.keys() & {*names}):
        if (folder / name).is_file() and store.describe(folder / name) != described[name]:
            yield f"{name} was changed after it was packed"


def _is_harmless(name: str) -> bool:
    """Whether a member's name leads to a file below the folder that it is unpacked to."""
    parts = PurePosixPath(name).parts
    return name == "/".join(parts) and not {"..", "/", "."} & {*parts} and not {"\\", "\0", ":"} & {*name}


def _described(content: Any) -> dict[str, dict[str, Any]]:
    """The files that an RO-Crate's metadata link to from its root, as a card would describe them.

    Raises:
        LookupError, ValueError, TypeError, AttributeError: where it is not of that form.
    """
    entities = {entity["@id"]: entity for entity in content["@graph"]}
    descriptor = entities[crate.METADATA]
    if not descriptor["conformsTo"]["@id"].startswith(crate.PROFILE):
        raise ValueError("another profile")
    root = entities[descriptor["about"]["@id"]]
    if not all(root[key] for key in ("name", "description", "datePublished", "license")):
        raise ValueError("the root says less than it must")
    found, to_see = {}, [root]
    while to_see:
        entity = to_see.pop()
        if entity["@type"] == "File":
            described = {"sha256": entity["sha256"], "bytes": int(entity["contentSize"])}
            found[unquote(entity["@id"])] = described
        parts = entity.get("hasPart", [])
        to_see += [entities.pop(part["@id"]) for part in (parts if isinstance(parts, list) else [parts])]
    return found


# ---- what is in it -------------------------------------------------------------------------------------------------


def _check(folder: Path, found: Verified) -> None:
    """Check what lies in the archive, unpacked into a folder that is laid out as results/ is."""
    tables = sorted(folder.glob("tables/*/*.json"))
    if len(tables) != 1:
        found.findings.append(f"there are {len(tables)} tables in it, not one")
        return
    try:
        card = store.read_card(tables[0])
        product = crate.product_in(card)
        found.table = product.key
        if folder / f"{product.stem}.json" != tables[0]:
            raise UserError(f"{tables[0]} belongs to another table ({product.key})")
        cards = crate.cards_behind(product, folder)
    except (UserError, LookupError, *store.MALFORMED) as error:
        what = str(error) if isinstance(error, UserError) else "a card is damaged: entries are missing"
        found.findings.append(what.removesuffix(f"; {store.REMEDY}").replace(f"{folder}/", ""))
        return
    found.nodes = len(cards)
    plan = crate.plan_of(product, cards)
    there = {
        i
        for i, of_node in cards.items()
        if all((folder / of_node["kind"] / i / n).exists() for n in of_node["outputs"])
    }
    found.artifacts = len(there)
    damaged = [store.damage(folder / cards[i]["kind"] / i, cards[i]) for i in sorted(there)]
    edited = [
        path for i, of_node in cards.items() for path in store.edited_beside(folder / of_node["kind"] / i, of_node)
    ]
    sentences = [f"{path} was edited" for path in edited]
    sentences += [sentence for each in (*damaged, store.damage(tables[0].parent, card)) for sentence in each]
    try:
        sentences += _chain(card, cards, found)
        sentences += _plan(card, product, plan, folder)
        if not sentences:
            sentences += _numbers(card, product, plan, folder, there, found)
    except (LookupError, *store.MALFORMED):
        sentences.append("a card is damaged: entries are missing")
    found.findings += [sentence.replace(f"{folder}/", "") for sentence in sentences]


def _chain(card: dict[str, Any], cards: dict[str, dict[str, Any]], found: Verified) -> Iterator[str]:
    """Was everything made from what is there, down to the files of the data sets?"""
    for who, of_node in [(found.table, card), *cards.items()]:
        roles = of_node.get("parents", {i: i for i in of_node["read"]})
        if {role: entry["id"] for role, entry in of_node["read"].items()} != roles:
            yield f"the card of {who} does not say what it was made from"
        for entry in of_node["read"].values():
            parent = cards[entry["id"]]
            if parent["outputs"][KINDS[parent["kind"]].artifact]["sha256"] != entry["sha256"]:
                yield f"{who} was made from other bytes of {entry['id']} than are there"
            elif parent["seal"] != entry["seal"]:
                found.notes.append(f"the card of {entry['id']} was written anew, or edited, after {who} had read it")
        if "parents" in of_node:
            data = {k: v for i in roles.values() for k, v in cards[i]["data"].items()}
            data |= {who: chain.content_of(of_node["files"])} if of_node["files"] else {}
            if data != of_node["data"]:
                yield f"{who} and what it was made from do not go back to the same data files"
    if {*card["read"]} != {*crate.product_in(card).nodes}:
        yield f"{found.table} does not show the nodes that its card says it read"


def _plan(card: dict[str, Any], product: Product, plan: Plan, folder: Path) -> Iterator[str]:
    """Does the table show what its plan asked for?"""
    path = folder / "plans" / f"{card['plan']}.json"
    if not path.exists():
        return
    try:
        frozen = freeze.thaw(path)
    except UserError:
        yield f"the plan {path} was changed: its content does not give its name"
        return
    planned = frozen.products.get(product.stem)
    if planned is None or planned.spec != product.spec:
        yield f"{product.key} does not show what the plan {path} asked for"
    for node in plan.nodes.values():
        other = frozen.nodes.get(node.id)
        if other is None or (other.kind, other.spec, other.parents) != (node.kind, node.spec, node.parents):
            yield f"{node.id} is not the node that the plan {path} asked for"


def _numbers(
    card: dict[str, Any], product: Product, plan: Plan, folder: Path, there: set[str], found: Verified
) -> Iterator[str]:
    """Do the table's files say the same, and do its numbers come out again?"""
    import pandas as pd

    from robust_transfer.run.products import table_files, with_warnings
    from robust_transfer.tables.tidy import tidy

    stem = folder / product.stem
    frame = pd.read_parquet(stem.with_suffix(".parquet"))
    found.numbers["all"] = len(frame)
    cells = product.spec["cells"]
    if [(cell["row"], cell["column"], cell["metric"]) for cell in cells] != [
        *frame[["row", "column", "metric"]].itertuples(index=False, name=None)
    ]:
        yield f"{stem}.parquet does not have the cells that its card describes"
        return
    for at, cell in enumerate(cells):
        if not {*nodes_of(cell)} <= there:
            continue
        again = tidy(product.study, product.name, [cell], lambda i: folder / plan.nodes[i].artifact)
        found.numbers["computed"] += 1
        if wrong := _differing(frame.iloc[at], again.iloc[0]):
            yield f"{product.key}, {cell['row']}, {cell['column']}: {wrong}"
        else:
            found.numbers["same"] += 1
    same_code = card["code"] == provenance.fingerprint("robust_transfer.run.products")
    if card["version"] != PRODUCTS[product.kind]:
        found.notes.append(f"the .csv and .md are not compared: tables had version {card['version']} when it was made")
        return
    for ending, write in table_files(frame, with_warnings(product, plan, folder)).items():
        if ending == ".parquet":
            continue
        write(again_path := folder / f"again{ending}")
        if again_path.read_bytes() != stem.with_suffix(ending).read_bytes():
            what = f"{stem}{ending} does not show what the .parquet says"
            if same_code:
                yield what
            else:
                found.notes.append(f"{what} as today's code would write it")


def _differing(before: Any, now: Any) -> str | None:
    """Which value of a row of the tidy frame does not come out again."""
    for name in ("value", "ci_low", "ci_high", "n", "seeds", "sd_seeds", "se_images", "published"):
        one, other = float(before[name]), float(now[name])
        if one != other and not (one != one and other != other) and abs(one - other) > LAST_BITS * abs(one):
            return f"{name} is {one:.6g} in the table, and {other:.6g} computed anew"
    if before["nodes"] != now["nodes"]:
        return "it names other nodes than its card"
    return None
