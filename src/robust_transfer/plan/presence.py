"""Whether the data sets are there and can be taken, asked before the first job runs, for all sets at once.

Only a look at names, headers and labels (Dataset.peek): the readers and data/examine.py check the content.
"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter

from robust_transfer.errors import UserError
from robust_transfer.plan.graph import Node
from robust_transfer.plan.specs import AnyDataset


def must_be_present(nodes: Iterable[Node], data_root: Path) -> None:
    """Look for what these `prepare` nodes will read.

    Raises:
        UserError: that lists everything that is missing or cannot be taken, and what to do.
    """
    missing, wrong = [], []
    for node in nodes:
        spec = TypeAdapter(AnyDataset).validate_python(node.spec)
        if absent := [str(data_root / name) for name in spec.files_in(data_root) if not (data_root / name).exists()]:
            missing.append(f"  - {spec.base}: {', '.join(absent)} missing; {spec.remedy.format(root=data_root)}")
            continue
        try:
            spec.peek(data_root)
        except UserError as error:
            wrong.append(f"  - {spec.base}: {error}")
    parts = (
        ("data sets are missing (data_root in config.yaml names their folder):", missing),
        ("data sets cannot be used as they are:", wrong),
    )
    if missing or wrong:
        raise UserError("\n".join("\n".join([head, *dict.fromkeys(lines)]) for head, lines in parts if lines))
