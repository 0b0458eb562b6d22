"""Whether data sets and brought weights are there and can be taken, asked before the first job, for all at once.

Only a look at names, headers and labels (Dataset.peek): the readers and data/examine.py check the content.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from pydantic import TypeAdapter

from robust_transfer.errors import UserError
from robust_transfer.models import zoo
from robust_transfer.plan.graph import Node
from robust_transfer.plan.specs import AnyDataset
from robust_transfer.stages.node import KINDS


def must_be_present(nodes: Iterable[Node], data_root: Path) -> None:
    """Look for what these `prepare` and `bring` nodes will read.

    Raises:
        UserError: that lists everything that is missing or cannot be taken, and what to do.
    """
    missing, wrong, files = [], [], []
    for node in nodes:
        if node.kind == "bring":
            files += _missing_weights(node, data_root / "weights")
            continue
        spec = TypeAdapter(AnyDataset).validate_python(node.spec)
        if absent := spec.absent_from(data_root):
            missing.append(f"  - {spec.base}: {', '.join(absent)} missing; {spec.remedy.format(root=data_root)}")
            continue
        try:
            spec.peek(data_root)
        except UserError as error:
            wrong.append(f"  - {spec.base}: {error}")
    parts = (
        ("data sets are missing (data_root in config.yaml names their folder):", missing),
        ("data sets cannot be used as they are:", wrong),
        ("weights are missing (robust-transfer inspect FILE says whether another file holds them):", files),
    )
    if missing or wrong or files:
        raise UserError("\n".join("\n".join([head, *dict.fromkeys(lines)]) for head, lines in parts if lines))


def _missing_weights(node: Node, folder: Path) -> list[str]:
    """The line on a file of weights that is missing, and nobody fetches. folder: data_root/weights."""
    spec = KINDS["bring"].parse(node.spec)
    if spec.robustbench:
        sentence = zoo.needs(folder / spec.path, spec.drive)
        return [f"  - {node.slug}: {sentence}"] if sentence else []
    if spec.file is None or (folder / spec.path).exists():
        return []
    lacking = f"  - {node.slug}: {folder / spec.path} missing"
    if not spec.hub:
        return [f"{lacking}; put the checkpoint there"]
    if find_spec("huggingface_hub"):
        return []
    fetches = "and huggingface_hub, which fetches it, is not installed: pip install huggingface_hub"
    return [f"{lacking}, {fetches}, or put {spec.file} of {spec.hub} there by hand"]
