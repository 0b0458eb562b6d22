"""The vocabulary of the project: data sets, networks, attacks and training recipes, each a validated value.

A spec is what a node's id is made from. Its canonical form leaves out labels and every field that has its default,
so that a field added later (a new method's switch) leaves the ids of existing nodes alone. A default is therefore part
of a stage's meaning: whoever changes one raises that stage's version (graph.py).
"""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)


def number(value: Any) -> Any:
    """Read a number as papers print it: `8/255`, `1e-4` (which YAML 1.1 takes for a string), 0.1 or "0.1".

    Anything that is not such a text comes back as it is, for pydantic to judge.
    """
    if isinstance(value, bool):
        raise ValueError("a number is wanted, not true or false")
    if isinstance(value, str):
        try:
            top, bar, bottom = value.partition("/")
            return float(top) / float(bottom) if bar else float(top)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{value!r} is no number; write it like 0.031, 1e-4 or 8/255") from None
    return value


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a whole number is wanted, not true or false")
    return value


Number = Annotated[float, BeforeValidator(number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=1)]
WholeNumber = Annotated[int, BeforeValidator(_no_bool), Field(ge=0)]


class Spec(BaseModel):
    """A validated, immutable value; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def canonical(self) -> dict[str, Any]:
        """The spec as plain JSON values, without defaults and labels: what the id is made from."""
        return self.model_dump(mode="json", exclude_defaults=True)


# ---- data sets -----------------------------------------------------------------------------------------------------


class Dataset(Spec):
    """What every data set has. Splits are train, validation (held out of the training part) and test.

    classes: the original class numbers kept, in this order, renumbered 0..n-1; all by default.
    validation: share of the training part held out, class by class, for every choice that is made (0 = none).
    limit: keep at most this many images a class and split, for trials; all by default.
    seed: of the random splits.
    """

    label: str = Field("", exclude=True)
    classes: Annotated[list[WholeNumber], Field(min_length=2)] | None = None
    validation: Fraction = 0.1
    limit: Count | None = None
    seed: WholeNumber = 0

    @model_validator(mode="after")
    def _classes_differ(self):
        if self.classes and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a class is named twice")
        return self

    @property
    def base(self) -> str:
        """The readable name of the undivided set."""
        raise NotImplementedError

    @property
    def files(self) -> list[str]:
        """Files and folders below data_root that must be there before it can be read."""
        return []

    @property
    def remedy(self) -> str:
        """What to do when they are missing; {root} stands for data_root."""
        return ""

    @property
    def slug(self) -> str:
        """A short readable name, a function of the spec alone."""
        if not self.classes:
            return self.base
        first, last = self.classes[0], self.classes[-1]
        run = self.classes == list(range(first, last + 1))
        return f"{self.base}-{first}to{last}" if run else f"{self.base}-{len(self.classes)}classes"


class Digits(Dataset):
    """scikit-learn's 1,797 handwritten digits, 8x8, 10 classes: real data that ships with a library.

    test: share held out, class by class, for the test split (the set has none of its own).
    """

    source: Literal["sklearn-digits"]
    test: Annotated[Number, Field(gt=0, lt=1)] = 0.35

    @model_validator(mode="after")
    def _ten_classes(self):
        if self.classes and max(self.classes) > 9:
            raise ValueError("classes: the digits are 0 to 9")
        return self

    @property
    def base(self) -> str:
        return "digits"


class Torchvision(Dataset):
    """A data set of 32x32 images by its torchvision name, with its own test split; read from data_root."""

    source: Literal["torchvision"]
    name: Literal["CIFAR10", "CIFAR100"]

    @model_validator(mode="after")
    def _known_classes(self):
        top = {"CIFAR10": 10, "CIFAR100": 100}[self.name]
        if self.classes and max(self.classes) >= top:
            raise ValueError(f"classes: {self.name} has 0 to {top - 1}")
        return self

    @property
    def base(self) -> str:
        return self.name.lower()

    @property
    def files(self) -> list[str]:
        return [{"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}[self.name]]

    @property
    def remedy(self) -> str:
        archive = {"CIFAR10": "cifar-10-python.tar.gz", "CIFAR100": "cifar-100-python.tar.gz"}[self.name]
        return (
            f'unpack {archive} into {{root}}, or with a connection: python -c "from torchvision.datasets import '
            f"{self.name}; {self.name}('{{root}}', download=True)\""
        )


class Npz(Dataset):
    """An .npz file under data_root: for each split SPLIT_images (uint8, NHWC) and SPLIT_labels.

    In place of SPLIT_images, SPLIT_jpeg (all files joined, uint8) with SPLIT_offsets (n+1) is read as well.

    train, test: the names of the two splits in the file.
    sha256: of the file, if it is to be checked.
    """

    source: Literal["npz"]
    file: str
    train: str = "train"
    test: str = "test"
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None

    @property
    def base(self) -> str:
        return re.sub(r"[^A-Za-z0-9-]+", "-", self.file.rsplit("/", 1)[-1].removesuffix(".npz")).lower()

    @property
    def files(self) -> list[str]:
        return [self.file]

    @property
    def remedy(self) -> str:
        return "put the .npz file there, or mend the data set's `file`"


class Folder(Dataset):
    """Folders FOLDER/train/CLASS/*.png and FOLDER/test/CLASS/*.png (or .jpg) under data_root, classes in name order.

    size: side in pixels; images are scaled to it by the shorter side and cropped at the centre.
    """

    source: Literal["folder"]
    folder: str
    size: Count

    @property
    def base(self) -> str:
        return re.sub(r"[^A-Za-z0-9-]+", "-", self.folder.rstrip("/").rsplit("/", 1)[-1]).lower()

    @property
    def files(self) -> list[str]:
        return [f"{self.folder}/train", f"{self.folder}/test"]

    @property
    def remedy(self) -> str:
        return "put one folder of images a class into train and into test, or mend the data set's `folder`"


AnyDataset = Annotated[Digits | Torchvision | Npz | Folder, Field(discriminator="source")]


# ---- networks ------------------------------------------------------------------------------------------------------


class Normalise(Spec):
    """The network's first operation, x -> (x - mean) / std on pixels in [0, 1]; inside the network, so that an attack's
    budget is always in pixels.
    """

    mean: Number = 0.5
    std: Positive = 0.5


class Network(Spec):
    """What every network family has."""

    label: str = Field("", exclude=True)
    normalise: Normalise = Normalise()

    @property
    def stages(self) -> int:
        """How many stages of residual or dense blocks there are."""
        raise NotImplementedError

    @property
    def blocks(self) -> int:
        """How many blocks there are in all stages; a block is the smallest part that trains or freezes as one."""
        raise NotImplementedError


class CifarResNet(Network):
    """ResNet for small images (He et al. 2016, section 4.2): 3x3 stem, basic blocks, shortcuts without parameters.

    depth_per_stage: basic blocks (two convolutions each) in each stage; [9, 9, 9] is ResNet-56.
    width: channels of the first stage, doubled with every further one.
    """

    family: Literal["cifar-resnet"]
    depth_per_stage: Annotated[list[Count], Field(min_length=1)]
    width: Count = 16

    @property
    def stages(self) -> int:
        return len(self.depth_per_stage)

    @property
    def blocks(self) -> int:
        return sum(self.depth_per_stage)

    @property
    def slug(self) -> str:
        return f"resnet{2 * self.blocks + 2}w{self.width}"


class CifarDenseNet(Network):
    """DenseNet-BC for small images (Huang et al. 2017): 3x3 stem, dense blocks with bottlenecks, halving transitions.

    layers_per_block: [6, 12, 24, 16] is DenseNet-121.
    growth: channels each layer adds.
    """

    family: Literal["cifar-densenet"]
    layers_per_block: Annotated[list[Count], Field(min_length=1)]
    growth: Count = 12

    @property
    def stages(self) -> int:
        return len(self.layers_per_block)

    @property
    def blocks(self) -> int:
        return len(self.layers_per_block)

    @property
    def slug(self) -> str:
        depth = 2 * sum(self.layers_per_block) + len(self.layers_per_block) + 1
        return f"densenet{depth}k{self.growth}"


AnyNetwork = Annotated[CifarResNet | CifarDenseNet, Field(discriminator="family")]


# ---- attacks -------------------------------------------------------------------------------------------------------


class Attack(Spec):
    """A threat model (norm and budget) and the algorithm that works within it.

    eps: radius of the ball around the image, in pixels of [0, 1]; may be written 8/255.
    labels: whose label the loss is raised for: the true one, or the model's own prediction, which guards training
        against label leaking (Kurakin et al. 2017).
    """

    label: str = Field("", exclude=True)
    norm: Literal["linf", "l2"] = "linf"
    eps: NonNegative
    labels: Literal["true", "predicted"] = "true"

    @field_validator("eps")
    @classmethod
    def _eps_in_pixels(cls, eps: float, others: ValidationInfo) -> float:
        if others.data.get("norm") == "linf" and eps > 1:
            raise ValueError(f"{eps:g} is over 1; pixels go from 0 to 1, so write 8/255 and not 8")
        return eps


class Fgsm(Attack):
    """One step of full length along the sign of the gradient (Goodfellow et al. 2015)."""

    algorithm: Literal["fgsm"]

    # The same questions can be asked of every attack.
    steps: int = Field(1, exclude=True, ge=1, le=1)
    restarts: int = Field(1, exclude=True, ge=1, le=1)
    random_start: Literal[False] = Field(False, exclude=True)

    @property
    def step_size(self) -> float:
        return self.eps

    @property
    def slug(self) -> str:
        return f"fgsm-{self.norm}-{self.eps:.4g}"


class Pgd(Attack):
    """Projected gradient steps (Madry et al. 2018).

    step_size: in pixels, or in parts of the budget: `eps/4`.
    restarts: runs whose per-image worst is kept; more than one only makes sense with a random start.
    """

    algorithm: Literal["pgd"]
    steps: Count
    step_size: NonNegative
    random_start: bool
    restarts: Count = 1

    @model_validator(mode="before")
    @classmethod
    def _step_in_parts_of_eps(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("step_size"), str) and "eps" in values["step_size"]:
            match = re.fullmatch(r"\s*eps\s*/\s*([0-9]+\.?[0-9]*)\s*", values["step_size"])
            if not match or float(match[1]) <= 0:
                raise ValueError(f"step_size: {values['step_size']!r} is neither a number nor like eps/4")
            try:
                eps = float(number(values.get("eps")))
            except (TypeError, ValueError):
                eps = -1.0
            # A wrong eps is complained of under its own name alone.
            return values | {"step_size": eps / float(match[1]) if 0 <= eps < math.inf else 0.0}
        return values

    @model_validator(mode="after")
    def _restarts_differ(self):
        if self.restarts > 1 and not self.random_start:
            raise ValueError("restarts: without random_start every restart is the same; set random_start: true")
        return self

    @property
    def slug(self) -> str:
        return f"pgd{self.steps}-{self.norm}-{self.eps:.4g}"


