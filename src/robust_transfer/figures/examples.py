"""Adversarial examples: the image, its perturbation, and what the models say."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from robust_transfer.figures.pictures import gallery, picture
from robust_transfer.figures.style import in_style, shown

RIGHT, WRONG = "#117733", "#BB2222"
"""Marked by a tick and a cross as well: not everybody sees these colours as two."""
WIDTH, LETTERS, LINE = 1.35, 23, 0.13
"""Of a column, in inches; how many letters have room in it; and the height of a line of them, in inches."""


@in_style
def examples(frame: pd.DataFrame, spec: dict[str, Any], tensors: dict[str, np.ndarray]) -> Figure:
    """Three rows: clean images, perturbations (amplified, around grey), adversarial images; a column an image.

    Renofeation figure 1. Over a column stands the image's class; under clean and adversarial images what each model
    says: green with a tick where it is right, red with a cross where it is wrong.

    tensors: clean and adversarial (N, C, H, W in [0, 1]), label (N), clean_prediction and adversarial_prediction
        (models, N), or (N) of a single model.
    spec: title, measured, models: their names, classes: names by number (or as a tensor of that name),
        amplify: factor; unless given the largest whole number with which all perturbations stay within the grey scale.
    """
    clean, adversarial, label = (tensors[name] for name in ("clean", "adversarial", "label"))
    classes = [str(name) for name in (tensors["classes"] if "classes" in tensors else spec["classes"])]
    perturbation = adversarial.astype(float) - clean
    factor = spec.get("amplify") or amplification(perturbation)
    answered = [
        answers(np.atleast_2d(tensors[f"{name}_prediction"]), label, classes, spec["models"])
        for name in ("clean", "adversarial")
    ]
    most = [max(map(len, columns)) for columns in answered]
    names = ["clean", "", f"perturbation\n× {factor:g}", "adversarial", ""]
    heights = [WIDTH, LINE * most[0], WIDTH, WIDTH, LINE * most[1]]
    figure, panels = gallery(spec, names, len(clean), WIDTH, heights)
    for axes, images in zip(panels[[0, 2, 3]], (clean, 0.5 + factor * perturbation, adversarial), strict=True):
        for axis, image in zip(axes, np.clip(images, 0, 1), strict=True):
            picture(axis, image)
    for axes, columns, count in zip(panels[[1, 4]], answered, most, strict=True):
        for axis, lines in zip(axes, columns, strict=True):
            for i, (text, right) in enumerate(lines):
                color = RIGHT if right else WRONG
                axis.text(0.5, 1 - (i + 0.5) / count, text, color=color, size=6.5, ha="center", va="center")
    for axis, number in zip(panels[0], label, strict=True):
        axis.set_title(textwrap.fill(shown(classes[number]), LETTERS - 3))
    return figure


def answers(
    prediction: np.ndarray, label: np.ndarray, classes: list[str], models: list[str]
) -> list[list[tuple[str, bool]]]:
    """For each image the lines that say what the models (models, N) predict, and whether that is right."""
    columns = []
    for predicted, true in zip(prediction.T, label, strict=True):
        lines = []
        for model, answer in zip(models, predicted, strict=True):
            right = bool(answer == true)
            text = f"{'✓' if right else '✗'} {f'{model}: ' if len(models) > 1 else ''}{classes[answer]}"
            lines += [(line, right) for line in textwrap.wrap(shown(text), LETTERS)]
        columns.append(lines)
    return columns


def amplification(perturbation: np.ndarray) -> int:
    """The largest whole number that keeps perturbations within ±0.5; at least 1."""
    largest = np.abs(perturbation).max()
    return max(1, int(0.5 / largest + 1e-6)) if largest else 1
