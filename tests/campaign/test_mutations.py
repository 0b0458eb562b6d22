"""A finished folder, changed in many ways, one at a time: the audit must name every one, and never end in a traceback.

`python -m pytest -m campaign tests/campaign/test_mutations.py -s` says how many there were.
"""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from robust_transfer import store
from robust_transfer.audit import LEVELS, Stored, findings, manifest
from robust_transfer.errors import UserError
from workspace import copy

pytestmark = pytest.mark.campaign
AT_LEAST = 119
BYTES_LEVELS = tuple(level for level in LEVELS if level != "science")


# ---- what is done to a file ----------------------------------------------------------------------------------------


def flip(place):
    """Change one bit, at a share of the length; the size stays."""

    def change(path):
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return change


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def grow(path):
    path.write_bytes(path.read_bytes() + b"x")


def empty(path):
    path.write_bytes(b"")


def gone(path):
    path.unlink()


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_link(path):
    elsewhere = Path.cwd() / f"elsewhere-{path.name}"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def a_dangling_link(path):
    path.unlink()
    path.symlink_to("nowhere")


def unreadable(path):
    path.chmod(0)


BYTES = {
    "flipped at the begin": flip(0.0),
    "flipped in the middle": flip(0.5),
    "flipped at the end": flip(1.0),
    "cut short": cut,
    "longer": grow,
    "emptied": empty,
    "deleted": gone,
    "a folder": a_folder,
    "a link": a_link,
    "a dangling link": a_dangling_link,
    "unreadable": unreadable,
}


def text(content):
    return lambda path: path.write_text(content, encoding="utf-8")


def entry(key, value):
    """Set an entry of a card, with the right seal."""

    def change(path):
        card = json.loads(path.read_text(encoding="utf-8"))
        store.write_card(path, {name: v for name, v in card.items() if name != "seal"} | {key: value})

    return change


def lacking(key):
    def change(path):
        card = json.loads(path.read_text(encoding="utf-8"))
        store.write_card(path, {name: v for name, v in card.items() if name not in ("seal", key)})

    return change


MALFORMED = {
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a list": text("[]"),
    "a number": text("1"),
    "null": text("null"),
    "nested without end": text('{"a":' * 100_000),
    "a list without end": text("[" * 100_000),
    "NaN": text('{"outputs": {}, "metrics": NaN}'),
    "a number of many digits": text('{"outputs": {}, "a": ' + "9" * 5000 + "}"),
    "half a character": text('{"outputs": {}, "a": "\\ud800"}'),
    "outputs of null": entry("outputs", {"model.safetensors": None}),
    "outputs of nothing": entry("outputs", {"model.safetensors": {}}),
    "outputs elsewhere": entry("outputs", {"../../x": {"sha256": "0" * 64, "bytes": 1}}),
    "outputs of a zero byte": entry("outputs", {"a\0b": {"sha256": "0" * 64, "bytes": 1}}),
    "outputs of texts": entry("outputs", {"model.safetensors": {"sha256": 1, "bytes": "1"}}),
    "no outputs": entry("outputs", {}),
    "an unhashable kind": entry("kind", ["pretrain"]),
    "a kind of nothing": entry("kind", None),
    "an id of nothing": entry("id", None),
    "a version of text": entry("version", "two"),
    "modules that are not hashable": entry("modules", [["a"]]),
    "modules of null": entry("modules", None),
    "git of a list": entry("git", []),
    "read of a list": entry("read", []),
    "read of texts": entry("read", {"data": "x"}),
    "read of nothing": entry("read", {}),
    "data of a list": entry("data", []),
    "files of null": entry("files", None),
    "files of texts": entry("files", ["a"]),
    "parents of a list": entry("parents", []),
    "a spec of null": entry("spec", None),
    "a plan of a list": entry("plan", []),
} | {
    f"without {key}": lacking(key)
    for key in ("id", "kind", "spec", "parents", "outputs", "code", "git", "read", "plan")
}

