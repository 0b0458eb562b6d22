"""The best of several models: by accuracy, or by accuracy and robustness together."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from robust_transfer.data import tensors
from robust_transfer.estimates import proportion
from robust_transfer.models import files
from robust_transfer.plan.specs import CifarResNet
from robust_transfer.stages import choose
from robust_transfer.tables.metrics import choice_accuracy, choice_ties

NETWORK = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=2)
LABELS = np.array([0, 0, 0, 1, 1])
CANDIDATES = [{"similarity": 0.1}, {"similarity": 0.01}]


def always(label):
    """A network that says the same of every image."""
    network = files.build(NETWORK, 1, 2)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.eye(2)[label])
    return network


@pytest.fixture
def job(tmp_path):
    """Two candidates, right on 3 and on 2 of 5 images."""
    splits = {name: (np.zeros((5, 8, 8, 1), np.uint8), LABELS.copy()) for name in ("train", "validation", "test")}
    tensors.save(tmp_path / "data", splits, ["a", "b"])
    for place in (0, 1):
        files.save(tmp_path / f"candidate{place}.safetensors", always(place), NETWORK, 1, 2)
    return SimpleNamespace(
        spec=choose.Choose(split="validation", candidates=CANDIDATES),
        device="cpu",
        output=tmp_path / "chosen.safetensors",
        parent=lambda role: tmp_path / (f"{role}.safetensors" if role.startswith("candidate") else role),
        has=lambda role: (tmp_path / role).exists(),
        blaming=lambda role: nullcontext(),
    )


def withstand(job, *counts):
    for place, count in enumerate(counts):
        prediction = np.where(np.arange(5) < count, LABELS, 1 - LABELS)
        pd.DataFrame({"label": LABELS, "prediction": prediction}).to_parquet(job.parent(f"attacked{place}"))


def test_the_most_accurate_one(job):
    assert choose.run(job) == {"chosen": CANDIDATES[0], "accuracies": [60, 40], "n": 5}
    assert files.metadata(job.output)["chosen"] == CANDIDATES[0]


def test_an_attack_counts_as_much_as_clean_images(job):
    withstand(job, 0, 2)
    found = choose.run(job)
    assert found == {"chosen": CANDIDATES[1], "accuracies": [60, 40], "robustness": [0, 40], "n": 5}
    assert files.metadata(job.output)["chosen"] == CANDIDATES[1]


def test_the_first_of_equals_wins_and_the_file_says_that_there_are_others(job):
    withstand(job, 0, 1)
    assert choose.run(job)["chosen"] == CANDIDATES[0]
    assert (choice_accuracy(job.output), choice_ties(job.output).value) == (proportion(3, 5), 1)


def test_a_choice_without_ties(job):
    choose.run(job)
    assert choice_ties(job.output).value == 0
