"""Counting what an image costs a network, on torch's meta device: shapes go through, no numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from robust_transfer.attacks.ready import frozen
from robust_transfer.cost.size import Size
from robust_transfer.models.classifier import Classifier, holds_weights


class _Operations(TorchDispatchMode):
    """Counts tensor operations, and the values that they write; views write none."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.written, self.largest = 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            written = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            self.count += 1
            self.written += sum(written)
            self.largest = max(self.largest, *written, 0)
        return result


def count(network: Classifier, shape: tuple[int, int, int], batch: int) -> Size:
    """The size of a network for images of a shape (C, H, W); it is moved to the meta device. batch: passes together."""
    network.to("meta").eval()
    images = torch.empty(batch, *shape, device="meta")
    operations = _Operations()
    with FlopCounterMode(display=False) as flops, operations, torch.no_grad(), _noted(network, flops) as noted:
        network(images)
    total = flops.get_total_flops()
    network.train()
    kept = _kept_by(network, images)
    network.eval()
    with frozen(network):
        kept_frozen = _kept_by(network, images.requires_grad_())
    tensors = [*network.parameters(), *network.buffers()]
    return Size(
        flops=total / batch,
        operations=operations.count,
        moved=operations.written / batch,
        kept=kept / batch,
        kept_frozen=kept_frozen / batch,
        largest=4 * operations.largest / batch,
        parameters=sum(tensor.numel() for tensor in tensors),
        width=network.width,
        before=[[round(noted.get(block, 0) / max(total, 1), 4) for block in stage] for stage in _blocks(network)],
        has_tail=any(holds_weights(module) for module in network.tail.modules()),
    )


def _blocks(network: Classifier) -> list[list[nn.Module]]:
    """The blocks of each stage; a stage of timm's is no module, but goes over its blocks."""
    return [list(stage.children() if isinstance(stage, nn.Module) else stage) for stage in network.stages]


@contextmanager
def _noted(network: Classifier, flops: FlopCounterMode) -> Iterator[dict[nn.Module, int]]:
    """While the network runs: for each block, the floating-point operations before it."""
    noted: dict[nn.Module, int] = {}

    def begin(block: nn.Module, _: Any) -> None:
        noted[block] = flops.get_total_flops()

    hooks = [block.register_forward_pre_hook(begin) for stage in _blocks(network) for block in stage]
    try:
        yield noted
    finally:
        for hook in hooks:
            hook.remove()


def _kept_by(network: nn.Module, images: Tensor) -> int:
    """Bytes that a pass forward keeps for the way back, the network's own tensors left aside."""
    own = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, Tensor] = {}  # by their storage, and alive, so that no other takes its place

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in own:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
