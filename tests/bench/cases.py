"""What `make bench` measures: each case's sides begin with the same weights and the same images.

Networks, batches and budgets are the papers' on a GPU; on a CPU batches are smaller, so that all of it takes minutes.
"""

import copy
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import textbook
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images
from timing import OURS, Case, Sides
from torch import Tensor, nn

from robust_transfer.attacks.advertorch_compat import GradientSignAttack, LinfPGDAttack
from robust_transfer.attacks.algorithms.apgd import Apgd
from robust_transfer.attacks.algorithms.autoattack import AutoAttack
from robust_transfer.attacks.algorithms.feature import FeatureAttack
from robust_transfer.attacks.algorithms.fgsm import Fgsm
from robust_transfer.attacks.algorithms.pgd import Pgd
from robust_transfer.attacks.ready import attack_ready
from robust_transfer.data import pack, tensors
from robust_transfer.models.classifier import Classifier, freeze_but
from robust_transfer.models.families.cifar_resnet import CifarResNet
from robust_transfer.models.families.torchvision import TorchvisionNet
from robust_transfer.models.families.wide_resnet import WideResNet
from robust_transfer.models.few_pixels import fast_on_few_pixels
from robust_transfer.precision import computing_in
from robust_transfer.recipes import Inputs, Recipe
from robust_transfer.smoothing.certify import certify
from robust_transfer.specs.attacks import Attack
from robust_transfer.specs.networks import IMAGENET, Network
from robust_transfer.specs.precision import Precision
from robust_transfer.specs.schedules import Schedule
from robust_transfer.specs.smoothing import Smoothing
from robust_transfer.terms import Terms
from robust_transfer.terms.consistency import Consistency
from robust_transfer.terms.contrastive import Contrastive, projection_head
from robust_transfer.terms.feature_distance import FeatureDistance
from robust_transfer.training.loop import _optimiser
from robust_transfer.training.objective import Objective

ADVERTORCH, TORCHATTACKS, FOOLBOX, AUTOATTACK = "stock advertorch", "torchattacks", "foolbox", "pyautoattack"
TEXTBOOK, TORCHVISION = "textbook PyTorch", "torchvision ImageFolder and DataLoader"
CLASSES = 10
EPS = 8 / 255


@dataclass(frozen=True, eq=False)
class Net:
    """A network, the side of its images in pixels, and how many of them pass at once."""

    spec: Network
    side: int
    batch: int

    @property
    def size(self) -> str:
        """In words."""
        return f"{NAMES.get(self.spec.slug, self.spec.slug)}, {self.batch} x 3 x {self.side} x {self.side}"


def resnet(*depths: int, width: int = 16) -> Network:
    return CifarResNet(family="cifar-resnet", depth_per_stage=list(depths), width=width)


RESNET_20, RESNET_56 = resnet(3, 3, 3), resnet(9, 9, 9)
SMALLEST = resnet(1, 1, 1, width=8)
WRN_28_4 = WideResNet(family="wide-resnet", depth=28, widen=4)
RESNET_18, RESNET_50 = (
    TorchvisionNet(family="torchvision", name=name, normalise=IMAGENET) for name in ("resnet18", "resnet50")
)
NAMES = {
    RESNET_20.slug: "ResNet-20",
    RESNET_56.slug: "ResNet-56",
    SMALLEST.slug: "ResNet-8 of width 8",
    WRN_28_4.slug: "WRN-28-4",
    RESNET_18.slug: "ResNet-18",
    RESNET_50.slug: "ResNet-50",
}


@dataclass(frozen=True)
class Scale:
    """How much of everything. trained, attacked, evaluated, certified: see the cases. samples: n of a certificate.
    photographs: to decode. seconds: for a case, after which no round begins.
    """

    trained: tuple[Net, ...]
    attacked: Net
    evaluated: Net
    certified: tuple[Net, ...]
    samples: int
    photographs: int
    seconds: float


