"""A table with all that it was made from as one archive: a zip that is an RO-Crate 1.1.

The archive is laid out as results/ is: the table's files and card, the card of every node behind it, the frozen plan
if it is there, and what is asked for of the artifacts. Beside them `ro-crate-metadata.json` describes each file (size,
sha256) and each node as the action that made it (Soiland-Reyes et al. 2022, https://w3id.org/ro/crate/1.1). Whether all
of it agrees can be checked anywhere, see verify.
"""

import datetime
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import quote

from robust_transfer import store
from robust_transfer.errors import UserError
from robust_transfer.plan.graph import ENDINGS, Plan, Product
from robust_transfer.stages.node import KINDS, Node

METADATA = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/crate/1.1"
CONTEXT = [f"{PROFILE}/context", {"sha256": "https://schema.org/sha256"}]
FORMATS = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
}
NO_LICENCE = "No licence was named when this was packed: ask whoever gave it to you before you pass it on."
ARTIFACTS = ("none", "shown", "all")
"""Which artifacts an archive holds: none, those that the table's numbers are computed from, or all behind it."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time that a zip gives every file: the same content gives the same bytes."""


def product_in(card: dict[str, Any]) -> Product:
    """The product that a card of one describes."""
    study, _, name = card["key"].partition("/")
    return Product(card["kind"], study, name, card["spec"])


def cards_behind(product: Product, results: Path) -> dict[str, dict[str, Any]]:
    """The cards of all nodes that a product goes back to, by id, parents first; found by the cards alone.

    Raises:
        UserError: where one is missing, damaged or not its node's.
    """
    kinds = {folder.name: folder for kind in KINDS for folder in (results / kind).glob("*.*")}
    found: dict[str, dict[str, Any]] = {}

    def visit(ids: Iterable[str], who: str) -> None:
        for i in ids:
            if i in found:
                continue
            if i not in kinds:
                raise UserError(f"{i} is gone, from which {who} was made; {store.REMEDY}")
            card = store.read_card(kinds[i] / store.CARD)
            if wrong := store.identity(card, kinds[i]):
                raise UserError(f"{wrong}; {store.REMEDY}")
            visit(card["parents"].values(), i)
            found[i] = card

    visit(product.nodes, product.stem)
    return found


def plan_of(product: Product, cards: dict[str, dict[str, Any]]) -> Plan:
    """The plan of a product alone, as the cards of its nodes tell it."""
    plan = Plan({})
    for i, card in cards.items():
        plan.nodes[i] = Node.recorded(i, card["kind"], card["spec"], card["parents"])
    plan.products[product.stem] = product
    return plan


def pack(
    stem: str, results: Path, target: Path, artifacts: str, licence: str | None = None, authors: Iterable[str] = ()
) -> dict[str, Any]:
    """Write the archive of a table. What is wrong with its content is not looked for here; verify does that.

    stem: of the table, below results/. artifacts: one of ARTIFACTS; those that are gone are left out.
    licence: an address or a sentence. authors: names.

    Returns:
        {nodes, artifacts, absent: ids of those whose artifact is gone, bytes, sha256: of the archive}

    Raises:
        UserError: where the table or a card behind it is missing or damaged.
    """
    card = store.read_card(results / f"{stem}.json")
    product = product_in(card)
    cards = cards_behind(product, results)
    files = [f"{stem}.{ending}" for ending in (*ENDINGS[product.kind], "json")]
    if (results / "plans" / f"{card['plan']}.json").is_file():
        files.append(f"plans/{card['plan']}.json")
    files += [f"{of_node['kind']}/{i}/{store.CARD}" for i, of_node in cards.items()]
    chosen = {"none": (), "shown": product.nodes, "all": cards}[artifacts]
    outputs = {i: [f"{cards[i]['kind']}/{i}/{name}" for name in cards[i]["outputs"]] for i in chosen}
    held = {i: paths for i, paths in outputs.items() if all((results / path).is_file() for path in paths)}
    files += [path for paths in held.values() for path in paths]
    beside = [f"{of_node['kind']}/{i}/{name}" for i, of_node in cards.items() for name in of_node.get("beside", ())]
    files += [path for path in beside if (results / path).is_file()]
    described = {}
    with store.replacing(target) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            for file in files:
                described[file] = _add(archive, file, results / file)
            content = metadata(product, card, cards, described, licence, list(authors))
            text = json.dumps(content, indent=1, ensure_ascii=False)
            archive.writestr(_info(METADATA), text.encode())
        found = {"bytes": temporary.stat().st_size, "sha256": store.sha256_of(temporary)}
    return {"nodes": len(cards), "artifacts": len(held), "absent": sorted(outputs.keys() - held.keys())} | found


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr = 0o644 << 16
    packed_already = Path(name).suffix in (".parquet", ".safetensors")
    info.compress_type = zipfile.ZIP_STORED if packed_already else zipfile.ZIP_DEFLATED
    return info


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> dict[str, Any]:
    """Add a file; what a card would say of it, of the very bytes that were added."""
    digest, info = hashlib.sha256(), _info(name)
    try:
        with open(path, "rb") as source:
            info.file_size = path.stat().st_size  # so that zip64 is used where it must be
            with archive.open(info, "w") as member:
                while block := source.read(1 << 20):
                    digest.update(block)
                    member.write(block)
                return {"sha256": digest.hexdigest(), "bytes": source.tell()}
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {store.REMEDY}") from None