RESEALED = {
    "code": entry("code", "0" * 12),
    "git": entry("git", {"commit": "0" * 40, "dirty": False}),
    "versions": entry("versions", {"torch": "9"}),
    "device": entry("device", "NVIDIA H100"),
    "threads": entry("threads", 64),
    "seconds": entry("seconds", 1e-3),
    "metrics": entry("metrics", {"accuracy": 99.9}),
    "full_spec": entry("full_spec", {}),
    "plan": entry("plan", "0" * 12),
    "data": entry("data", {"x": "0" * 64}),
}


def forged(path):
    """Other bytes, with a card that describes them."""
    flip(0.9)(path)
    entry("outputs", {path.name: store.describe(path)})(path.with_name(store.CARD))


# ---- all of it -----------------------------------------------------------------------------------------------------


def mutations(plan, results):
    """(name, what does it): all changes."""
    nodes = {node.kind: node for node in reversed(plan.nodes.values())}
    for kind, node in nodes.items():
        for name, change in BYTES.items():
            yield f"{kind}'s artifact {name}", lambda c=change, n=node: c(results / n.artifact)
        yield f"{kind} forged", lambda n=node: forged(results / n.artifact)
        yield f"{kind}'s folder deleted", lambda n=node: shutil.rmtree(results / n.folder)
    model = nodes["transfer"]
    for name, change in (BYTES | MALFORMED).items():
        yield f"a node's card {name}", lambda c=change: c(results / model.card)
    for name, change in RESEALED.items():
        yield f"a card's {name} sealed anew", lambda c=change: c(results / model.card)
    product = results / "tables/davchev/table1.json"
    for name, change in (BYTES | MALFORMED).items():
        if name not in ("files of null", "files of texts", "data of a list", "outputs of nothing") and not any(
            word in name for word in ("kind", "id ", " id", "modules", "parents", "version of")
        ):
            yield f"a table's card {name}", lambda c=change: c(product)
    for ending in ("csv", "parquet", "md"):
        for name, change in BYTES.items():
            yield f"a table's {ending} {name}", lambda c=change, e=ending: c(product.with_suffix(f".{e}"))
    for name, change in BYTES.items():
        yield f"a figure {name}", lambda c=change: c(results / "figures/davchev/fig2.png")
    frozen = next((results / "plans").glob("*.json"))
    for name in (
        "flipped in the middle",
        "cut short",
        "emptied",
        "deleted",
        "a folder",
        "unreadable",
        "a dangling link",
    ):
        yield f"the frozen plan {name}", lambda n=name: BYTES[n](frozen)
    yield from others(plan, results, frozen)


def others(plan, results, frozen):
    """Changes of more than one file, and things that are foreign."""
    two = [node for node in plan.nodes.values() if node.kind == "evaluate"][:2]
    table = results / "tables/davchev/table1"

    def exchanged(name):
        one, other = (results / node.folder / name for node in two)
        between = one.with_name("between")
        one.rename(between), other.rename(one), between.rename(other)

    def whole_folders():
        one, other = (results / node.folder for node in two)
        one.rename(results / "x"), other.rename(one), (results / "x").rename(other)

    def whole_table():
        for ending in ("csv", "parquet", "md", "json"):
            table.with_suffix(f".{ending}").unlink()

    def edited_copy():
        copy_of = results / "tables/table1.csv"
        copy_of.write_text(table.with_suffix(".csv").read_text().replace("R_nat,", "R_bat,"))

    def foreign(name, content=b"x"):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_bytes(content)

    def linked_folder():
        folder = results / two[0].folder
        shutil.move(folder, results.parent / "elsewhere")
        folder.symlink_to(results.parent / "elsewhere")

    head = json.dumps({"__metadata__": {"run": two[0].id}}).encode()
    state = len(head).to_bytes(8, "little") + head
    yield "outcomes exchanged", lambda: exchanged("outcomes.parquet")
    yield "cards exchanged", lambda: exchanged("card.json")
    yield "folders exchanged", whole_folders
    yield "a whole table deleted", whole_table
    yield "an edited copy of the main study's table", edited_copy
    yield "a copy of nothing", lambda: foreign("tables/table99.csv")
    yield "a foreign file", lambda: foreign("notes.txt")
    yield "a foreign folder", lambda: foreign("old/notes.txt")
    yield "a foreign file beside an artifact", lambda: foreign(f"{two[0].folder}/model.bin")
    yield "a foreign node", lambda: foreign("pretrain/mine.0123456789ab/model.safetensors")
    yield "a foreign folder of a kind", lambda: foreign("pretrain/mine/model.safetensors")
    yield "a foreign file of a kind", lambda: foreign("pretrain/model.safetensors")
    yield "a foreign table", lambda: foreign("tables/davchev/table9.csv")
    yield "a foreign file beside tables", lambda: foreign("tables/davchev/notes.txt")
    yield "a foreign study", lambda: foreign("tables/other/notes.txt")
    yield "a foreign plan", lambda: foreign("plans/0123456789ab.json", frozen.read_bytes())
    yield "a foreign file beside plans", lambda: foreign("plans/notes.txt")
    yield "a foreign checkpoint", lambda: foreign("checkpoints/mine.0123456789ab.safetensors")
    yield "a checkpoint of another node", lambda: foreign(f"checkpoints/{two[1].id}.safetensors", state)
    yield "a checkpoint of a node that is made", lambda: foreign(f"checkpoints/{two[0].id}.safetensors", state)
    yield "a damaged checkpoint", lambda: foreign(f"checkpoints/{two[0].id}.json", b"[" * 100_000)
    yield "a folder that is a link", linked_folder
    yield "a folder that is unreadable", lambda: (results / two[0].folder).chmod(0)