SCALES = {
    "cpu": Scale(
        trained=(Net(RESNET_56, 32, 16), Net(WRN_28_4, 32, 4), Net(RESNET_18, 224, 2), Net(RESNET_50, 224, 2)),
        attacked=Net(RESNET_18, 224, 1),
        evaluated=Net(SMALLEST, 8, 16),
        certified=(Net(SMALLEST, 8, 1024), Net(RESNET_20, 32, 1024)),
        samples=10_000,
        photographs=64,
        seconds=6,
    ),
    "cuda": Scale(
        trained=(Net(RESNET_56, 32, 128), Net(WRN_28_4, 32, 128), Net(RESNET_18, 224, 64), Net(RESNET_50, 224, 64)),
        attacked=Net(RESNET_18, 224, 64),
        evaluated=Net(RESNET_20, 32, 256),
        certified=(Net(RESNET_20, 32, 1024), Net(RESNET_50, 224, 256)),
        samples=10_000,
        photographs=1024,
        seconds=6,
    ),
    "tiny": Scale(
        trained=(Net(resnet(1, 1, width=4), 8, 4),),
        attacked=Net(resnet(1, 1, width=4), 8, 4),
        evaluated=Net(resnet(1, 1, width=4), 8, 4),
        certified=(Net(resnet(1, 1, width=4), 8, 128),),
        samples=256,
        photographs=4,
        seconds=0,
    ),
}
"""By the device that it is for; tiny is for tests."""


def cases(scale: Scale, device: torch.device, threads: int, precision: Precision = "float32") -> Iterator[Case]:
    """All but those of the graph. precision: of ours; the others are left as torch has it."""
    for net in scale.trained:
        for name in ("natural", "PGD-7", "FDM", "consistency", "SimCLR"):
            make = partial(training, net, name, device, precision)
            yield Case(f"training step, {name}", net.size, make)
    for name in ("FGSM", "PGD-20", "APGD-20", "feature attack"):
        net = scale.attacked
        yield Case(f"crafting, {name}", net.size, lambda net=net, name=name: crafting(net, name, device, precision))
    net = scale.evaluated
    yield Case("AutoAttack standard", net.size, lambda net=net: evaluation(net, device))
    for net in scale.certified:
        size = net.size + f", n = {scale.samples:,}"
        yield Case("certifying an image", size, lambda net=net: certification(net, scale.samples, device))
    size = f"{scale.photographs} of 500 x 375 pixels to 224 x 224"
    yield Case("decoding photographs", size, lambda: decoding(scale.photographs, threads, device))


# ---- training ------------------------------------------------------------------------------------------------------

PGD_7 = Pgd(algorithm="pgd", eps=EPS, steps=7, step_size=EPS / 4, random_start=True)
FDM = FeatureDistance(weight=0.005, units=3)
CONSISTENCY = Consistency(copies=2, weight=5, entropy=0.5)
SIGMA = 0.25
SIMCLR = Contrastive(temperature=0.5, strength=0.5)
RECIPES: dict[str, tuple[Inputs, Terms]] = {
    "natural": (Inputs(), Terms()),
    "PGD-7": (Inputs(attack=PGD_7, clean_weight=0), Terms()),
    "FDM": (Inputs(attack=PGD_7, clean_weight=0.5), Terms(feature_distance=FDM)),
    "consistency": (Inputs(noise=SIGMA), Terms(consistency=CONSISTENCY)),
    "SimCLR": (Inputs(), Terms(contrastive=SIMCLR)),
}
LR, WEIGHT_DECAY = 0.01, 5e-4


def training(net: Net, name: str, device: torch.device, precision: Precision = "float32") -> Sides:
    """An iteration: augmentation or attack, loss, gradients, step. The result is the loss."""
    network = new(net, device)
    if name == "SimCLR":
        network.head = projection_head(network.width).to(device)
    images, labels = digits(net.side, net.batch, device)
    ours, theirs = copy.deepcopy(network), {TEXTBOOK: copy.deepcopy(network)}
    if name == "PGD-7":
        theirs[ADVERTORCH] = copy.deepcopy(network)
    calls = {OURS: our_step(ours, net, name, images, labels, precision)}
    for peer, model in theirs.items():
        attack = textbook.pgd(model, EPS, 7, EPS / 4)
        if peer == ADVERTORCH:
            attack = in_evaluation(model, LinfPGDAttack(model, eps=EPS, nb_iter=7, eps_iter=EPS / 4).perturb)
        loss = their_loss(model, name, images, labels, attack)
        calls[peer] = textbook.training_step(model, loss, LR, WEIGHT_DECAY)
    return Sides(calls, float)