def metadata(
    product: Product,
    card: dict[str, Any],
    cards: dict[str, dict[str, Any]],
    described: dict[str, dict[str, Any]],
    licence: str | None,
    authors: list[str],
) -> dict[str, Any]:
    """The RO-Crate Metadata File: JSON-LD, flattened and compacted.

    described: the files by their paths in the archive. licence, authors: see pack.
    """
    title = product.spec.get("title", product.key)
    measured = [f"{product.spec['measured']}."] if product.spec.get("measured") else []
    folders: dict[str, list[str]] = {}
    for path in described:
        folders.setdefault(f"{Path(path).parent.as_posix()}/", []).append(path)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{product.key}: {title}",
        "description": " ".join([*measured, f"With the cards of the {len(cards)} nodes that it was made from."]),
        "datePublished": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "license": {"@id": licence} if _is_address(licence) else licence or NO_LICENCE,
        "hasPart": _many(folders),
    }
    people = [{"@id": f"#author-{i}", "@type": "Person", "name": name} for i, name in enumerate(authors, 1)]
    if people:
        root["author"] = _many(person["@id"] for person in people)
    context = people
    if _is_address(licence):
        context = [*people, {"@id": licence, "@type": "CreativeWork", "name": licence, "description": "The licence."}]
    graph: list[dict[str, Any]] = [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "conformsTo": {"@id": PROFILE},
            "about": {"@id": "./"},
        },
        root,
        *context,
    ]
    for folder, paths in folders.items():
        of_node = cards.get(Path(folder).name)
        name = f"{of_node['kind']} {of_node['id']}" if of_node else folder
        graph.append({"@id": quote(folder), "@type": "Dataset", "name": name, "hasPart": _many(paths)})
    graph += [
        {
            "@id": quote(path),
            "@type": "File",
            "name": Path(path).name,
            "contentSize": str(entry["bytes"]),
            "encodingFormat": FORMATS.get(Path(path).suffix, "application/octet-stream"),
            "sha256": entry["sha256"],
        }
        for path, entry in described.items()
    ]
    makers = {_software(each)["@id"]: _software(each) for each in (card, *cards.values())}
    graph += [*makers.values(), *(_action(each, cards) for each in cards.values())]
    table = [path for path in described if path.startswith(f"{product.stem}.")]
    graph.append(
        {
            "@id": f"#{quote(product.stem)}",
            "@type": "CreateAction",
            "name": f"{product.kind} {product.key}",
            "instrument": {"@id": _software(card)["@id"]},
            "object": _many(f"{cards[i]['kind']}/{i}/" for i in product.nodes),
            "result": _many(table),
        }
    )
    return {"@context": CONTEXT, "@graph": graph}


def _action(card: dict[str, Any], cards: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """How a node was made, of which its folder stands for what it is."""
    started = datetime.datetime.fromisoformat(card["started"])
    ended = started + datetime.timedelta(seconds=card["seconds"])
    action = {
        "@id": f"#{quote(card['id'])}",
        "@type": "CreateAction",
        "name": f"{card['kind']} {card['id']}",
        "startTime": card["started"],
        "endTime": ended.isoformat(timespec="seconds"),
        "instrument": {"@id": _software(card)["@id"]},
        "result": {"@id": quote(f"{card['kind']}/{card['id']}/")},
    }
    if card["parents"]:
        action["object"] = _many(dict.fromkeys(f"{cards[i]['kind']}/{i}/" for i in card["parents"].values()))
    return action


def _software(card: dict[str, Any]) -> dict[str, Any]:
    """The code that made something: the commit of a clone, or outside of one the fingerprint of its modules."""
    commit, dirty = card["git"].get("commit"), bool(card["git"].get("dirty"))
    code = f"commit {commit}" if commit else f"code {card['code']}"
    return {
        "@id": f"#{code.replace(' ', '-')}{'-dirty' * dirty}",
        "@type": "SoftwareApplication",
        "name": "robust-transfer",
        "version": code + " with uncommitted changes" * dirty,
    }


def _many(paths: Iterable[str]) -> Any:
    """References to entities: as the form asks for, one alone is no list."""
    found = [{"@id": path if path[0] == "#" else quote(path)} for path in paths]
    return found[0] if len(found) == 1 else found


def _is_address(licence: str | None) -> TypeGuard[str]:
    return licence is not None and licence.startswith(("https://", "http://"))


def extract(archive: zipfile.ZipFile, folder: Path, names: Iterable[str]) -> None:
    """Write members of an archive, whose names are known to be harmless, below a folder."""
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file)
