"""What networks react to: gradients of the loss with respect to the image."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from robust_transfer.figures.pictures import gallery, picture
from robust_transfer.figures.style import in_style


@in_style
def gradients(frame: pd.DataFrame, spec: dict[str, Any], tensors: dict[str, np.ndarray]) -> Figure:
    """The images in the first row, below them a row a network with its input gradients; a column an image.

    Shafahi figure 5.

    tensors: images (N, C, H, W in [0, 1]), and the gradients of each network (N, C, H, W).
    spec: title, measured, networks: [{tensor: name of its gradients, label}], from the top.
    """
    networks = spec["networks"]
    rows = [tensors["images"], *(visible(tensors[network["tensor"]]) for network in networks)]
    names = ["images", *(network["label"] for network in networks)]
    figure, panels = gallery(spec, names, len(rows[0]), 0.95, [0.95] * len(rows))
    for images, axes in zip(rows, panels, strict=True):
        for axis, image in zip(axes, images, strict=True):
            picture(axis, image)
    return figure


def visible(gradient: np.ndarray) -> np.ndarray:
    """Gradients (N, C, H, W) clipped to ±3 standard deviations of each image's and scaled to [0, 1]; 0 becomes 0.5."""
    reach = 3 * gradient.std(axis=(1, 2, 3), keepdims=True)
    reach[reach == 0] = 1
    return (np.clip(gradient, -reach, reach) / reach + 1) / 2
