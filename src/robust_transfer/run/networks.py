"""Whether brought weights hold what the config says of them, and whether networks whose size their library alone knows
can do what is wanted of them: asked before the first job, for all at once.

To look into a file, or to build a network, takes torch, which nothing else needs before the jobs: a process of its own
does it.
"""

import json
import math
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from robust_transfer.errors import UserError
from robust_transfer.plan import edges
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.stages.bring import Bring

if TYPE_CHECKING:
    from robust_transfer.plan.specs import Network

COMMAND = [sys.executable, "-P", str(Path(__file__).with_name("__main__.py")), "networks"]


def must_fit(plan: Plan, nodes: Iterable[Node], data_root: Path) -> None:
    """Look into the files of those of these nodes that bring weights and have them there (what is to be fetched is left
    to the nodes), and build the networks of those that train one whose size is not known. All is left to the nodes
    where the other process fails.

    Raises:
        UserError: that lists all that do not fit their network, its data, or what is to train of it.
    """
    by_id = {node.id: node for node in nodes}
    brought = [node for node in by_id.values() if node.kind == "bring"]
    asked = {
        "data_root": str(data_root),
        "brought": [_of_file(plan, node, data_root) for node in brought if _file(node, data_root).is_file()],
        "built": list(_of_unknown_size(plan, by_id, data_root)),
    }
    if not asked["brought"] and not asked["built"]:
        return
    done = subprocess.run(COMMAND, input=json.dumps(asked), capture_output=True, text=True, check=False)
    if done.returncode == 0 and (mistakes := json.loads(done.stdout)):
        raise UserError("\n".join(["networks do not fit:", *(f"  - {line}" for line in mistakes)]))


def main() -> int:
    """Answer, in that process, the question on standard input: a JSON list of sentences."""
    asked = json.load(sys.stdin)
    lines = [line for node in asked["brought"] if (line := _mistake(node, Path(asked["data_root"])))]
    print(json.dumps([*lines, *dict.fromkeys(line for node in asked["built"] for line in _mistakes(node))]))
    return 0


def _file(node: Node, data_root: Path) -> Path:
    return data_root / "weights" / (edges.spec_of(node).path or ".")


# ---- weights -------------------------------------------------------------------------------------------------------


def _of_file(plan: Plan, node: Node, data_root: Path) -> dict[str, Any]:
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


# ---- networks of a size that is not known --------------------------------------------------------------------------


def _of_unknown_size(plan: Plan, nodes: Mapping[str, Node], data_root: Path) -> Iterator[dict[str, Any]]:
    """What the other process needs to know of each training of such a network. shape: C, H, W of the images."""
    if all(node.kind not in ("pretrain", "transfer") for node in nodes.values()):
        return
    for node, recipe, model, facts in edges.trained(plan, data_root):
        shape = model.channels, facts.height, facts.width
        if node.id in nodes and math.isinf(model.network.units) and all(shape):
            network = model.network.model_dump(mode="json")
            spec = recipe.model_dump(mode="json")
            yield {"slug": node.slug, "recipe": spec, "network": network, "shape": shape, "classes": facts.classes or 1}


def _mistakes(node: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a network, or with what is to train of it; how else it may fail is left to its node."""
    from robust_transfer.plan.specs import Recipe
    from robust_transfer.studies.checks import too_deep

    try:
        sizes = _sizes(json.dumps(node["network"]), tuple(node["shape"]), node["classes"])
        recipe = Recipe.model_validate(node["recipe"])
        yield from (f"{node['slug']}: {sentence}" for _, sentence in too_deep(recipe, sizes))
    except UserError as error:
        yield f"{node['slug']}: {error}"
    except Exception:
        return


@cache
def _sizes(network: str, shape: tuple[int, int, int], classes: int) -> Any:
    """A network's stages, blocks and units, counted once it is built and has seen the shape of an image (C, H, W).

    Raises:
        UserError: where it cannot be built, or does not take such images.
    """
    import torch
    from pydantic import TypeAdapter

    from robust_transfer.models import files
    from robust_transfer.plan.specs import AnyNetwork

    spec: Network = TypeAdapter(AnyNetwork).validate_json(network)
    built = files.build(spec, shape[0], classes).to("meta").eval()
    built(torch.empty(1, *shape, device="meta"))
    counts = {"stages": len(built.stages), "blocks": len(built.blocks()), "units": len(built.units())}
    return SimpleNamespace(slug=spec.slug, family=spec.family, averages_residuals=spec.averages_residuals, **counts)
