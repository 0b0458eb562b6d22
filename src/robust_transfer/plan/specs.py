"""Every spec under one name, as configs, studies and plans use them."""

from robust_transfer.attacks.algorithms import AnyAttack, TrainingAttack
from robust_transfer.attacks.algorithms.apgd import Apgd
from robust_transfer.attacks.algorithms.autoattack import AutoAttack
from robust_transfer.attacks.algorithms.fab import FabT
from robust_transfer.attacks.algorithms.feature import FeatureAttack
from robust_transfer.attacks.algorithms.fgsm import Fgsm
from robust_transfer.attacks.algorithms.free import Free
from robust_transfer.attacks.algorithms.mi_fgsm import MiFgsm
from robust_transfer.attacks.algorithms.pgd import Pgd
from robust_transfer.attacks.algorithms.square import Square
from robust_transfer.data.readers import AnyDataset
from robust_transfer.data.readers.collection import Collection
from robust_transfer.data.readers.digits import Digits
from robust_transfer.data.readers.folder import Folder
from robust_transfer.data.readers.mnist import MlxtendMnist
from robust_transfer.data.readers.npz import Npz
from robust_transfer.data.readers.torchvision import Torchvision
from robust_transfer.models.families import AnyNetwork
from robust_transfer.models.families.cifar_densenet import CifarDenseNet
from robust_transfer.models.families.cifar_resnet import CifarResNet
from robust_transfer.models.families.preact_resnet import PreActResNet
from robust_transfer.models.families.timm import TimmNet
from robust_transfer.models.families.torchvision import TorchvisionNet
from robust_transfer.models.families.wide_resnet import WideResNet
from robust_transfer.recipes import TUNABLE, Inputs, Recipe, Spectral
from robust_transfer.specs.attacks import Attack
from robust_transfer.specs.datasets import Dataset, SplitName
from robust_transfer.specs.fields import (
    Count,
    Fraction,
    NonNegative,
    Number,
    Positive,
    Spec,
    WholeNumber,
    number,
)
from robust_transfer.specs.networks import IMAGENET, AnyNormalise, Network, Normalise
from robust_transfer.specs.parts import FrozenStatistics, Head, Last, Trainable, TrainedStatistics, trainable_slug
from robust_transfer.specs.schedules import Augmentation, Averaging, Schedule
from robust_transfer.specs.smoothing import Smoothing
from robust_transfer.specs.terms import Term
from robust_transfer.terms import Terms
from robust_transfer.terms.consistency import Consistency
from robust_transfer.terms.contrastive import Contrastive
from robust_transfer.terms.feature_distance import FeatureDistance
from robust_transfer.terms.similarity import Similarity
