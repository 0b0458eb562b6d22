"""What a node asks of a machine: operations, disk, memory; from its spec, its data set's form and its networks."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from robust_transfer.cost.networks import key_of, size_of
from robust_transfer.cost.size import CLASSES, Size
from robust_transfer.errors import UserError
from robust_transfer.plan.edges import spec_of
from robust_transfer.plan.graph import INHERITED, Plan
from robust_transfer.recipes import Recipe
from robust_transfer.specs.datasets import Dataset, Facts
from robust_transfer.specs.networks import Network
from robust_transfer.specs.passes import Ahead, Passes, Unknown
from robust_transfer.stages.node import KINDS, Node

PROGRAM_MB, CUDA_MB = 700, 3000
"""Memory of a process before it has read anything, on a CPU and beside a GPU."""


class Load(NamedTuple):
    """What is to be computed: floating-point operations, tensor operations, and values that these write."""

    flops: float = 0.0
    operations: float = 0.0
    moved: float = 0.0


@dataclass(frozen=True)
class Memory:
    """Megabytes (10^6 bytes) that a node takes: held, of images, wherever it computes; and on the device that computes,
    of weights, and of a batch with what is kept of it.
    """

    held: float
    device: float

    def of_host(self, gpu: bool) -> float:
        """Of the machine, with the program itself."""
        return self.held + (CUDA_MB if gpu else PROGRAM_MB + self.device)


class Needs:
    """What the nodes of a plan need. data_root: below which the data sets lie whose form only their files say.

    Its methods raise Unknown where it depends on data that are not there, or on a network that nobody could build.
    """

    def __init__(self, plan: Plan, data_root: Path):
        self.plan, self.data_root = plan, data_root
        self._facts: dict[str, Facts] = {}
        self._networks: dict[str, Network | None] = {}
        self._aheads: dict[str, Ahead] = {}

    # ---- what is asked ---------------------------------------------------------------------------------------------

    def load(self, node: Node) -> Load:
        """What is to be computed."""
        total = Load()
        for passes in self._passes(node):
            size, trained = self._size(node, passes.role), self._trained(node, passes.role)
            # The way back costs as much as the way forward, once for the tensors and once for the weights.
            each = passes.forward + passes.back + 2 * trained * passes.learn
            images, batches = each * passes.images, each * passes.batches
            more = Load(images * size.flops, batches * size.operations, images * size.moved)
            total = Load(*map(sum, zip(total, more, strict=True)))
        return total

    def disk(self, node: Node) -> float:
        """Bytes of its artifact: a model's weights, examples, features; others are small, and prepared data aside."""
        if KINDS[node.kind].artifact == "model.safetensors":
            return 4 * self._parameters(node)
        return KINDS[node.kind].writes(self._ahead(node))

    def memory(self, node: Node) -> Memory:
        """The most that it takes at once."""
        ahead, device = self._ahead(node), 0.0
        for passes in self._passes(node):
            size = self._size(node, passes.role)
            tensors = 4 if passes.learn else 1  # weights, their gradients, momentum, and the copy that is attacked
            together = min(passes.batch, max(1, passes.images))
            each = size.passing(passes.back > 0, passes.learn > 0)
            device = max(device, 4 * size.parameters * tensors + together * each)
        kind = KINDS[node.kind]
        held = kind.holds(ahead)
        if "data" in node.parents and not kind.streams:
            held += self._prepared(ahead.facts)
        return Memory(held / 1e6, device / 1e6)

    def keys(self, node: Node) -> set[str]:
        """The entries of the table of networks that it takes; see networks.key_of."""
        try:
            roles = {passes.role for passes in self._passes(node)}
        except Unknown:
            return set()
        found = ((self._network(node.parents[role] if role else node.id), self._facts_of(node)) for role in roles)
        return {key_of(network, facts) for network, facts in found if network and facts.height}

    # ---- from what ---------------------------------------------------------------------------------------------

    def _passes(self, node: Node) -> list[Passes]:
        return list(KINDS[node.kind].passes(self._ahead(node)))

    def _ahead(self, node: Node) -> Ahead:
        if node.id not in self._aheads:
            specs = {role: spec_of(self.plan.nodes[i]) for role, i in node.parents.items()}
            width = self._size(node, "model").width if node.kind == "features" else 0
            self._aheads[node.id] = Ahead(spec_of(node), self._facts_of(node), specs, width)
        return self._aheads[node.id]

    def _facts_of(self, node: Node) -> Facts:
        """What is known of the data set that a node's images are of."""
        data = node.parents.get("data")
        if data is None:
            return Facts()
        if data not in self._facts:
            dataset: Dataset = spec_of(self.plan.nodes[data])
            try:
                self._facts[data] = dataset.peek(self.data_root)
            except UserError:  # what is wrong with it is said when it is to be prepared
                self._facts[data] = Facts()
        return self._facts[data]

    def _prepared(self, facts: Facts) -> float:
        """Bytes of a whole prepared data set, which nodes have before them that do not read it part by part."""
        ahead = Ahead(None, facts, {})
        splits = facts.images or facts.totals
        return sum(ahead.count(split) * facts.kept.get(split, ahead.values) for split in splits)

    def _network(self, node_id: str) -> Network | None:
        """As Plan.network_of, each node looked at once."""
        if node_id not in self._networks:
            node = self.plan.nodes[node_id]
            inherited = next((node.parents[role] for role in INHERITED if role in node.parents), None)
            own = getattr(spec_of(node), "network", None)
            self._networks[node_id] = own or (self._network(inherited) if inherited else None)
        return self._networks[node_id]

    def _size(self, node: Node, role: str) -> Size:
        network, facts = self._network(node.parents[role] if role else node.id), self._facts_of(node)
        assert network, "what images pass through is a network"
        if not (facts.channels and facts.height and facts.width):
            raise Unknown("how large its images are")
        try:
            return size_of(network, facts)
        except (ValueError, RuntimeError, UserError) as error:
            raise Unknown(f"what {network.slug} is ({str(error).splitlines()[0]})") from None

    def _trained(self, node: Node, role: str) -> float:
        """The share of a network through which gradients for its weights go back."""
        spec = spec_of(node)
        return self._size(node, role).trained(spec.trainable) if isinstance(spec, Recipe) and not role else 0.0

    def _parameters(self, node: Node) -> int:
        """Values in a model's file. One that is brought alone has images of any size."""
        network, facts = self._network(node.id), self._facts_of(node)
        assert network, "a model is a network"
        if not facts.channels:
            facts = Facts(network.channels or 3, 224, 224, 1000)
        size = size_of(network, facts)
        return size.parameters + size.width * ((facts.classes or CLASSES) - CLASSES)
