"""The vocabulary of the project: data sets, networks, attacks and training recipes, each a validated value.

A spec is what a node's id is made from. Its canonical form leaves out labels and every field that has its default,
so that a field added later (a new method's switch) leaves the ids of existing nodes alone. A default is therefore part
of a stage's meaning: whoever changes one raises that stage's version (graph.py).
"""

from robust_transfer.plan.specs.attacks import AnyAttack, Apgd, Attack, FeatureAttack, Fgsm, Free, Pgd, TrainingAttack
from robust_transfer.plan.specs.datasets import AnyDataset, Collection, Dataset, Digits, Folder, Npz, Torchvision
from robust_transfer.plan.specs.fields import (
    Count,
    Fraction,
    NonNegative,
    Number,
    Positive,
    Spec,
    WholeNumber,
    number,
)
from robust_transfer.plan.specs.networks import (
    IMAGENET,
    AnyNetwork,
    AnyNormalise,
    CifarDenseNet,
    CifarResNet,
    Network,
    Normalise,
    TorchvisionNet,
    WideResNet,
)
from robust_transfer.plan.specs.objectives import (
    Consistency,
    Contrastive,
    FeatureDistance,
    Inputs,
    Similarity,
    Terms,
)
from robust_transfer.plan.specs.recipes import TUNABLE, Head, Last, Recipe, Spectral, Trainable, trainable_slug
from robust_transfer.plan.specs.schedules import Augmentation, Averaging, Schedule
from robust_transfer.plan.specs.smoothing import Smoothing

__all__ = [
    "IMAGENET",
    "TUNABLE",
    "AnyAttack",
    "AnyDataset",
    "AnyNetwork",
    "AnyNormalise",
    "Apgd",
    "Attack",
    "Augmentation",
    "Averaging",
    "CifarDenseNet",
    "CifarResNet",
    "Collection",
    "Consistency",
    "Contrastive",
    "Count",
    "Dataset",
    "Digits",
    "FeatureAttack",
    "FeatureDistance",
    "Fgsm",
    "Folder",
    "Fraction",
    "Free",
    "Head",
    "Inputs",
    "Last",
    "Network",
    "NonNegative",
    "Normalise",
    "Npz",
    "Number",
    "Pgd",
    "Positive",
    "Recipe",
    "Schedule",
    "Similarity",
    "Smoothing",
    "Spec",
    "Spectral",
    "Terms",
    "Torchvision",
    "TorchvisionNet",
    "Trainable",
    "TrainingAttack",
    "WholeNumber",
    "WideResNet",
    "number",
    "trainable_slug",
]
