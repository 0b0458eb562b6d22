"""Would it come out again? Nodes made once more in a scratch folder, from the stored parents, and compared bit by bit.

Nothing is written into results/. A node whose bits differ is judged by its numbers: each that has a 95 % interval must
lie within that of the stored one. What has no such number of its own (examples, or a model without validation images)
is judged by evaluations that were made from it, made once more with what came out now. And the stage is looked for from
which on things depart: the first, parents before children, that does not come out again from the parents as stored.
"""

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer import store
from robust_transfer.errors import UserError
from robust_transfer.plan import freeze
from robust_transfer.plan.graph import Plan
from robust_transfer.stages.node import KINDS, Node

if TYPE_CHECKING:
    from robust_transfer.estimates import Estimate

OUTCOMES = ("same", "within", "beyond", "failed")
"""same: every bit. within: other bits, and every number that was compared lies in its stored interval. beyond: one does
not, or nothing with an interval could be compared. failed: it could not be made."""
LET_GO = "how is not known: what is stored was let go, and only its digest remains"
FEW = 3
"""Evaluations by which something is judged that has no number of its own."""


@dataclass
class Rebuilt:
    """A node made once more.

    difference: where bits differ, in words. numbers: those compared, {name: {then, low, high, now}}. changed: what is
    not as it was when the stored one was made, {name: [then, now]}. departs: the node from which on things depart.
    """

    id: str
    kind: str
    outcome: str = "same"
    seconds: float = 0.0
    why: str = ""
    difference: str = ""
    numbers: dict[str, dict[str, float]] = field(default_factory=dict)
    changed: dict[str, list[Any]] = field(default_factory=dict)
    departs: str = ""


