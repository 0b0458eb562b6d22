"""RobustBench's model zoo: which of its networks are of our families, and where their files lie (robustbench.yaml).

RobustBench's package is not needed: its names are known here, and its files are read as every other checkpoint.
"""

import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from robust_transfer import store
from robust_transfer.errors import UserError
from robust_transfer.models.families import AnyNetwork
from robust_transfer.plan.reading import read_yaml
from robust_transfer.specs.networks import Network, Normalise

if TYPE_CHECKING:
    from robust_transfer.models.checkpoints import Checkpoint

USUAL = ("state_dict", "")
"""The state dict that RobustBench takes of a file with several: under this key, or at the top."""


@dataclass(frozen=True)
class Entry:
    """A network of the zoo.

    network: as the config has it. normalised: whether its class has a normaliser, or expects none; else its file has.
    drive: the id of its file on Google Drive. entry: the state dict in the file that is it; the usual one unless given.
    """

    network: Network
    normalised: bool
    drive: str
    entry: str | None = None

    def as_in(self, checkpoint: "Checkpoint") -> Network:
        """The network, with the normaliser of its file where its class has none."""
        held = None if self.normalised else checkpoint.normalise
        return self.network.with_(normalise=held) if held else self.network


@cache
def _zoo() -> dict[str, Any]:
    return read_yaml(Path(__file__).with_name("robustbench.yaml"))


@cache
def entries() -> dict[str, Entry]:
    """All that can be brought, by names like cifar10/Linf/Carmon2019Unlabeled."""
    known, parse = _zoo()["networks"], TypeAdapter(AnyNetwork).validate_python
    networks = {key: (parse(values), "normalise" in values) for key, values in known.items()}
    return {
        f"{group}/{name}": Entry(*networks[key], drive, *of_it)
        for group, names in _zoo()["zoo"].items()
        for name, (key, drive, *of_it) in names.items()
    }


def entry(name: str) -> Entry:
    """A network of the zoo.

    Raises:
        ValueError: that says why it can't be brought, and which of its data set and threat model can be.
    """
    if name in entries():
        return entries()[name]
    group = name.rpartition("/")[0]
    able = [each.rpartition("/")[2] for each in entries() if each.startswith(f"{group}/")]
    why = next((why for why, names in _zoo()["others"].items() if name in names), None)
    if why:
        raise ValueError(f"{name} is {why}, and of no family here; of {group} can be brought: {', '.join(able)}")
    known = [*entries(), *(each for names in _zoo()["others"].values() for each in names)]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    those = f"of {group} can be brought: {', '.join(able)}" if able else f"write one of {', '.join(_zoo()['zoo'])}/NAME"
    raise ValueError(f"RobustBench's model zoo has no {name}{hint}; {those}")


def name_of(file: str) -> str | None:
    """Of which network a file is, by its name below data_root/weights; None where it is no name of the zoo's."""
    name = file.removeprefix("robustbench/").removesuffix(".pt")
    return name if file == f"robustbench/{name}.pt" and name in entries() else None


def differs(name: str, network: Network) -> str | None:
    """What is wrong where the config has another network than the zoo's class of this name, and the remedy."""
    zoo = entry(name)
    expected, given = zoo.network.canonical(), network.canonical()
    if {**expected, "normalise": None} == {**given, "normalise": None} and (not zoo.normalised or _same(zoo, network)):
        return None
    values = zoo.network.model_dump(mode="json", exclude_unset=True)
    values = {"family": values.pop("family"), **{key: values[key] for key in sorted(values, key="normalise".__eq__)}}
    return f"{name} is another network than {network.slug} in the config; describe it as {_in_yaml(values)}"


def _same(zoo: Entry, network: Network) -> bool:
    """Whether both are normalised alike, and the network says so: what it is by default is refused with a file that
    holds no normaliser.
    """
    ours, theirs = network.normalise, zoo.network.normalise
    if not isinstance(ours, Normalise) or not isinstance(theirs, Normalise):
        return ours == theirs
    return ours != Normalise() and theirs.agrees(ours)


def _in_yaml(value: Any) -> str:
    """Plain values on one line, as YAML has them."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_in_yaml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_in_yaml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def needs(file: Path, drive: str) -> str | None:
    """What is wrong where a network's file can't be there when it is wanted, and the remedy. drive: see Entry."""
    from importlib.util import find_spec

    if file.exists() or find_spec("gdown"):
        return None
    return (
        f"{file} missing, and gdown, which fetches it, is not installed: pip install gdown, or {_by_hand(file, drive)}"
    )


def fetch(name: str, file: Path, drive: str) -> None:
    """Fetch a network's file from Google Drive, where RobustBench keeps it. drive: see Entry.

    Raises:
        UserError: where gdown is missing, or Drive gives no whole checkpoint.
    """
    if sentence := needs(file, drive):
        raise UserError(f"robustbench {name}: {sentence}")
    import gdown

    from robust_transfer.models.checkpoints import is_whole

    try:
        with store.replacing(file) as part:
            gdown.download(id=drive, output=str(part), quiet=True)
            if not is_whole(part):
                raise OSError("Google Drive gave something else than a whole checkpoint")
    except Exception as error:  # gdown raises its own errors, and those of requests
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"robustbench {name} can't be fetched ({first}); {_by_hand(file, drive)}") from None


def _by_hand(file: Path, drive: str) -> str:
    return f"put https://drive.google.com/file/d/{drive} at {file} by hand"
