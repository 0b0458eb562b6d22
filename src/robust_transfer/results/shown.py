"""What is shown: the tables and figures that are made or planned, their cells, and the numbers in them."""

from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from robust_transfer import store
from robust_transfer.errors import UserError
from robust_transfer.plan.graph import ENDINGS, PRODUCTS, Plan, Product
from robust_transfer.plan.mistakes import did_you_mean

NAMED = 40
"""Names of rows or columns that a message lists at most."""
IMAGES = "images"
"""The metric of what a figure shows of images, which has no number."""
ENDED = ("json", *(ending for endings in ENDINGS.values() for ending in endings))
"""Endings of products' files."""


class Shown:
    """The tables and figures in a folder of results. plan: what is planned besides, if anything is."""

    def __init__(self, results: Path, plan: Plan | None):
        self.results, self.plan = results, plan
        self.rows = cache(self._rows)

    @cached_property
    def products(self) -> dict[str, Product]:
        """All tables and figures that are made or planned, by their path below results/."""
        found = {p.stem: p for p in self.plan.products.values() if p.kind != "claim"} if self.plan else {}
        for kind in ("table", "figure"):
            for path in sorted(self.results.glob(f"{kind}s/*/*.json")):
                product = self._made(kind, path)
                if product:
                    found[product.stem] = product
        return found

    def _made(self, kind: str, path: Path) -> Product | None:
        """A product as its card says that it was made."""
        card = store.glance(path)
        spec = card.get("spec") if card else None
        if not isinstance(spec, dict) or not isinstance(spec.get("cells"), list):
            return None
        return Product(kind, path.parent.name, path.stem, spec)

    def product(self, name: str) -> Product:
        """A table or figure by `davchev/table1`, its path, or its name alone where it is the main study's.

        Raises:
            UserError: where there is none.
        """
        stem = Path(name)
        stem = stem.with_suffix("") if stem.suffix[1:] in ENDED else stem
        below = [i for i, part in enumerate(stem.parts) if part in (f"{kind}s" for kind in PRODUCTS)]
        parts = stem.parts[below[-1] + 1 :] if below else stem.parts
        main = self.plan.origin["main_study"] if self.plan else ""
        study, *rest = parts if len(parts) > 1 else (main, *parts)
        for kind in ("table", "figure"):
            if found := self.products.get(f"{kind}s/{study}/{'/'.join(rest)}"):
                return found
        known = [product.key for product in self.products.values()]
        if not known:
            raise UserError(f"nothing is made or planned in {self.results}; run `snakemake -n` first, which plans it")
        raise UserError(
            f"there is no table or figure {name}{did_you_mean('/'.join(parts), known)}; there are {_listed(known)}"
        )

    def place(
        self, name: str, row: str | None, column: str | None, metric: str | None = None
    ) -> tuple[Product, list[dict[str, Any]]]:
        """A place of a product: one or more cells, of each metric one. Images in a figure are named by a row alone.

        Raises:
            UserError: where there is no such product, row, column or metric; it names those that there are.
        """
        product = self.product(name)
        cells = list(cells_of(product))
        for key, value in (("row", row), ("column", column), ("metric", metric)):
            known = list(dict.fromkeys(str(cell[key]) for cell in cells))
            if value is None and (key == "metric" or known == [""]):
                continue
            if value not in known:
                where = product.key + "".join(f", {k} {v!r}" for k, v in (("row", row),) if key == "column" and v)
                wrong = f"{where}: which {key}" if value is None else f"{where}: there is no {key} {value!r}"
                raise UserError(f"{wrong}{did_you_mean(value, known)}; there are {_listed(known)}")
            cells = [cell for cell in cells if str(cell[key]) == value]
        return product, cells

    def _rows(self, stem: str) -> dict[tuple[str, str, str], dict[str, Any]]:
        """The rows of a table's .parquet, by row, column and metric; none where it cannot be read."""
        import pyarrow.parquet

        try:
            # Not by read_table, which imports pandas.
            rows = pyarrow.parquet.ParquetFile(self.results / f"{stem}.parquet").read().to_pylist()
            return {place_of(row): row for row in rows}
        except (OSError, LookupError, pyarrow.ArrowException):
            return {}


def cells_of(product: Product) -> list[dict[str, Any]]:
    """The cells of a product, and of a figure of images what it shows of each kind, in a row of its name."""
    tensors = product.spec.get("tensors", {}).items()
    images = [
        {"row": name, "column": "", "metric": IMAGES, "nodes": {str(i): node for i, node in enumerate(each["nodes"])}}
        for name, each in tensors
    ]
    return [*product.spec["cells"], *images]


def place_of(cell: Mapping[str, Any]) -> tuple[str, str, str]:
    """Row, column and metric of a cell, or of a row of a table's .parquet."""
    return cell["row"], cell["column"], cell["metric"]


def _listed(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
