"""What a training sees and what it brings down."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from robust_transfer.plan.specs.attacks import TrainingAttack
from robust_transfer.plan.specs.fields import Count, NonNegative, Number, Positive, Spec


class Inputs(Spec):
    """What a training batch is.

    attack: none trains on clean images; an attack adds adversarial examples of them, made anew in every iteration
        against the network as it stands, in evaluation mode.
    mixing: both trains on the clean and the adversarial batch in every iteration; either draws one of the two.
    clean_weight: weight of the clean batch's loss (both) or its probability (either); the adversarial batch has the
        rest.
    noise: standard deviation of Gaussian noise on the pixels of every training image; they may leave [0, 1].
    share: of each class's training images, the part that takes part, drawn at random.
    per_class: of each class so many training images take part at most, drawn at random.
    """

    attack: TrainingAttack | None = None
    mixing: Literal["both", "either"] = "both"
    clean_weight: Annotated[Number, Field(ge=0, le=1)] = 0.5
    noise: NonNegative = 0.0
    share: Annotated[Number, Field(gt=0, le=1)] = 1.0
    per_class: Count | None = None

    @model_validator(mode="after")
    def _free_is_adversarial(self):
        if self.attack and self.attack.algorithm == "free" and (self.mixing == "either" or self.clean_weight):
            raise ValueError("clean_weight: free adversarial training sees adversarial images alone; set it to 0")
        if self.per_class and self.share < 1:
            raise ValueError("share: give either share or per_class")
        return self

    @property
    def slug(self) -> str:
        return self.attack.algorithm if self.attack else "noise" if self.noise else "nat"


class Similarity(Spec):
    """How far the penultimate features may go from those of the model the run starts from (learning without forgetting,
    as Shafahi et al. 2020, Eq. 3, use it). Those are computed once, of the images as they are.

    weight: lambda_d. norm: of the difference; the mean over images is taken.
    """

    weight: Positive
    norm: Literal["l1", "l2"] = "l2"


class FeatureDistance(Spec):
    """Feature distance minimisation (Chen et al. 2021, Eq. 10): how far what a clean and an adversarial image give as
    input to the last units may lie apart.

    weight: lambda. units: k, how many units come after. reduction: over the images of a batch.
    """

    weight: Positive
    units: Count
    reduction: Literal["sum", "mean"] = "sum"


class Consistency(Spec):
    """Several noisy copies of each image, which are to agree (Jeong & Shin 2020, Eq. 8); takes the place of the plain
    cross entropy. The noise is that of the inputs.

    copies: m. weight, entropy: lambda and eta.
    """

    copies: Annotated[Count, Field(ge=2)] = 2
    weight: NonNegative
    entropy: NonNegative


class Contrastive(Spec):
    """Learning features without labels from two views of each image (SimCLR, Chen et al. 2020); takes the place of the
    cross entropy. The projection head is thrown away afterwards.

    temperature: of the loss. size: of the projections. batch_norm: in the projection head.
    strength: of the colour distortion. smallest_crop: least share of an image that a view shows.
    """

    temperature: Positive
    size: Count = 128
    batch_norm: bool = False
    strength: NonNegative = 1.0
    smallest_crop: Annotated[Number, Field(gt=0, le=1)] = 0.08


class Terms(Spec):
    """What is added to the cross entropy, each with its weight.

    feature_distillation: lambda of the squared distance between the stages' outputs and those of the teacher, in the
        mean over elements and images (DELTA without attention, Li et al. 2019; Chin et al. 2020, Eq. 3).
    start_distance: lambda of the squared distance of the weights from those the run inherited, the head left out
        (L2-SP, Li et al. 2018; Chin et al. 2020, Eq. 2).
    head_penalty: beta of the squared length of the head's weights and biases (Chin et al. 2020, below Eq. 1).
    similarity, feature_distance, consistency, contrastive: none unless given.
    """

    feature_distillation: NonNegative = 0.0
    start_distance: NonNegative = 0.0
    head_penalty: NonNegative = 0.0
    similarity: Similarity | None = None
    feature_distance: FeatureDistance | None = None
    consistency: Consistency | None = None
    contrastive: Contrastive | None = None

    @property
    def slug(self) -> str:
        words = {
            "+distil": self.feature_distillation,
            "+l2sp": self.start_distance,
            "+lwf": self.similarity,
            "+fdm": self.feature_distance,
            "+cr": self.consistency,
            "+simclr": self.contrastive,
        }
        return "".join(word for word, used in words.items() if used)
