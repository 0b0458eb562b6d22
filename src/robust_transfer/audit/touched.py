"""What a finding touches: the cells of tables and figures that are computed from what it is about, at any depth."""

from collections import Counter
from functools import cached_property
from typing import Any, NamedTuple

from robust_transfer.audit.stored import Finding, Stored
from robust_transfer.plan.graph import nodes_of

FEW = 4


class Cell(NamedTuple):
    """A cell of a table or figure, or a figure's pictures, which have no row. behind: all nodes that it comes from."""

    product: str
    row: str | None
    column: str | None
    metric: str | None
    behind: frozenset[str]


class Touched:
    """The cells of all tables and figures that are made, by their cards, or by the plan where a card is damaged."""

    def __init__(self, stored: Stored):
        self.stored = stored

    @cached_property
    def cells(self) -> list[Cell]:
        """All of them."""
        found = []
        for stem, spec in self.stored.shown().items():
            for cell in spec["cells"]:
                row, column, metric = (cell.get(key) for key in ("row", "column", "metric"))
                found.append(Cell(stem, row, column, metric, self.stored.behind(nodes_of(cell))))
            if tensors := spec.get("tensors"):
                ids = [i for array in tensors.values() for i in array["nodes"]]
                found.append(Cell(stem, None, None, None, self.stored.behind(ids)))
        return found

    @cached_property
    def sizes(self) -> Counter[str]:
        """How many cells each product has."""
        return Counter(cell.product for cell in self.cells)

    def by(self, finding: Finding) -> list[Cell]:
        """The cells that a finding touches."""
        about = set(finding.about)
        return [cell for cell in self.cells if cell.product in about or not cell.behind.isdisjoint(about)]

    def in_words(self, finding: Finding) -> str | None:
        """`12 of 150 cells of tables/davchev/table1, ...`, the most first; None where it touches none."""
        counts = Counter(cell.product for cell in self.by(finding)).most_common()
        if not counts:
            return None
        shown = ", ".join(f"{count} of {self.sizes[product]} cells of {product}" for product, count in counts[:FEW])
        rest = len(counts) - FEW
        return shown + (f", and cells of {rest} more tables and figures" if rest > 0 else "")

    def as_json(self, finding: Finding) -> list[dict[str, Any]]:
        """The same as plain values."""
        return [
            {"product": cell.product, "row": cell.row, "column": cell.column, "metric": cell.metric}
            for cell in self.by(finding)
        ]
