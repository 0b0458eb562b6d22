"""what a checkpoint file holds, and the network that it would be, as YAML for the config

FILE is a path, or a name below data_root/weights. The exit status is 0 where every tensor finds its place in a network
and none is broken (not finite, or a variance below zero), and else 3. Nothing in a file is run: of files of torch.save
only tensors and plain containers are read.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robust_transfer.models.recognise import Recognised

LISTED = 4
"""Names of each kind that are printed; --json has all."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and what is known of it."""
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--family", action="append", default=[], help="a family to hold it against; all unless given")
    parser.add_argument("--name", help="the network's name in torchvision, or with --family timm in timm")
    parser.add_argument("--entry", help="which of several state dicts in the file, like model_ema")
    parser.add_argument("--record", action="store_true", help="write its sha256 into weights.lock, which plans go by")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")


def run(options: argparse.Namespace) -> int:
    """Print what was found, and record the file if that is wanted; 3 where no network has just these tensors."""
    from pydantic import ValidationError

    from robust_transfer.errors import UserError
    from robust_transfer.models import recognise, zoo
    from robust_transfer.models.families import FAMILIES
    from robust_transfer.plan import weights

    path, name = weights.located(options.file)
    families = [family.tag() for family in FAMILIES]
    if unknown := [name for name in options.family if name not in families]:
        raise UserError(f"--family {unknown[0]}: there is no such family; there are {', '.join(families)}")
    known = None if options.entry or options.family or options.name else zoo.name_of(name)
    try:
        found = _of_the_zoo(path, known) if known else _of_any(path, options)
    except ValidationError:  # of a network's name; what a file holds raises none
        raise UserError(
            f"--name {options.name}: no network has that name; docs/networks.md has torchvision's, and for timm's say "
            "--family timm too"
        ) from None
    values = recognise.as_values(found, path, weights.sha256_of(path)) | {"robustbench": known}
    if options.json:
        print(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(values, found, name)))
    if options.record:
        weights.record(name, values["sha256"])
    return 0 if found.fits and not values["broken"] else 3


def _of_the_zoo(path: Path, name: str) -> "Recognised":
    """A file under the name of one of RobustBench's, held against the network that it must be."""
    from robust_transfer.models import checkpoints, zoo
    from robust_transfer.models.recognise import recognise

    entry = zoo.entry(name)
    checkpoint = checkpoints.read(path, entry.entry, zoo.USUAL)
    return recognise(checkpoint, known=entry.as_in(checkpoint))


def _of_any(path: Path, options: argparse.Namespace) -> "Recognised":
    from robust_transfer.models import checkpoints
    from robust_transfer.models.recognise import recognise

    return recognise(checkpoints.read(path, options.entry), options.family, options.name)


def _lines(values: dict[str, Any], found: "Recognised", name: str) -> Iterator[str]:
    """All that was found, and the config's lines for it."""
    from robust_transfer.models.fits import in_yaml
    from robust_transfer.specs.networks import Normalise

    checkpoint = found.checkpoint
    yield f"{values['file']}, sha256 {values['sha256']}"
    where = f" under {checkpoint.entry}" if checkpoint.entry else ""
    converted = f", {checkpoint.converted} made float32" if checkpoint.converted else ""
    yield f"  state dict  {values['tensors']} tensors{where}{converted}"
    if checkpoint.stripped:
        yield f"  stripped    {', '.join(f'{prefix}.' for prefix in checkpoint.stripped)} from all names"
    yield from _named("left out", values["left_out"])
    usual = found.network.normalise if found.network and "normalise" not in found.questions else None
    default = f"; {in_yaml(usual)} unless the config says otherwise" if isinstance(usual, Normalise) else ""
    yield f"  normaliser  {in_yaml(checkpoint.normalise) if checkpoint.normalise else f'none in the file{default}'}"
    if found.network is None:
        yield "  network     of no family that is known here: of timm's say --family timm --name NAME, or add a family"
        yield from _named("tensors", [*checkpoint.state])
        return
    classes = "features without a head" if values["classes"] is None else f"{values['classes']} classes"
    closest = "" if found.fits else "the closest is "
    channels = f"{values['channels']} channel{'s' * (values['channels'] > 1)}"
    yield f"  network     {closest}{found.network.slug}, {channels}, {classes}"
    if values["names"]:
        yield f"  names       of {values['names']}"
    yield f"  matched     {len(values['matched'])} of {len(values['matched']) + len(values['missing'])} tensors"
    for kind in ("missing", "unused", "misshapen", "idle", "broken"):
        yield from _named(kind, values[kind])
    yield ""
    yield from _snippet(values, name)


def _named(heading: str, names: list[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        yield f"  {heading:<11} {len(names)}: {', '.join(names[:LISTED])}{more}"


def _snippet(values: dict[str, Any], name: str) -> Iterator[str]:
    """The config's lines for it."""
    key = re.sub(r"[^A-Za-z0-9]+", "-", Path(name).name.partition(".")[0]).strip("-") or "brought"
    fields = json.dumps(values["network"], ensure_ascii=False).replace('"', "")
    yield "networks:"
    yield f"  {key}: {fields}"
    for field, words in values["questions"].items():
        yield f"    # {field}: no tensor tells it; {words}"
    yield "custom:"
    yield "  sources:"
    file = name if re.fullmatch(r"[\w./-]+", name) else json.dumps(name, ensure_ascii=False)
    entry = f", entry: {values['entry']}" if len(values["entries"]) > 1 else ""
    origin = f"robustbench: {values['robustbench']}" if values["robustbench"] else f"file: {file}{entry}"
    yield f"    {key}: {{network: {key}, {origin}}}"
