"""The numbers that claims are about: as printed, or as measured, over again for each of many resamples.

Measured numbers are resampled together: models that saw the same images are given the same draw of them, and where
there are several seeds, all cells the same draw of those. So what two numbers share cancels in their difference.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robust_transfer.estimates import Estimate, Z
from robust_transfer.plan.graph import replicates
from robust_transfer.plan.published import is_printed
from robust_transfer.tables.metrics import METRICS, metric
from robust_transfer.tables.outcomes import IMPROVEMENT, Images, before_and_after, by_set, per_image

RESAMPLES = 1000


class Missing(LookupError):
    """A cell that is not there."""


class Place(NamedTuple):
    """Where a number stands; a table has one metric in a place, a figure may have several."""

    table: str
    row: str
    column: str
    metric: str


@dataclass(frozen=True)
class Value:
    """A number: as it is, and in each resample (just as it is where nothing is resampled: numbers x 1).

    images: those of a plain share of images in per cent of one model, for which exact tests are there.
    """

    numbers: np.ndarray
    images: Images | None = None

    @property
    def is_exact(self) -> bool:
        """Whether it is no estimate."""
        return len(self.numbers) == 1


class Cells:
    """Numbers by their places. ours: places that are none of the paper's, over which no variable ranges.

    asked: the places of the numbers that were asked for.
    """

    def __init__(self, found: Iterable[tuple[Place, Callable[[], Value]]], ours: Iterable[Place] = ()):
        self._numbers: dict[tuple[str, str, str], dict[str, Callable[[], Value]]] = {}
        for place, number in found:
            self._numbers.setdefault(place[:3], {}).setdefault(place.metric, cache(number))
        hidden = set(ours)
        self.asked: set[Place] = set()
        self.places = [
            Place(*there, name)
            for there, numbers in self._numbers.items()
            for name in numbers
            if Place(*there, name) not in hidden
        ]

    def __getitem__(self, place: Place) -> Value:
        """The number in a place, whose metric may be left open where there is one alone.

        Raises:
            Missing: where there is none.
        """
        numbers = self._numbers.get(place[:3], {})
        chosen = [name for name in numbers if place.metric in ("", name)]
        if len(chosen) != 1:
            raise Missing(f"{len(chosen)} numbers in {place}")
        self.asked.add(Place(*place[:3], chosen[0]))
        return numbers[chosen[0]]()


def printed(tables: Mapping[str, Mapping[tuple[str, str], float]]) -> Cells:
    """A paper's numbers. tables: name -> (row, column) -> number."""
    return Cells(
        (Place(table, row, column, ""), partial(Value, np.array([number])))
        for table, numbers in tables.items()
        for (row, column), number in numbers.items()
    )


def measured(cells: Iterable[dict[str, Any]], artifact_of: Callable[[str], Path], resamples: int) -> Cells:
    """What was measured. cells: of tables and figures, each with the name of its `table`. artifact_of: see tidy."""
    drawn = Resamples(resamples)

    def value(cell: dict[str, Any]) -> Value:
        found = [
            drawn.value(cell["metric"], {role: artifact_of(node) for role, node in nodes.items()})
            for nodes in replicates(cell)
        ]
        return found[0] if len(found) == 1 else Value(drawn.over_seeds([each.numbers for each in found]))

    shown = {
        Place(cell["table"], cell["row"], cell["column"], cell["metric"]): cell
        for cell in cells
        if not is_printed(cell["metric"])
    }
    ours = (place for place, cell in shown.items() if cell.get("ours"))
    return Cells(((place, partial(value, cell)) for place, cell in shown.items()), ours)


class Resamples:
    """Draws of images and of seeds, each set's the same whoever asks."""

    def __init__(self, count: int):
        self.count = count
        self._draws = np.random.default_rng(0)
        self._shares: dict[str, np.ndarray] = {}

    def shares(self, key: str, n: int, drawn: int) -> np.ndarray:
        """Resamples x n: the share of each of n things in each resample of `drawn` of them, with replacement."""
        if key not in self._shares:
            counts = self._draws.multinomial(drawn, np.full(n, 1 / n), size=self.count)
            self._shares[key] = (counts / drawn).astype(np.float32)
        return self._shares[key]

    def over_seeds(self, numbers: list[np.ndarray]) -> np.ndarray:
        """The mean over seeds. Of n seeds n - 1 are drawn, so that the spread is that of a mean (Rao and Wu 1988)."""
        n, each = len(numbers), np.stack(np.broadcast_arrays(*numbers))
        if each.shape[1] == 1:
            each = np.broadcast_to(each, (n, self.count + 1))
        drawn = (self.shares(f"{n} seeds", n, n - 1).T * each[:, 1:]).sum(0)
        return np.concatenate([each[:, :1].mean(0), drawn])

    def value(self, name: str, files: Mapping[str, Path]) -> Value:
        """A metric of a cell's files, by role; see tables/metrics."""
        name = name.partition(" under ")[0]
        if name.startswith(IMPROVEMENT):
            base, found = name.removeprefix(IMPROVEMENT), []
            for pair in before_and_after(files):
                before, after = (self.value(base, {"": path}).numbers for path in pair)
                with np.errstate(divide="ignore", invalid="ignore"):
                    found.append(100 * (after / before - 1))
            return Value(np.mean(found, 0))
        if (base := name.removeprefix("mean_")) != name and base in METRICS:
            return Value(np.mean([self.value(base, of_set).numbers for of_set in by_set(files)], 0))
        if (images := per_image(name, files)) is None:
            return self._of_estimate(metric(name)(**files))
        counts = not name.endswith("radius") and set(images.amount) <= {0.0, 100.0}
        return Value(self._over_images(images), images if counts else None)

    def _over_images(self, images: Images) -> np.ndarray:
        shares = self.shares(images.key, len(images.amount), len(images.amount))
        with np.errstate(divide="ignore", invalid="ignore"):
            observed = images.amount.sum() / images.counted.sum()
            drawn = (shares @ images.amount.astype(np.float32)) / (shares @ images.counted.astype(np.float32))
        return np.concatenate([[observed], drawn])

    def _of_estimate(self, estimate: Estimate) -> Value:
        """Drawn from its normal distribution, where it has an interval: of each image nothing is known."""
        observed = np.array([estimate.value], dtype=float)
        if np.isnan(estimate.low):
            return Value(observed)
        error = (estimate.high - estimate.low) / (2 * Z)
        return Value(np.concatenate([observed, estimate.value + error * self._draws.standard_normal(self.count)]))