AnyAttack = Annotated[Fgsm | Pgd, Field(discriminator="algorithm")]


# ---- recipes -------------------------------------------------------------------------------------------------------


class Last(Spec):
    """The last stages or blocks of the feature extractor, and the head."""

    last: Count
    of: Literal["stages", "blocks"]


def _trainable_form(value: Any) -> str | None:
    if isinstance(value, dict | Last):
        return "part"
    return "word" if value in ("all", "head") else None


Trainable = Annotated[
    Annotated[Literal["all", "head"], Tag("word")] | Annotated[Last, Tag("part")],
    Discriminator(
        _trainable_form,
        custom_error_type="trainable",
        custom_error_message="Input should be all, head, or the last parts like {{last: 1, of: stages}}",
    ),
]


def trainable_slug(trainable: Trainable) -> str:
    """`all`, `head` or `last1stages`."""
    return trainable if isinstance(trainable, str) else f"last{trainable.last}{trainable.of}"


class Inputs(Spec):
    """What a training batch is.

    attack: none trains on clean images; an attack adds adversarial examples of them, made anew in every iteration
        against the network as it stands, in evaluation mode.
    clean_weight: weight of the clean batch's loss; the adversarial batch has the rest.
    """

    attack: AnyAttack | None = None
    clean_weight: Annotated[Number, Field(ge=0, le=1)] = 0.5

    @property
    def slug(self) -> str:
        return self.attack.algorithm if self.attack else "nat"


