"""GTSRB, the German Traffic Sign Recognition Benchmark (Stallkamp et al. 2012), as torchvision unpacks it."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from robust_transfer.data.collections.manifest import Listed, Manifest, checked
from robust_transfer.data.images import whole
from robust_transfer.errors import UserError
from robust_transfer.plan.specs import Torchvision
from robust_transfer.plan.specs.catalogue import TORCHVISION


def read(spec: Torchvision, data_root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Train and test: N x size x size x 3 uint8 images and N int64 labels, 0 to 42.

    Whole images of 15 to 250 pixels a side are scaled to size x size, whatever their shape, bilinear with antialiasing.
    They show some background around the sign: the boxes that the set gives (Roi.X1 to Roi.Y2) are not used, as
    torchvision's class does not use them either.

    Raises:
        UserError: where the set is missing, partial or another one, or an image is damaged.
    """
    entry = TORCHVISION["GTSRB"]
    folder, remedy = data_root / entry.folder, entry.unpack.format(root=data_root)
    if absent := [str(folder / name) for name in entry.needs if not (folder / name).exists()]:
        raise UserError(f"GTSRB: {', '.join(absent)} missing; {remedy}")
    manifest = checked(_listed(folder, remedy), "GTSRB", folder, entry, 0.0, remedy)
    return {split: _scaled(manifest, split, spec.size) for split in ("train", "test")}


def _listed(folder: Path, remedy: str) -> Listed:
    """Training/00042/00007_00029.ppm (frame 29 of the track of sign 7), and the rows `Filename;...;ClassId` of the test
    images' table.
    """
    train = [
        (of_class.name, f"GTSRB/Training/{of_class.name}/{file.name}")
        for of_class in sorted((folder / "GTSRB" / "Training").iterdir())
        for file in sorted(of_class.glob("*.ppm"))
    ]
    path = folder / "GT-final_test.csv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter=";", skipinitialspace=True)
            test = [(f"{int(row['ClassId']):05}", f"GTSRB/Final_Test/Images/{row['Filename']}") for row in rows]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"GTSRB: {path} is not the set's own table ({error!r}); {remedy}") from None
    return {"train": train, "test": test}


def _scaled(manifest: Manifest, split: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    files = getattr(manifest, split)
    images = np.empty((len(files), size, size, 3), np.uint8)
    for place, (file, _) in enumerate(files):
        sign = whole(file.read_bytes(), file, "unpack it again")
        images[place] = sign.resize((size, size), Image.Resampling.BILINEAR)  # PIL's shrinking is antialiased
    return images, np.array([label for _, label in files], np.int64)