def our_step(
    network: Classifier, net: Net, name: str, images: Tensor, labels: Tensor, precision: Precision
) -> Callable[[], Tensor]:
    """What training/loop.py does in an iteration."""
    inputs, terms = RECIPES[name]
    schedule = Schedule(iterations=1, batch_size=max(2, net.batch), lr=LR, weight_decay=WEIGHT_DECAY, flip=True)
    recipe = Recipe(network=net.spec, inputs=inputs, terms=terms, schedule=schedule)
    freeze_but(network, "all")
    objective = Objective(network, recipe, in_eval=[])
    optimiser = _optimiser(list(network.parameters()), schedule)
    indices = torch.arange(len(images))

    def step() -> Tensor:
        with as_in_a_node(images.device, precision), fast_on_few_pixels(network):
            loss = objective(images, labels, indices)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            objective.after_backward()
            optimiser.step()
        return loss.detach()

    return step


def their_loss(
    model: Classifier, name: str, images: Tensor, labels: Tensor, attack: textbook.Attack
) -> Callable[[], Tensor]:
    """The same loss, as textbook.py has it."""
    if name == "natural":
        return lambda: textbook.natural_loss(model, images, labels)
    if name == "PGD-7":
        return lambda: textbook.adversarial_loss(model, images, labels, attack)
    if name == "FDM":
        unit = model.units()[FDM.units - 1]
        return lambda: textbook.fdm_loss(model, images, labels, attack, unit, FDM.weight)
    if name == "consistency":
        term = CONSISTENCY
        return lambda: textbook.consistency_loss(model, images, labels, term.copies, SIGMA, term.weight, term.entropy)
    view = textbook.simclr_views(images.shape[-1], SIMCLR.strength)
    return lambda: textbook.simclr_loss(model, images, view, SIMCLR.temperature)


def in_evaluation(model: nn.Module, attack: textbook.Attack) -> textbook.Attack:
    """An attack on the model in evaluation mode, which is then put back into training mode."""

    def run(images: Tensor, labels: Tensor) -> Tensor:
        model.eval()
        found = attack(images, labels)
        model.train()
        return found

    return run


# ---- crafting and evaluating ---------------------------------------------------------------------------------------


def crafting(net: Net, name: str, device: torch.device, precision: Precision = "float32") -> Sides:
    """Adversarial examples of a batch. The result is the mean loss that they reach, of the feature attack its own."""
    model = trained(net, device)
    images, labels = digits(net.side, net.batch, device)
    spec = {
        "FGSM": Fgsm(algorithm="fgsm", eps=EPS),
        "PGD-20": Pgd(algorithm="pgd", eps=EPS, steps=20, step_size=EPS / 4, random_start=True),
        "APGD-20": Apgd(algorithm="apgd", eps=EPS, steps=20),
        "feature attack": FeatureAttack(algorithm="feature", eps=EPS, steps=20, step_size=EPS / 4),
    }[name]
    attacked = spec.view(model)
    calls = {OURS: our_attack(attacked, spec, images, labels, precision)}
    calls |= {
        peer: lambda attack=attack: attack(images, labels) for peer, attack in peers_of(name, spec, attacked).items()
    }

    @torch.no_grad()
    def reached(found: Tensor) -> float:
        if float((found - images).abs().max()) > EPS + 1e-6 or found.min() < 0 or found.max() > 1:
            raise RuntimeError(f"{name}: a side left the budget")
        if isinstance(spec, FeatureAttack):
            return float(spec.loss_of(attacked(found)).mean())
        return float(F.cross_entropy(model(found), labels))

    return Sides(calls, reached)


def our_attack(
    model: nn.Module, spec: Attack, images: Tensor, labels: Tensor, precision: Precision = "float32"
) -> Callable[[], Tensor]:
    """An attack as `craft` runs it on each batch, on a copy that is made ready once."""
    ready = attack_ready(model, sample=images)

    def run() -> Tensor:
        with as_in_a_node(images.device, precision):
            return spec.perturb(ready, images, labels, seed=0)

    return run


