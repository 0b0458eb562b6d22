"""Sets of large photographs, read as distributed: which files are training and test images, of which class.

Nothing is decoded here. A reader takes the set's folder and the seed of random splits and gives, for train and test,
the class and the path of each image as the set's own lists say (`Listed`); `read` checks that against what the set has.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from robust_transfer.data.catalogue import CATALOGUE
from robust_transfer.data.collections import folders, matlab, tables, text
from robust_transfer.data.collections.manifest import Listed, Manifest, checked
from robust_transfer.errors import UserError

if TYPE_CHECKING:
    from robust_transfer.data.readers.collection import Collection

READERS: dict[str, Callable[[Path, int], Listed]] = {
    "stanford-dogs": matlab.stanford_dogs,
    "cub-200-2011": tables.cub_200_2011,
    "cub-200": text.cub_200,
    "stanford-40-actions": text.stanford_40_actions,
    "mit-indoor-67": text.mit_indoor_67,
    "oxford-flowers-102": matlab.oxford_flowers_102,
    "food-101": text.food_101,
    "birdsnap": text.birdsnap,
    "sun397": text.sun397,
    "caltech-256": folders.caltech_256,
    "stanford-cars": matlab.stanford_cars,
    "fgvc-aircraft": tables.fgvc_aircraft,
    "dtd": text.dtd,
    "oxford-pets": tables.oxford_pets,
    "caltech-101": folders.caltech_101,
    "imagenet": folders.imagenet,
}


def read(spec: "Collection", data_root: Path) -> Manifest:
    """The classes and image files of a set.

    Raises:
        UserError: where it is missing, partial or another set: what was found, what was expected, what is missing.
    """
    entry = CATALOGUE[spec.name]
    folder = data_root / entry.folder
    remedy = entry.unpack.format(root=data_root)
    if absent := [str(folder / name) for name in entry.needs if not (folder / name).exists()]:
        raise UserError(f"{spec.name}: {', '.join(absent)} missing; {remedy}")
    try:
        listed = READERS[spec.name](folder, spec.seed)
    except (ValueError, IndexError, KeyError) as error:
        raise UserError(f"{spec.name}: the lists in {folder} are not the set's own ({error}); {remedy}") from None
    return checked(listed, spec.name, folder, entry, spec.missing, remedy)