class Rebuilder:
    """Makes nodes of a folder of results once more.

    threads: by default as many as each node was made with, of which the bits may depend. data_root: where data sets are
    read from; by default as the newest plan says.
    """

    def __init__(self, results: Path, threads: int | None = None, data_root: Path | None = None):
        self.results, self.threads, self.given = results, threads, data_root
        self.known: dict[str, Rebuilt] = {}

    @cached_property
    def cards(self) -> dict[str, dict[str, Any]]:
        """The cards of all nodes that are made, by id."""
        paths = (path for kind in KINDS for path in sorted((self.results / kind).glob(f"*/{store.CARD}")))
        cards = ((path, store.glance(path, path.parent.name)) for path in paths)
        return {path.parent.name: card for path, card in cards if card and not store.identity(card, path.parent)}

    @cached_property
    def plan(self) -> Plan:
        """All that is made, as one plan."""
        plan = Plan({"data_root": str(self.given or self._data_root())})
        for i, card in self.cards.items():
            plan.nodes[i] = Node.recorded(i, card["kind"], card["spec"], card["parents"])
        return plan

    def _data_root(self) -> str:
        try:
            return freeze.thaw(freeze.newest(self.results)).origin["data_root"]
        except UserError:
            return "data"

    def sample(self, count: int, kinds: list[str], seed: int) -> list[str]:
        """Ids of so many nodes, drawn evenly from those of some kinds (none: of all) that today's code can make."""
        kept = [i for i, card in self.cards.items() if not kinds or card["kind"] in kinds]
        kept = [i for i in kept if not self._impossible(i)]
        return random.Random(seed).sample(kept, min(count, len(kept)))

    def seconds(self, ids: list[str]) -> float:
        """How long nodes took to be made, by their cards."""
        return sum(self.cards[i].get("seconds", 0.0) for i in ids)

    def rebuilt(self, node_id: str) -> Rebuilt:
        """Make a node once more, if that was not done before, and compare."""
        if node_id not in self.known:
            self.known[node_id] = self._rebuilt(node_id)
        return self.known[node_id]

    def look_up(self, found: Rebuilt) -> None:
        """Note the first of all that a node goes back to, itself included, whose bits do not come out again, parents
        before children; and before it what could not be made.
        """
        unknown = []
        for node in self.plan.ancestry([found.id]):
            outcome = self.rebuilt(node.id).outcome
            if outcome in ("within", "beyond"):
                found.departs = node.id
                break
            unknown += [node.id] * (outcome == "failed")
        if unknown:
            found.why = f"whether {', '.join(unknown)} would come out again is not known"

    # ---- one node --------------------------------------------------------------------------------------------------

    def _impossible(self, node_id: str) -> str:
        """Why a node cannot be made once more by the code of today; empty where it can."""
        card = self.cards.get(node_id)
        if card is None:
            return "it is not there"
        if card["version"] != (today := KINDS[card["kind"]].version):
            return f"it is of version {card['version']} of its kind, and today's code makes version {today}"
        behind, to_see = set(), list(card["parents"].values())
        while to_see:
            if (i := to_see.pop()) not in self.cards:
                return f"{i} is gone, from which it was made"
            to_see += [] if i in behind else self.cards[i]["parents"].values()
            behind.add(i)
        needed = [self.plan.nodes[i] for i in (node_id, *card["parents"].values())]
        gone = [node for node in needed if not (self.results / node.artifact).is_file() and not self._released(node)]
        return f"the artifact of {gone[0].id} is gone" if gone else ""

    def _released(self, node: Node) -> bool:
        """Whether its examples were let go, see gc: they are made anew where they are read."""
        return store.is_released(self.results / node.artifact)

    def _rebuilt(self, node_id: str) -> Rebuilt:
        folder = self.results / self.plan.nodes[node_id].folder if node_id in self.plan.nodes else self.results
        found = Rebuilt(node_id, folder.parent.name)
        if why := self._impossible(node_id):
            found.outcome, found.why = "failed", why
            return found
        try:
            card = store.read_card(folder / store.CARD)
            if not self._released(self.plan.nodes[node_id]):
                store.checked_artifact(folder, KINDS[found.kind].artifact)
            with self._scratch() as scratch:
                now = self._made(self.plan.nodes[node_id], scratch)
                found.seconds = now["seconds"]
                if now["outputs"] == card["outputs"]:
                    return found
                self._compare(found, card, now, scratch)
        except UserError as error:
            found.outcome, found.why = "failed", str(error)
        return found

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        scratch = Path(tempfile.mkdtemp(prefix="robust-transfer-rebuild-"))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)  # links in it are taken away, and not what they lead to

    def _made(self, node: Node, scratch: Path) -> dict[str, Any]:
        """Make a node in a scratch folder, in which all it goes back to are links to what is stored; its new card.

        Raises:
            UserError: besides what its stage raises, where examples that it reads were let go and come out otherwise.
        """
        from robust_transfer.run import nodes

        for other in self.plan.ancestry(node.parents.values()):
            link = scratch / other.folder
            link.parent.mkdir(parents=True, exist_ok=True)
            if link.exists():
                continue
            if other.id in node.parents.values() and self._released(other):
                if self._made(other, scratch)["outputs"] != self.cards[other.id]["outputs"]:
                    raise UserError(f"{other.id}, which was let go and is read by it, does not come out the same")
                continue
            link.symlink_to((self.results / other.folder).resolve(), target_is_directory=True)
        card = self.cards[node.id]
        device = "cpu" if card.get("device", "cpu") == "cpu" else "auto"
        precision = card.get("computed", {}).get("precision", "float32")
        self.plan.origin["machine"] = {"device": device, "checkpoint_seconds": 1e9, "precision": precision}
        nodes.make(node, self.plan, card.get("plan", ""), scratch, self.threads or card.get("threads", 1))
        return store.read_card(scratch / node.card)

    # ---- what is not the same --------------------------------------------------------------------------------------

    def _compare(self, found: Rebuilt, then: dict[str, Any], now: dict[str, Any], scratch: Path) -> None:
        """Say what differs of a node whose bits do, and judge it by its numbers."""
        node = self.plan.nodes[found.id]
        stored = self.results / node.artifact
        found.difference = difference(stored, scratch / node.artifact) if stored.exists() else LET_GO
        before, after = environment(then), environment(now)
        found.changed = {k: [before.get(k), v] for k, v in after.items() if before.get(k) != v}
        if before["instructions"] is None:  # a card from before they were noted
            found.changed.pop("instructions", None)
        pairs = [("", node)]
        pairs += [(f" in {child.id}", child) for child in self._judges(node)]
        for where, each in pairs:
            card = now if each is node else self._made(each, scratch)
            old = self._estimates(each, self.results, self.cards[each.id])
            new = self._estimates(each, scratch, card)
            for name, (value, low, high, _) in old.items():
                if low <= high:  # it has an interval
                    found.numbers[name + where] = {"then": value, "low": low, "high": high, "now": new[name].value}
        judged = [each["low"] <= each["now"] <= each["high"] for each in found.numbers.values()]
        found.outcome = "within" if judged and all(judged) else "beyond"

    def _judges(self, node: Node) -> list[Node]:
        """A few evaluations that were made from a node, and from nothing else that goes back to it; the quickest."""
        if node.kind not in ("pretrain", "transfer", "bring", "choose", "craft"):
            return []
        children = (n for n in self.plan.nodes.values() if n.kind == "evaluate" and node.id in n.parents.values())
        fit = []
        for child in children:
            others = [i for i in child.parents.values() if i != node.id]
            if not self._impossible(child.id) and node not in self.plan.ancestry(others):
                fit.append(child)
        return sorted(fit, key=lambda child: self.cards[child.id].get("seconds", 0.0))[:FEW]

    def _estimates(self, node: Node, results: Path, card: dict[str, Any]) -> dict[str, "Estimate"]:
        """The numbers of a node that have an interval, by name."""
        from robust_transfer.estimates import proportion
        from robust_transfer.tables import metrics

        path = results / node.artifact
        if node.kind in ("pretrain", "transfer"):
            n = self.cards[node.parents["data"]]["metrics"].get("validation", 0)
            of = {name: card["metrics"][name] for name in ("clean", "adversarial") if name in card["metrics"]}
            return {f"{name} validation": proportion(round(v * n / 100), n) for name, v in of.items() if n}
        readers: dict[str, dict[str, Callable[[Path], Estimate]]] = {
            "evaluate": {"accuracy": metrics.accuracy},
            "worst": {"accuracy": metrics.accuracy},
            "certify": {"accuracy": metrics.smoothed_accuracy, "average certified radius": metrics.acr},
            "measure": {"feature distance": metrics.stage_distance},
            "displacement": {"distance": metrics.mean_distance},
            "choose": {"accuracy of the choice": metrics.choice_accuracy},
        }
        return {name: read(path) for name, read in readers.get(node.kind, {}).items()}