def peers_of(name: str, spec: Any, model: nn.Module) -> dict[str, textbook.Attack]:
    """The same attack in each library that has it and is installed, on the plain model, as its manual shows it."""
    found: dict[str, textbook.Attack] = {}
    eps, steps, step = EPS, getattr(spec, "steps", 1), getattr(spec, "step_size", EPS)
    if name == "FGSM":
        found[ADVERTORCH] = GradientSignAttack(model, eps=eps).perturb
    elif name == "PGD-20":
        found[ADVERTORCH] = LinfPGDAttack(model, eps=eps, nb_iter=steps, eps_iter=step).perturb
    elif name == "feature attack":

        def away(features: Tensor, _: Tensor) -> Tensor:
            return -spec.loss_of(features).sum()

        found[ADVERTORCH] = LinfPGDAttack(model, loss_fn=away, eps=eps, nb_iter=steps, eps_iter=step).perturb
    else:
        from pyautoattack.autopgd_base import APGDAttack

        apgd = APGDAttack(model, n_iter=steps, norm="Linf", n_restarts=1, eps=eps, seed=0, loss="ce", logger=quiet())
        found[AUTOATTACK] = lambda x, y: apgd.perturb(x, y, best_loss=True)
    if find_spec("torchattacks"):
        import torchattacks

        if name == "FGSM":
            found[TORCHATTACKS] = torchattacks.FGSM(model, eps=eps)
        elif name == "PGD-20":
            found[TORCHATTACKS] = torchattacks.PGD(model, eps=eps, alpha=step, steps=steps)
        # Its APGD leaves out images that are wrong already: less work.
    if find_spec("foolbox"):
        import foolbox

        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
        if name == "FGSM":
            one = foolbox.attacks.LinfFastGradientAttack()
            found[FOOLBOX] = lambda x, y: one(wrapped, x, y, epsilons=eps)[1]
        elif name == "PGD-20":
            many = foolbox.attacks.LinfPGD(steps=steps, abs_stepsize=step)
            found[FOOLBOX] = lambda x, y: many(wrapped, x, y, epsilons=eps)[1]
    return found


def missing() -> list[str]:
    """The libraries that are not installed here."""
    return [name for name in (TORCHATTACKS, FOOLBOX) if not find_spec(name)]


def evaluation(net: Net, device: torch.device) -> Sides:
    """AutoAttack of a batch. The result is the robust accuracy in per cent."""
    from pyautoattack import AutoAttack as TheirDriver

    model = trained(net, device)
    images, labels = digits(net.side, net.batch, device)
    eps = EPS / 2
    driver = TheirDriver(model, norm="Linf", eps=eps, version="standard", seed=0, device=device)
    driver.verbose = False
    calls = {
        OURS: our_attack(model, AutoAttack(algorithm="autoattack", eps=eps), images, labels),
        AUTOATTACK: lambda: driver.run_standard_evaluation(images, labels, batch_size=len(images))[0],
    }

    @torch.no_grad()
    def robust(found: Tensor) -> float:
        return 100 * float((model(found).argmax(1) == labels).float().mean())

    return Sides(calls, robust)


def certification(net: Net, samples: int, device: torch.device) -> Sides:
    """The certificate of an image, batches of the net's size. The result is the radius."""
    model = trained(net, device)
    images, _ = digits(net.side, 1, device)
    smoothing = Smoothing(sigma=0.12, n0=100, n=samples)
    ready = attack_ready(model, sample=images)

    def ours() -> float:
        with as_in_a_node(device, "float32"):
            return certify(ready, images[0], smoothing, seed=0, index=0, batch=net.batch).radius

    settings = {"sigma": smoothing.sigma, "n0": smoothing.n0, "n": samples, "alpha": smoothing.alpha}
    theirs = lambda: textbook.certified_radius(model, images[0], CLASSES, **settings, batch=net.batch)  # noqa: E731
    return Sides({OURS: ours, TEXTBOOK: theirs}, float)


# ---- decoding ------------------------------------------------------------------------------------------------------


