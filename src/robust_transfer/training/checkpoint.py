"""A running training's state on disk, so that a killed run continues and ends with the same bits."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from robust_transfer.store import replacing
from robust_transfer.training.averaging import Average
from robust_transfer.training.objective import Objective
from robust_transfer.training.schedule import Plateau


@dataclass
class Progress:
    """Where a training is.

    iteration: the next one. best: the selection metric of the kept weights, None before the first.
    kept: the weights selected so far (empty while the last are to be kept). history: one entry an epoch.
    losses: those of the running epoch, one an iteration. plateau: whether the accuracy still grows.
    seconds: spent on the running epoch, without what was lost with a killed run. parts: that a batch passes in.
    """

    iteration: int = 0
    best: float | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    plateau: Plateau = field(default_factory=Plateau)
    seconds: float = 0.0
    parts: int = 1
    counted: float = field(default_factory=lambda: time.perf_counter())

    def count_seconds(self) -> float:
        """Add to `seconds` what has passed since this was asked last; returns them."""
        now = time.perf_counter()
        self.seconds += now - self.counted
        self.counted = now
        return self.seconds


def save(
    path: Path,
    run: str,
    progress: Progress,
    network: nn.Module,
    optimiser: Optimizer,
    objective: Objective | None = None,
    average: Average | None = None,
) -> None:
    """Write the whole state, bound to the id of the node that is being made."""
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"kept/{name}": tensor for name, tensor in progress.kept.items()}
    for name, parameter in network.named_parameters():
        momentum = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    if objective:
        tensors |= {f"objective/{name}": tensor for name, tensor in objective.state().items()}
    if average:
        tensors |= {f"average/{name}": tensor for name, tensor in average.state().items()}
    if progress.losses:
        tensors["losses"] = torch.stack(progress.losses)
    counters: dict[str, Any] = {"iteration": progress.iteration, "best": progress.best, "history": progress.history}
    counters |= {"plateau": asdict(progress.plateau), "seconds": progress.count_seconds(), "parts": progress.parts}
    with replacing(path) as temporary:
        # Tensors may share memory (kept weights right after a selection do not, but clones are cheap and always right).
        save_file(
            {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()},
            temporary,
            {"run": run, "about": json.dumps(counters)},
        )


def restore(
    path: Path,
    run: str,
    network: nn.Module,
    optimiser: Optimizer,
    objective: Objective | None = None,
    average: Average | None = None,
) -> Progress | None:
    """Put a saved state back; None where there is none, or where it is damaged or another node's."""
    try:
        with safe_open(path, "pt") as file:
            if file.metadata()["run"] != run:
                return None
            counters = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    device = next(network.parameters()).device

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v.to(device) for k, v in tensors.items() if k.startswith(prefix)}

    network.load_state_dict(part("network/"))
    if objective:
        objective.restore(part("objective/"))
    if average:
        average.restore(part("average/"))
    momentum = part("momentum/")
    for name, parameter in network.named_parameters():
        if name in momentum:
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum[name])
    losses = list(tensors["losses"].to(device)) if "losses" in tensors else []
    return Progress(
        counters["iteration"],
        counters["best"],
        part("kept/"),
        counters["history"],
        losses,
        Plateau(**counters["plateau"]),
        counters.get("seconds", 0.0),
        counters.get("parts", 1),
    )
