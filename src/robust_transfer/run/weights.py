"""Whether the files of brought weights hold what the config says of them: asked before the first job, for all at once.

To look into a file takes torch, which nothing else needs before the jobs: a process of its own does it.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from robust_transfer.errors import UserError
from robust_transfer.plan import edges
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.stages.bring import Bring

COMMAND = [sys.executable, "-P", str(Path(__file__).with_name("__main__.py")), "weights"]


def must_fit(plan: Plan, nodes: Iterable[Node], data_root: Path) -> None:
    """Look into the files of these `bring` nodes that are there; what is to be fetched is left to the nodes.

    Raises:
        UserError: that lists all that do not fit their network, or the data that they are brought for.
    """
    there = [_question(plan, node, data_root) for node in nodes if (data_root / "weights" / _path(node)).is_file()]
    if not there:
        return
    asked = json.dumps({"data_root": str(data_root), "nodes": there})
    done = subprocess.run(COMMAND, input=asked, capture_output=True, text=True, check=False)
    if done.returncode == 0 and (mistakes := json.loads(done.stdout)):
        raise UserError("\n".join(["weights do not fit:", *(f"  - {line}" for line in mistakes)]))


def main() -> int:
    """Answer, in that process, the question on standard input: a JSON list of sentences."""
    asked = json.load(sys.stdin)
    print(json.dumps([line for node in asked["nodes"] if (line := _mistake(node, Path(asked["data_root"])))]))
    return 0


def _path(node: Node) -> str:
    return edges.spec_of(node).path or "."


def _question(plan: Plan, node: Node, data_root: Path) -> dict[str, Any]:
    """What the other process needs to know of a node. data: name, channels and classes of each set it must fit."""
    sets = [plan.nodes[node.parents[role]] for role in ("data", "own") if role in node.parents]
    facts = [(each.slug, edges.peeked(edges.spec_of(each), data_root)) for each in sets]
    return {
        "slug": node.slug,
        "spec": node.spec,
        "data": [(slug, known.channels, known.classes) for slug, known in facts],
    }


def _mistake(node: dict[str, Any], data_root: Path) -> str | None:
    """What is wrong with the weights of a node, if anything is."""
    from robust_transfer.stages import bring

    try:
        _, found, _, origin = bring.opened(Bring.model_validate(node["spec"]), data_root)
        for slug, channels, classes in node["data"]:
            bring.must_be_for(origin, found, slug, channels, classes)
    except UserError as error:
        return f"{node['slug']}: {error}"
    return None