def said(results):
    """Every sentence of the audit, and its root."""
    stored = Stored(results)
    found = list(findings(stored, BYTES_LEVELS))
    return [f"root {manifest.root_of(manifest.entries(stored))}"] + [finding.what for finding in found]


def marks(place):
    """What shows that a file, folder or link is as it was."""
    found = {}
    for path in place.rglob("*"):
        about = path.lstat()
        found[path.relative_to(place)] = (about.st_mode, about.st_size, not path.is_dir() and about.st_mtime_ns)
    return found


def restore(place, pristine, before):
    """Make a folder what it was; only what changed is copied."""
    for name, mark in marks(place).items():
        path = place / name
        if before.get(name) != mark and os.path.lexists(path):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in sorted(before.keys() - marks(place).keys()):
        if not os.path.lexists(place / name):
            copy(pristine / name, place / name)


def test_every_mutation_is_named(finished, monkeypatch):
    monkeypatch.chdir(finished.root)
    results, pristine = Path("results"), finished.root.parent / "mutations"
    copy(finished.results, pristine)
    plan, whole, before_it = finished.plan(), said(results), marks(results)
    outcome = Counter()
    for name, mutate in mutations(plan, results):
        mutate()
        outcome["mutations"] += 1
        before = os.geteuid()
        if before == 0 and ("unreadable" in name):
            os.seteuid(65534)
        try:
            new = [line for line in said(results) if line not in whole]
        except Exception as error:
            new = []
            outcome["tracebacks"] += 1
            print("a traceback:", name, repr(error))
        finally:
            os.seteuid(before)
        named = [line for line in new if not line.startswith("root ")]
        outcome["named"] += bool(named)
        if not named:
            print("not named:", name, "(but the root is another)" if new else "")
        restore(results, pristine, before_it)
        for left in finished.root.glob("elsewhere*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    print(dict(outcome))
    assert outcome["mutations"] >= AT_LEAST and outcome["named"] == outcome["mutations"]


# ---- with a manifest -----------------------------------------------------------------------------------------------


def line(old, new):
    """Change the first line of a manifest that has the word; its root stays."""

    def change(path):
        head, *lines = path.read_text().splitlines()
        first = next(n for n, each in enumerate(lines) if old in each)
        lines[first : first + 1] = new(lines[first])
        path.write_text("\n".join([head, *lines]) + "\n")

    return change


def rooted(change):
    """A change of a manifest's lines, under their own root: only the results show it."""

    def both(path):
        change(path)
        _, *lines = path.read_text().splitlines()
        files = {name: sha256 for sha256, _, name in (each.partition("  ") for each in lines)}
        path.write_text(
            "\n".join([manifest.HEAD + manifest.root_of(files), *sorted(lines, key=lambda x: x[66:])]) + "\n"
        )

    return both


LINES = {
    "without a line": lambda old: [],
    "with a line twice": lambda old: [old, old],
    "with another sha256": lambda old: ["0" * 64 + old[64:]],
    "with another path": lambda old: [old.replace(".", "_", 1)],
    "with a line more": lambda old: [old, "0" * 64 + "  zzz"],
}


def of_manifests(path):
    """(name, what does it): changes of a manifest itself."""
    for name, change in BYTES.items():
        if name not in ("a link", "flipped at the end", "cut short"):  # the end of the last line is a name's
            yield f"the manifest {name}", lambda c=change: c(path)
    yield "the manifest cut short", lambda: path.write_text(path.read_text()[:-80])
    yield "the manifest without a head", lambda: path.write_text(path.read_text().partition("\n")[2])
    yield "the manifest with another root", lambda: path.write_text(path.read_text().replace("root ", "root 0", 1))
    for kind in ("prepare", "transfer", "evaluate", "tables", "plans"):
        for name, new in LINES.items():
            yield f"the manifest {name} of {kind}", lambda k=kind, n=new: line(f"  {k}/", n)(path)
            if "twice" not in name:
                yield (
                    f"the manifest {name} of {kind}, and a fitting root",
                    lambda k=kind, n=new: rooted(line(f"  {k}/", n))(path),
                )


def of_forgers(plan, results):
    """(name, what does it): changes that cards and seals do not show, or show as a note."""
    nodes = {node.kind: node for node in reversed(plan.nodes.values())}
    for kind, node in nodes.items():
        yield f"{kind} forged", lambda n=node: forged(results / n.artifact)
        for name, change in RESEALED.items():
            yield f"{kind}'s {name} sealed anew", lambda c=change, n=node: c(results / n.card)
    last = [node for node in plan.nodes.values() if node.kind == "evaluate"][-1]
    yield "a node deleted", lambda: shutil.rmtree(results / last.folder)
    for product in plan.products.values():
        card = results / f"{product.stem}.json"
        yield f"{product.stem}'s git sealed anew", lambda c=card: RESEALED["git"](c)

        def edited(card=card):
            path = next(path for path in Stored(results).files(card) if path != card)
            flip(0.9)(path)
            outputs = json.loads(card.read_text(encoding="utf-8"))["outputs"]
            entry("outputs", outputs | {path.name: store.describe(path)})(card)

        def taken(card=card):
            for path in Stored(results).files(card):
                path.unlink()

        yield f"{product.stem} edited, its card sealed anew", edited
        yield f"{product.stem} deleted", taken


def test_a_manifest_names_every_mutation(finished, monkeypatch):
    monkeypatch.chdir(finished.root)
    results, kept = Path("results"), Path("kept.sha256")
    pristine = finished.root.parent / "forgeries"
    copy(finished.results, pristine)
    manifest.record(Stored(results), kept)
    content, before_it, outcome = kept.read_bytes(), marks(results), Counter()
    assert list(manifest.against(Stored(results), str(kept))) == []
    for name, mutate in (*of_manifests(kept), *of_forgers(finished.plan(), results)):
        mutate()
        outcome["mutations"] += 1
        before = os.geteuid()
        if before == 0 and "unreadable" in name:
            os.seteuid(65534)
        try:
            named = any(finding.what for finding in manifest.against(Stored(results), str(kept)))
        except UserError:
            named = True
        finally:
            os.seteuid(before)
        outcome["named"] += named
        if not named:
            print("not named:", name)
        restore(results, pristine, before_it)
        if kept.is_dir() or kept.is_symlink():
            kept.rmdir() if kept.is_dir() else kept.unlink()
        kept.unlink(missing_ok=True)
        kept.write_bytes(content)
    print(dict(outcome))
    assert outcome["mutations"] >= 100 and outcome["named"] == outcome["mutations"]
