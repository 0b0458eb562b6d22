"""The data sets that a plan needs: what is there of them, where the rest is to be had and on what terms; and fetching
and checking them.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robust_transfer import pace
from robust_transfer.data.catalogue import CATALOGUE, TORCHVISION
from robust_transfer.data.sources import SOURCES, Source
from robust_transfer.data.vision import VISION
from robust_transfer.errors import UserError
from robust_transfer.plan.graph import Plan
from robust_transfer.specs.datasets import Dataset
from robust_transfer.stages.node import KINDS

THERE, PARTIAL, MISSING = "there", "partial", "missing"
YOURS = Source("", "yours")
FETCHING = ".fetching"
"""Below data_root, where a set is fetched that torchvision unpacks to another place than the one it is read from."""


@dataclass
class Needed:
    """A set that is needed, in whatever parts. name: that of its source. studies: for which. called: by what names the
    config has it.

    state: one of THERE, PARTIAL, MISSING; found: what is wrong or was checked, a sentence each.
    """

    name: str
    spec: Dataset
    studies: list[str]
    source: Source
    remedy: str
    state: str = THERE
    found: list[str] = field(default_factory=list)
    called: list[str] = field(default_factory=list)

    @property
    def can_be_fetched(self) -> bool:
        return bool(self.source.fetch) or self.spec.fetches


def needed(plan: Plan) -> list[Needed]:
    """The sets behind the nodes of a plan, each once, as they are below its data_root."""
    data_root = Path(plan.origin["data_root"])
    of_studies = {study: {*ids} for study, (ids, _) in plan.of_studies().items()}
    found: dict[tuple[str, ...], Needed] = {}
    for node in plan.nodes.values():
        if node.kind != "prepare":
            continue
        spec = KINDS["prepare"].parse(node.spec)
        name = _name(spec)
        known = VISION[name].source if name in VISION else name
        each = found.setdefault(
            (name, *spec.fetch_key),
            Needed(name, spec, [], _source(spec, known, data_root), spec.remedy.format(root=data_root)),
        )
        each.studies += [study for study, ids in of_studies.items() if node.id in ids and study not in each.studies]
    for called, values in plan.origin.get("config", {}).get("datasets", {}).items():
        spec = KINDS["prepare"].parse(values)
        if (key := (_name(spec), *spec.fetch_key)) in found:
            found[key].called.append(called)
    for each in found.values():
        look(each, data_root)
    return list(found.values())


def _name(spec: Dataset) -> str:
    """Sets in a package have no name of their own, and a user's own are called by their file."""
    return getattr(spec, "name", None) or (spec.base if spec.files else spec.reader)


def _source(spec: Dataset, name: str, data_root: Path) -> Source:
    try:
        return spec.source(data_root) or SOURCES.get(name, YOURS)
    except UserError:  # of a damaged description, of which `look` says more
        return YOURS


def look(each: Needed, data_root: Path) -> None:
    """Find out the state of a set, by names and headers alone."""
    absent = each.spec.absent_from(data_root)
    all_absent = len(absent) == len(each.spec.files_in(data_root))
    each.state = (MISSING if all_absent else PARTIAL) if absent else THERE
    each.found = [f"{', '.join(absent)} missing; {each.remedy}"] if absent else []
    if not absent:
        try:
            each.spec.peek(data_root)
        except UserError as error:
            each.state, each.found = PARTIAL, [str(error)]


def chosen(sets: Iterable[Needed], names: Iterable[str], states: Iterable[str]) -> list[Needed]:
    """Those of these names, their own or the config's, or of these states where no name is given.

    Raises:
        UserError: where a name is none of a set that is needed.
    """
    sets = list(sets)
    if unknown := sorted({*names}.difference(*({each.name, *each.called} for each in sets))):
        there = ", ".join(dict.fromkeys(each.name for each in sets))
        raise UserError(f"the config needs no set {', '.join(unknown)}; it needs {there}")
    return [each for each in sets if {each.name, *each.called} & {*names} or (not names and each.state in states)]


# ---- fetching ------------------------------------------------------------------------------------------------------


