"""How long the nodes took, by kind, and the graph of kinds: what is made from what."""

from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import Any

from robust_transfer.plan.graph import Plan
from robust_transfer.results.trace import Traces

BOX, GAP, STEP, HIGH = 128, 28, 100, 44
"""Width of a box, between two, from row to row, and height of a box, in pixels."""
DATA, FIRST = "prepare", "pretrain"
"""Almost every kind reads it: edges from it are drawn to pretrain alone, or no other could be followed."""


def times(plan: Plan, traces: Traces) -> dict[str, Any]:
    """Seconds and memory of the plan's nodes, kind by kind, as their cards say."""
    cards: dict[str, list[Mapping[str, Any]]] = {}
    planned = Counter(node.kind for node in plan.nodes.values())
    for node in plan.nodes.values():
        if card := traces.card(node.id):
            cards.setdefault(node.kind, []).append(card)
    seconds = {kind: [_number(card, "seconds") for card in cards.get(kind, [])] for kind in planned}
    total = sum(map(sum, seconds.values()))
    devices = Counter(_device(card) for of_kind in cards.values() for card in of_kind)
    return {
        "made": sum(map(len, cards.values())),
        "planned": planned.total(),
        "total": duration(total),
        "devices": [f"{device} ({count} nodes)" for device, count in devices.most_common()],
        "kinds": [
            {
                "kind": kind,
                "made": len(seconds[kind]),
                "planned": planned[kind],
                "seconds": f"{sum(seconds[kind]):,.1f}",
                "share": round(100 * sum(seconds[kind]) / total) if total else 0,
                "median": f"{median(seconds[kind]):.2f}" if seconds[kind] else "",
                "longest": f"{max(seconds[kind]):.1f}" if seconds[kind] else "",
                "memory": f"{max(_number(c, 'peak_memory_mb') for c in cards[kind]):,.0f}" if kind in cards else "",
            }
            for kind in sorted(planned, key=lambda kind: -sum(seconds[kind]))
        ],
    }


def _number(card: Mapping[str, Any], key: str) -> float:
    value = card.get(key)
    return value if isinstance(value, int | float) else 0.0


def _device(card: Mapping[str, Any]) -> str:
    machine = card.get("machine") or {}
    return f"{card.get('device')}, {machine.get('processor')}"


def duration(seconds: float) -> str:
    """`1 h 02 min`, `3 min 20 s` or `4.2 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {rest:02} s"


def graph(plan: Plan) -> dict[str, Any]:
    """Boxes and edges of a drawing with a box a kind, in rows by how far from the data most of the kind's nodes are."""
    depths: dict[str, int] = {}
    for node in plan.ancestry(plan.nodes):
        depths[node.id] = 1 + max((depths[parent] for parent in node.parents.values()), default=-1)
    counts = Counter(node.kind for node in plan.nodes.values())
    edges = Counter((parent.kind, node.kind) for node in plan.nodes.values() for parent in plan.parents(node))
    edges = Counter({kinds: count for kinds, count in edges.items() if kinds[0] != DATA or kinds[1] == FIRST})
    by_kind = {kind: median(depths[i] for i, node in plan.nodes.items() if node.kind == kind) for kind in counts}
    levels = sorted(set(by_kind.values()))
    rows = [[kind for kind in counts if by_kind[kind] == level] for level in levels]
    width = max((len(row) for row in rows), default=1) * (BOX + GAP) + 2 * BOX
    boxes: dict[str, dict[str, Any]] = {}
    for y, row in enumerate(rows):
        left = (width - len(row) * (BOX + GAP) + GAP) / 2
        for x, kind in enumerate(row):
            place = {"x": left + x * (BOX + GAP), "y": 10 + y * STEP, "width": BOX, "height": HIGH}
            boxes[kind] = {**place, "kind": kind, "text": f"{counts[kind]} nodes"}
    return {
        "width": width,
        "height": len(rows) * STEP - STEP + HIGH + 50,
        "boxes": list(boxes.values()),
        "edges": [
            _edge(boxes[start], boxes[end], f"{start} to {end}: {count}", count)
            for (start, end), count in edges.items()
        ],
    }


def _edge(start: dict[str, Any], end: dict[str, Any], title: str, count: int) -> dict[str, Any]:
    """A curve from one box to another: down to the next row, around the boxes of rows between, or, dashed, back."""
    middle, foot = start["x"] + BOX / 2, start["y"] + HIGH
    goal, head = end["x"] + BOX / 2, end["y"]
    rows = round((end["y"] - start["y"]) / STEP)
    if rows > 0:
        side = (
            0 if rows == 1 else (BOX * 0.8 + 24 * rows) * (-1 if goal < middle or (goal == middle and rows % 2) else 1)
        )
        path = f"M{middle} {foot}C{middle + side} {foot + 34} {goal + side} {head - 34} {goal} {head}"
    elif rows == 0 and start is not end:
        low = foot + 30
        path = f"M{middle} {foot}C{middle} {low} {goal} {low} {goal} {foot}"
    else:
        right, back, far = start["x"] + BOX, end["x"] + BOX, BOX / 3 - 30 * rows
        path = f"M{right} {foot - 12}C{right + far} {foot - 12} {back + far} {head + 12} {back} {head + 12}"
    width = round(1 + min(4.0, count.bit_length() / 3), 1)
    return {"path": path, "width": width, "back": rows < 0 or start is end, "title": title}
