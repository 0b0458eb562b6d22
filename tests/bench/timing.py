"""Timing two or more programs for the same work in turn, and what is said of it."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

OURS = "ours"
FEWEST, MOST = 3, 30
"""Rounds, each of which has every side once."""


@dataclass(frozen=True)
class Sides:
    """What does the same work: OURS, and by their names the others, each to be called again and again.

    result: of what a side gives, a number by which it shows that all do the same work.
    """

    calls: Mapping[str, Callable[[], Any]]
    result: Callable[[Any], float]


@dataclass(frozen=True)
class Case:
    """A thing to measure. name: what is done. size: on how much of what. make: what does it, in time."""

    name: str
    size: str
    make: Callable[[], Sides]


def measure(case: Case, seconds: float, device: torch.device, fewest: int = FEWEST) -> Iterator[dict[str, Any]]:
    """A row for each side beside ours: case, size, peer, theirs and ours (seconds, medians), ratio (the median of the
    rounds' theirs / ours) with its quartiles, rounds, and both sides' results at their first call.

    seconds: after which no round begins, once there were the fewest (2 or more). The first call of each side warms it
    up and is not counted. Rounds begin with another side each time.
    """
    sides = case.make()
    names = list(sides.calls)
    results = {name: sides.result(_timed(sides.calls[name], device, 0)[1]) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    began = time.perf_counter()
    for number in range(MOST):
        if number >= fewest and time.perf_counter() - began > seconds:
            break
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(_timed(sides.calls[name], device, number + 1)[0])
    for peer in names:
        if peer != OURS:
            ratios = [theirs / ours for theirs, ours in zip(times[peer], times[OURS], strict=True)]
            low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive")
            yield {
                "case": case.name,
                "size": case.size,
                "peer": peer,
                "theirs": statistics.median(times[peer]),
                "ours": statistics.median(times[OURS]),
                "ratio": ratio,
                "quartiles": [low, high],
                "rounds": len(ratios),
                "results": [results[peer], results[OURS]],
            }


def _timed(call: Callable[[], Any], device: torch.device, seed: int) -> tuple[float, Any]:
    """How long a call took, in seconds, to the end of what it left the device to do; and what it gave."""
    torch.manual_seed(seed)
    _wait(device)
    began = time.perf_counter()
    given = call()
    _wait(device)
    return time.perf_counter() - began, given


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