def decoding(count: int, threads: int, device: torch.device) -> Sides:
    """Random crops, mirrored half of the time, as pixels on the device, of a folder of JPEG files; ours also compares
    each file's sha256. Our threads against as many of their worker processes. The result is the mean pixel.
    """
    import torchvision
    from torchvision.transforms import v2

    kept = tempfile.TemporaryDirectory()
    files = photographs(Path(kept.name), count)
    labels = np.array([int(file.parent.name) for file in files])
    none = np.array([], dtype=object), np.array([], dtype=np.int64)
    packed = Path(kept.name) / "packed.safetensors"
    splits = {"train": (np.array(files, dtype=object), labels), "validation": none, "test": none}
    pack.pack(packed, splits, ["0", "1"], 224, 256, threads, below=Path(kept.name))
    torch.set_num_threads(threads)
    part = tensors.load(packed, device=device, data_root=Path(kept.name)).train
    batch = min(64, count)
    steps = [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), v2.PILToTensor(), v2.ToDtype(torch.float32, True)]
    theirs = torch.utils.data.DataLoader(
        torchvision.datasets.ImageFolder(str(files[0].parents[1]), v2.Compose(steps)),
        batch,
        shuffle=True,
        num_workers=threads,
        persistent_workers=True,
    )

    def mean(batches: Iterator[Tensor]) -> float:
        kept.name  # noqa: B018 (the folder lives as long as what reads it)
        return float(torch.stack([each.mean() for each in batches]).mean())

    calls = {
        OURS: lambda: mean(part.cropped([(index, index) for index in range(count)], batch, flip=True)),
        TORCHVISION: lambda: mean(images.to(device) for images, _ in theirs),
    }
    return Sides(calls, float)


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEG files of 500 x 375 pixels in two classes: parts of scikit-learn's two photographs."""
    draw = np.random.default_rng(0)
    files = []
    for number in range(count):
        whole = load_sample_images().images[number % 2]
        top, left = draw.integers(0, whole.shape[0] - 375), draw.integers(0, whole.shape[1] - 500)
        content = io.BytesIO()
        Image.fromarray(whole[top : top + 375, left : left + 500]).save(content, "JPEG", quality=90)
        files.append(folder / "images" / str(number % 2) / f"{number}.jpg")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_bytes(content.getvalue())
    return files


# ---- what cases share ----------------------------------------------------------------------------------------------


@contextmanager
def as_in_a_node(device: torch.device, precision: Precision) -> Iterator[None]:
    """For a while, what run/nodes.py asks for: deterministic kernels on a GPU, and a precision. The other sides do
    without the first, and have of the second what torch takes by itself.
    """
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True)
    try:
        with computing_in(precision):
            yield
    finally:
        torch.use_deterministic_algorithms(False)


def quiet():
    import logging

    return logging.getLogger("bench.quiet")


def new(net: Net, device: torch.device) -> Classifier:
    """The network with weights of seed 0."""
    torch.manual_seed(0)
    return net.spec.build(3, CLASSES).to(device)


@cache
def digits(side: int, count: int, device: torch.device, begin: int = 0) -> tuple[Tensor, Tensor]:
    """Some of scikit-learn's digits, scaled up: N x 3 x side x side pixels in [0, 1], and labels."""
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))[begin : begin + count]
    images = torch.tensor(bunch.images / 16, dtype=torch.float32)[order, None]
    images = F.interpolate(images, size=(side, side), mode="bilinear").clamp(0, 1).expand(-1, 3, -1, -1)
    return images.contiguous().to(device), torch.tensor(bunch.target)[order].to(device)


@cache
def trained(net: Net, device: torch.device) -> Classifier:
    """The network after a moment of training on digits, in evaluation mode: fewer steps for larger images."""
    network = new(net, device)
    steps, batch = (200, 64) if net.side < 32 else (60, 32) if net.side < 224 else (16, 8)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    images, labels = digits(net.side, steps * batch if net.side < 32 else min(1500, steps * batch), device, begin=256)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(images), (batch,), generator=generator).to(device)
        optimiser.zero_grad()
        F.cross_entropy(network(images[chosen]), labels[chosen]).backward()
        optimiser.step()
    return network.eval()
