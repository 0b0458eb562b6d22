"""A forecast in words and as plain values."""

from collections.abc import Iterator
from typing import Any

from robust_transfer import pace
from robust_transfer.cost.forecast import Forecast, Total

FAR = 10
"""So many times the work of the largest node that is timed: rates may not hold there."""


def lines(forecast: Forecast, devices: int) -> Iterator[str]:
    """The forecast in words, a line each. devices: how many there are."""
    device = "GPU" if forecast.gpu else "CPU"
    if not forecast.ids:
        yield "nothing is to be made"
        return
    memory = ["memory", "GPU memory"] if forecast.gpu else ["memory"]
    head = ["to make", "nodes", f"{device}-hours", "disk", *memory]
    groups = [*forecast.studies.items(), None, *forecast.kinds.items(), None, ("all", forecast.total())]
    rows = [head, *([*_row(*group, forecast.gpu)] if group else [""] * len(head) for group in groups)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *numbers in rows:
        cells = (text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *cells]).rstrip()
    yield ""
    of_one = f"on one {device if forecast.gpu else 'process'} {pace.in_words(forecast.wall(1))}"
    several = f", on {devices} {pace.in_words(forecast.wall(devices))}" if devices > 1 else ""
    yield f"{of_one}{several}; at the earliest {pace.in_words(forecast.soonest)}, along the longest path:"
    for i in forecast.longest_path:
        cost = forecast.costs.get(i)
        if cost is None or cost.seconds >= 0.01 * forecast.soonest:
            yield f"  {pace.in_words(cost.seconds) if cost else '?':>8}  {forecast.plan.nodes[i].kind} {i}"
    yield from _remarks(forecast)


def _row(name: str, total: Total, gpu: bool) -> Iterator[str]:
    yield name
    yield f"{total.nodes:,}"
    yield hours(total.seconds)
    sizes = [total.disk, 1e6 * total.host_mb, *([1e6 * total.device_mb] if gpu else [])]
    yield from (pace.in_bytes(size) if size else "" for size in sizes)


def _remarks(forecast: Forecast) -> Iterator[str]:
    """What is to be known of the numbers."""
    of_cause: dict[str, list[str]] = {}
    for i, cause in forecast.unknown.items():
        of_cause.setdefault(cause, []).append(i)
    for cause, ids in of_cause.items():
        yield f"Without {len(ids)} nodes of which it is not known {cause}: {ids[0]}{' and others' * (len(ids) > 1)}."
    found = forecast.rates
    yield "Memory is that of the largest node. Trainings that may stop early are counted to their end."
    unknown = [kind for kind in forecast.kinds if found.is_assumed(kind)]
    if found.cards:
        yield f"Seconds are as {found.cards:,} cards of {found.device} say."
        most = max((cost.load.flops for cost in forecast.costs.values()), default=0.0)
        if most > FAR * found.most > 0:
            yield f"UNCERTAIN: the largest node is {most / found.most:,.0f} times as much work as any that was timed."
    elif unknown:
        rate, each = 1e-12 / found.assumed.flop, 1e6 * found.assumed.operation
        yield (
            f"UNCALIBRATED: no card here was made on such a device; {rate:g} teraflops are assumed (--teraflops), and "
            f"{each:g} microseconds for a tensor operation. Decoding of photographs is not counted."
        )


def hours(seconds: float) -> str:
    """`2,310`, `12`, `3.1`, `0.042`."""
    number = seconds / 3600
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def as_values(forecast: Forecast, devices: int) -> dict[str, Any]:
    """The forecast as plain JSON values; seconds, bytes, and megabytes of 10^6 bytes."""
    found = forecast.rates
    return {
        "device": found.device or ("GPU" if forecast.gpu else "CPU"),
        "calibrated_by": found.cards,
        "assumed_flops": 1 / found.assumed.flop,
        "all": vars(forecast.total()),
        "studies": {name: vars(total) for name, total in forecast.studies.items()},
        "kinds": {name: vars(total) for name, total in forecast.kinds.items()},
        "wall_seconds": {str(count): forecast.wall(count) for count in sorted({1, devices})},
        "longest_path": forecast.longest_path,
        "longest_path_seconds": forecast.soonest,
        "nodes": {
            i: {
                "seconds": cost.seconds,
                "flops": cost.load.flops,
                "bytes": cost.disk,
                "memory_mb": cost.memory.of_host(forecast.gpu),
                "device_mb": cost.memory.device,
            }
            for i, cost in forecast.costs.items()
        },
        "unknown": forecast.unknown,
    }
