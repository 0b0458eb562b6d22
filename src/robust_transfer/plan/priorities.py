"""Which job goes first where several could: a study's before the next one's, and of a study the longest way first.

This orders what is ready and holds nothing back: where a study has too little to do, jobs of the next fill the cores.
"""

from collections.abc import Callable, Sequence

from robust_transfer.plan.graph import Plan

SECONDS = {"pretrain": 15.0, "transfer": 3.0, "craft": 3.0, "certify": 2.0, "prepare": 0.5}
"""What a node of a kind takes at scale mnist on a CPU core. Only their ratios count, and these are alike elsewhere."""
OTHERS = 0.2
"""Seconds of all other kinds."""
OF_A_STUDY = 10_000
"""Between the priorities of two studies; the way to a study's end is counted in tenths of a second below that."""


def seconds_of(kind: str) -> float:
    """What a node of a kind takes, where nothing better is known."""
    return SECONDS.get(kind, OTHERS)


def priorities(plan: Plan) -> dict[str, int]:
    """The priority of each node and product that a study has, by id or stem; what several have goes with the first."""
    found: dict[str, int] = {}
    studies = plan.of_studies()
    for place, (ids, stems) in zip(range(len(studies), 0, -1), studies.values(), strict=True):
        nodes = ways_to_the_end(plan, ids, lambda i: seconds_of(plan.nodes[i].kind))
        ways = dict.fromkeys(stems, OTHERS) | nodes
        for name, seconds in ways.items():
            found.setdefault(name, place * OF_A_STUDY + min(round(10 * seconds), OF_A_STUDY - 1))
    return found


def ways_to_the_end(plan: Plan, ids: Sequence[str], seconds: Callable[[str], float]) -> dict[str, float]:
    """Of each of some nodes, parents first, the seconds of the longest way from its start to the end of the last.

    seconds: of a node by its id.
    """
    ways = dict.fromkeys(ids, 0.0)
    for i in reversed(ids):  # what reads a node comes before it
        ways[i] += seconds(i)
        for parent in plan.nodes[i].parents.values():
            if parent in ways:
                ways[parent] = max(ways[parent], ways[i])
    return ways
