"""Of data sets that are cut from one, no test image of one is trained on with another."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import yaml

from robust_transfer.data.handwritten import Handwritten
from robust_transfer.data.splits import split
from robust_transfer.plan.specs import Digits
from robust_transfer.stages.node import KINDS

SCALES = sorted((Path(__file__).parents[2] / "workflow" / "scales").glob("*.yaml"))
NOWHERE = Path("/nonexistent")


def plain(value):
    """A value of a scale, under the protocol `corrected` where it depends on a switch."""
    return next(iter(value.values()))["corrected"] if isinstance(value, dict) else value


def data_sets(scale):
    """Every data set of a scale, and one that is undivided of each that is divided."""
    entries = yaml.safe_load(scale.read_text(encoding="utf-8"))["datasets"].values()
    specs = [KINDS["prepare"].parse({key: plain(value) for key, value in entry.items()}) for entry in entries]
    return specs + [spec.model_copy(update={"classes": None, "half": None}) for spec in specs]


def numbered(spec):
    """The set with each image's number in place of the image; made-up labels where it cannot be read here."""
    if isinstance(spec, Handwritten):
        labels = spec.read(NOWHERE).splits["train"][1]
        return {"train": (np.arange(len(labels)), labels)}
    labels = np.random.default_rng(0).permutation(
        np.arange(40 * spec.look(NOWHERE).classes) % spec.look(NOWHERE).classes
    )
    return {"train": (np.arange(len(labels)), labels), "test": (-1 - np.arange(len(labels)), labels)}


@pytest.mark.parametrize("scale", SCALES, ids=lambda path: path.stem)
def test_no_test_image_of_a_set_is_a_training_or_validation_image_of_another(scale):
    of_base = {}
    for spec in data_sets(scale):
        parts = {name: set(numbers.tolist()) for name, (numbers, _) in split(spec, numbered(spec)).items()}
        parts["share"] = spec.validation
        of_base.setdefault(spec.base, []).append((spec.slug, parts))
    for parts in of_base.values():
        for (one, tested), (other, trained) in permutations(parts, 2):
            assert tested["test"].isdisjoint(trained["train"] | trained["validation"]), (one, other)
            if tested["share"] == trained["share"]:
                assert tested["validation"].isdisjoint(trained["train"]), (one, other)
    assert max(map(len, of_base.values())) >= {"digits": 18, "mnist": 18}.get(scale.stem, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": [7, 2, 9]},
        {"half": "second", "halves_seed": 3},
        {"limit": 5},
        {"limit_train": 5},
        {"appearance": "negative"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_held_out_of_a_class_is_its_own(change):
    spec = Digits(reader="sklearn-digits", validation=0.15)
    whole, cut = (split(each, numbered(spec)) for each in (spec, spec.model_copy(update=change)))
    for name in ("train", "validation", "test"):
        assert set(cut[name][0].tolist()) <= set(whole[name][0].tolist())
        assert len(cut[name][0]) > 0
    other = split(spec.model_copy(update={"seed": 1}), numbered(spec))
    assert not set(other["test"][0].tolist()) <= set(whole["test"][0].tolist())
