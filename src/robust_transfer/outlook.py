"""What a run has to make anew, and what it can pass over, by the cards alone."""

import os
from pathlib import Path

from robust_transfer import chain, store
from robust_transfer.card_index import CardIndex
from robust_transfer.plan.graph import ENDINGS, Plan
from robust_transfer.stages.node import Node

NEEDED = "what is to be made reads it, and it was deleted or let go"


def look(plan: Plan, results: Path) -> tuple[dict[str, str], set[str]]:
    """What is out of date, and nodes whose card is there without the artifact, if something that has to be made reads
    it (Snakemake looks at cards alone); and the nodes that are there, with all that they were made from, where nothing
    speaks against any of it.

    Returns:
        as chain.out_of_date; and ids.
    """
    cards = CardIndex(results)
    found = chain.out_of_date(plan, results, cards)
    cards.save()
    nodes = plan.ancestry(plan.nodes)
    there = {node.id for node in nodes if is_there(node, results)}
    read: set[str] = set()
    for stem, product in plan.products.items():
        files = (f"{results}/{stem}.{ending}" for ending in (*ENDINGS[product.kind], "json"))
        if f"{stem}.json" in found or not all(map(os.path.exists, files)):
            read |= set(product.nodes)
    for node in reversed(nodes):  # what reads a node comes before it
        if node.id in read and (results / node.card).exists() and not (results / node.artifact).exists():
            found.setdefault(node.card, NEEDED)
        if node.card in found or node.id not in there:
            read |= set(node.parents.values())
    settled: set[str] = set()
    for node in nodes:
        if node.id in there and node.card not in found and settled.issuperset(node.parents.values()):
            settled.add(node.id)
    return found, settled


def is_there(node: Node, results: Path) -> bool:
    """Whether a node's card is there, and its artifact unless that was let go on purpose; neither is looked into."""
    if not os.path.exists(f"{results}/{node.card}"):
        return False
    return os.path.exists(f"{results}/{node.artifact}") or store.is_released(results / node.artifact)