def environment(card: dict[str, Any]) -> dict[str, Any]:
    """What of a card can change bits: machine, device, threads, versions and code, by name."""
    machine = {name: card.get("machine", {}).get(name) for name in ("system", "processor", "cores", "instructions")}
    own = {name: card.get(name) for name in ("device", "threads", "code")}
    usual = ("float32", False, 1)
    own["computed"] = {name: how for name, how in card.get("computed", {}).items() if how not in usual}
    return machine | own | card.get("versions", {})


def difference(one: Path, other: Path) -> str:
    """How two artifacts of a kind differ, in words."""
    if one.suffix == ".parquet":
        return _of_tables(one, other)
    if one.suffix == ".safetensors":
        return _of_tensors(one, other)
    return f"then {one.read_text(encoding='utf-8').strip()}, now {other.read_text(encoding='utf-8').strip()}"


def _of_tensors(one: Path, other: Path) -> str:
    import numpy as np
    from safetensors import safe_open

    with safe_open(one, "np") as then, safe_open(other, "np") as now:
        names = {*then.keys()}
        if names != {*now.keys()}:
            return "it has other tensors"
        largest, where, differing, count = 0.0, "", 0, 0
        for name in sorted(names):
            a, b = then.get_tensor(name), now.get_tensor(name)
            if a.shape != b.shape or a.dtype != b.dtype:
                return f"{name} has another form"
            apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
            differing, count = differing + int((apart != 0).sum()), count + apart.size
            if apart.size and apart.max() > largest:
                largest, where = float(apart.max()), name
    if not where:
        return "the tensors are the same, what is said of them is not"
    return f"{differing:,} of {count:,} numbers differ, the most by {largest:.3g} in {where}"


def _of_tables(one: Path, other: Path) -> str:
    import pandas as pd

    then, now = pd.read_parquet(one), pd.read_parquet(other)
    if list(then.columns) != list(now.columns) or len(then) != len(now):
        return "it has other rows or columns"
    apart = (then - now).abs()
    words = [f"{name} in {int((apart[name] > 0).sum())} (at most by {apart[name].max():.3g})" for name in apart.columns]
    words = [word for word, name in zip(words, apart.columns, strict=True) if (apart[name] > 0).any()]
    return f"of {len(then)} rows differ {', '.join(words)}" if words else "the rows are the same, the file is not"
