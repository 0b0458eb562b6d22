"""The arrays that some figures show, from the files of nodes: images, adversarial examples, labels, predictions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from robust_transfer.attacks.budget import to_float
from robust_transfer.data import tensors
from robust_transfer.data.splits import evenly


def read(specs: dict[str, dict[str, Any]], artifact_of: Callable[[str], Path]) -> dict[str, np.ndarray]:
    """Name -> array, as a figure's spec wants it.

    specs: name -> {nodes: ids, read: images | labels | classes | examples | predictions | gradients | distances,
        split (of images and labels), count: so many, evenly spaced over the split; all unless given}. Several nodes are
        stacked.
    artifact_of: node id -> its file.

    Returns:
        images and examples as (N, C, H, W) float32 in [0, 1], gradients as the same form; labels and predictions as (N)
        int64; classes as their names; distances as (N) float32.
    """
    found = {}
    for name, spec in specs.items():
        arrays = [READERS[spec["read"]](artifact_of(node), spec) for node in spec["nodes"]]
        chosen = [array[evenly(len(array), spec.get("count", len(array)))] for array in arrays]
        found[name] = chosen[0] if len(chosen) == 1 else np.stack(chosen)
    return found


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def _shown(path: Path, spec: dict[str, Any]) -> np.ndarray:
    """A split's images as the models see them, those that are wanted."""
    images = tensors.load(path).in_memory(spec["split"]).images
    return to_float(images[evenly(len(images), spec.get("count", len(images)))]).numpy()


def _tensor(path: Path, name: str) -> Any:
    with safe_open(path, "pt") as file:
        return file.get_tensor(name)


READERS: dict[str, Callable[[Path, dict[str, Any]], np.ndarray]] = {
    "images": _shown,
    "labels": lambda path, spec: _tensor(path, f"{spec['split']}_labels").numpy(),
    "classes": lambda path, spec: np.array(json.loads(_metadata(path)["classes"])),
    "examples": lambda path, spec: to_float(_tensor(path, "examples")).numpy(),
    "predictions": lambda path, spec: pd.read_parquet(path, columns=["prediction"]).prediction.to_numpy(),
    "gradients": lambda path, spec: _tensor(path, "gradients").numpy(),
    "distances": lambda path, spec: _tensor(path, "distances").numpy(),
}
