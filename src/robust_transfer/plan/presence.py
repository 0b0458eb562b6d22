"""Whether the files of the data sets are there, asked before the first job runs, for all sets at once.

Only a look at names: the readers in data/sources.py and data/collections check the content.
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
        UserError: that lists everything missing, and what to put where.
    """
    lines = []
    for node in nodes:
        spec = TypeAdapter(AnyDataset).validate_python(node.spec)
        if absent := [str(data_root / name) for name in spec.files if not (data_root / name).exists()]:
            lines.append(f"  - {spec.base}: {', '.join(absent)} missing; {spec.remedy.format(root=data_root)}")
    if lines:
        listed = "\n".join(dict.fromkeys(lines))
        raise UserError(f"data sets are missing (data_root in config.yaml names their folder):\n{listed}")