def fetch(each: Needed, data_root: Path) -> None:
    """Have its reader, or torchvision, download a set to where it is read from; nothing happens to what is there.

    Raises:
        UserError: where neither can, or a download fails: what it says, and where to get the set.
    """
    if each.spec.fetches:
        each.spec.fetch(data_root)
        look(each, data_root)
        each.source = _source(each.spec, each.name, data_root)
        return
    source = each.source
    if not source.fetch:
        get = f"get it from {source.page} and " if source.page else "it is yours: "
        raise UserError(f"{each.name} cannot be fetched; {get}{each.remedy}")
    import torchvision

    place = data_root / CATALOGUE[each.name].folder if source.lies else None
    if place and place.is_dir() and any(place.iterdir()):
        raise UserError(f"{each.name} is not fetched over what is there; move {place} away, and fetch it again")
    into = data_root / FETCHING / each.name if source.lies else data_root
    into.mkdir(parents=True, exist_ok=True)
    try:
        for words in source.fetch:
            getattr(torchvision.datasets, source.by)(into, **words, download=True)
        if place:
            os.replace(into / source.lies, place)
            shutil.rmtree(into)
            with suppress(OSError):  # what another set's fetching left there
                into.parent.rmdir()
    except Exception as error:  # of the network, the archive or the disk; torchvision raises whatever it meets
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{each.name} could not be fetched ({first}); get it from {source.page}: {each.remedy}"
        ) from None
    look(each, data_root)


def fetch_each(sets: Iterable[Needed], data_root: Path) -> list[Needed]:
    """Fetch sets one after another; what is wrong with one stands in what is found of it, and the next is fetched.

    Returns:
        Those that could not be fetched.
    """
    failed = []
    for each in sets:
        try:
            fetch(each, data_root)
        except UserError as error:
            look(each, data_root)
            each.found = [str(error)]
            failed.append(each)
    return failed


# ---- checking ------------------------------------------------------------------------------------------------------


def check(each: Needed, data_root: Path) -> None:
    """Read a set that is there as its reader does, which counts it, and hold archives that were kept against their MD5.

    What is wrong makes it partial.
    """
    wrong = []
    try:
        raw = each.spec.read(data_root)
        counts = ", ".join(f"{len(labels):,} {split}" for split, (_, labels) in raw.splits.items())
        each.found = [f"{counts} images, as it should have" if _is_listed(each.name) else f"{counts} images"]
    except UserError as error:
        wrong.append(str(error))
    for archive, md5 in _kept(each, data_root):
        if _md5(archive) == md5:
            each.found.append(f"{archive} has the MD5 that is published")
        else:
            wrong.append(f"{archive} has not the MD5 that is published, {md5}; download it again")
    if wrong:
        each.state, each.found = PARTIAL, wrong


def _is_listed(name: str) -> bool:
    """Whether a reader holds what it reads against counts or digests."""
    return name in TORCHVISION or name in CATALOGUE or name in VISION


def _kept(each: Needed, data_root: Path) -> Iterator[tuple[Path, str]]:
    """Archives of a set that lie in data_root or beside what was unpacked, and their published MD5."""
    folders = {data_root, *((data_root / name).parent for name in each.spec.files_in(data_root))}
    folders |= {folder.parent for folder in folders if folder != data_root}
    for name, md5 in each.source.archives.items():
        yield from ((path, md5) for path in sorted(folder / name for folder in folders) if path.is_file())


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


# ---- in words and as values ----------------------------------------------------------------------------------------


def lines(sets: Iterable[Needed]) -> Iterator[str]:
    """What there is to say of each set."""
    for each in sets:
        source = each.source
        size = "" if source.megabytes is None else f", about {pace.in_bytes(1e6 * source.megabytes)}"
        page = f"; {source.page}" if source.page else ""
        studies = ", ".join(each.studies)
        yield f"{each.state.ljust(len(PARTIAL))}  {each.name} ({studies}){size}; terms: {source.terms}{page}"
        yield from (f"         {sentence}" for sentence in each.found)
        if each.state != THERE and each.can_be_fetched:
            yield f"         `robust-transfer data --fetch {each.name}` fetches it, on these terms"


def as_values(sets: Iterable[Needed]) -> list[dict[str, Any]]:
    """The same as plain JSON values."""
    return [
        {
            "name": each.name,
            "called": each.called,
            "state": each.state,
            "found": each.found,
            "studies": each.studies,
            "files": each.spec.files,
            "remedy": each.remedy,
            "page": each.source.page,
            "terms": each.source.terms,
            "megabytes": each.source.megabytes,
            "can_be_fetched": each.can_be_fetched,
        }
        for each in sets
    ]