class Schedule(Spec):
    """How the loss is brought down: stochastic gradient descent with momentum.

    epochs: passes over the training split; the last incomplete batch of each is left out.
    batch_size: clean images an iteration; adversarial ones come on top.
    decay: the learning rate's shape: constant, steps (times gamma at each milestone, in epochs) or cosine to zero.
    crop_padding: pixels of black border for random crops (0 = none); flip: mirror half of the images.
    select: the weights kept are the last, or those of the epoch that was best on the validation split.
    seed: of initialisation, order, augmentation and attacks' random starts.
    """

    epochs: Count
    batch_size: Annotated[int, BeforeValidator(_no_bool), Field(ge=2)]
    lr: Positive
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.0
    decay: Literal["constant", "steps", "cosine"] = "constant"
    milestones: list[Count] = []
    gamma: Annotated[Number, Field(gt=0, le=1)] = 0.1
    crop_padding: WholeNumber = 0
    flip: bool = False
    select: Literal["last", "best_validation"] = "last"
    seed: WholeNumber = 0

    @model_validator(mode="after")
    def _milestones_fit(self):
        if self.decay == "steps" and not self.milestones:
            raise ValueError("milestones: decay: steps wants the epochs at which lr falls, e.g. [100, 150]")
        if self.decay != "steps" and self.milestones:
            raise ValueError(f"milestones: none are wanted with decay: {self.decay}; write milestones: [] beside it")
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError("milestones: epochs in rising order are wanted, each once")
        if self.milestones and self.milestones[-1] >= self.epochs:
            raise ValueError(f"milestones: {self.milestones[-1]} lies at or beyond the last of {self.epochs} epochs")
        return self


class Recipe(Spec):
    """A training run, source or target: where it starts, what moves, what it sees, what it minimises, for how long.

    network: the architecture of a random start; a run that inherits takes its start's.
    trainable: the part that moves. The head is always new in a run that inherits.
    frozen_statistics: batch norm's running statistics in the frozen part are held, or drift with the new data.
    """

    network: AnyNetwork | None = None
    trainable: Trainable = "all"
    frozen_statistics: Literal["hold", "drift"] = "hold"
    inputs: Inputs = Inputs()
    schedule: Schedule
