"""How fast attacks are: PGD-7 here, in stock advertorch, in torchattacks and in foolbox, at equal strength.

A CIFAR ResNet-18 is trained for a moment on scikit-learn's digits, scaled up to 32 x 32. Then each library attacks
the same batches in turn, in one process, on all threads; ratios of time are taken within a batch. On a busy machine
they vary by a tenth and more. Stock advertorch, torchattacks and foolbox get the plain model in evaluation mode, as
their manuals show.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision
from sklearn.datasets import load_digits
from torch import Tensor, nn

from robust_transfer.attacks.advertorch_compat import LinfPGDAttack
from robust_transfer.attacks.perturb import perturb
from robust_transfer.attacks.ready import attack_ready
from robust_transfer.plan.specs import Pgd
from robust_transfer.provenance import machine

# Chosen so that about half of the images withstand the attack.
EPS, STEP, STEPS = 16 / 255, 4 / 255, 7
BATCH, ROUNDS, TRAINING_STEPS = 32, 8, 80
OURS, STOCK = "robust-transfer", "advertorch stock"


def measure() -> list[dict]:
    """Examples a second, robust accuracy and the ratios of time, each with name, value, unit, about and machine."""
    torch.manual_seed(0)
    images, labels = digits()
    held_out = BATCH * (ROUNDS + 1)
    model = trained(images[held_out:], labels[held_out:])
    with torch.no_grad():
        clean = (model(images[:held_out]).argmax(1) == labels[:held_out]).double().mean().item()

    attacks = attackers(model)
    seconds: dict[str, list[float]] = {name: [] for name in attacks}
    robust: dict[str, list[bool]] = {name: [] for name in attacks}
    for number, (x, y) in enumerate(zip(images[:held_out].split(BATCH), labels[:held_out].split(BATCH), strict=True)):
        for name, attack in attacks.items():
            started = time.perf_counter()
            adversarial = attack(x, y)
            taken = time.perf_counter() - started
            if (adversarial - x).abs().max() > EPS + 1e-6 or adversarial.min() < 0 or adversarial.max() > 1:
                raise RuntimeError(f"{name} left its budget")
            if number:  # the first batch warms up
                seconds[name].append(taken)
                with torch.no_grad():
                    robust[name] += (model(adversarial).argmax(1) == y).tolist()

    about = f"PGD-{STEPS} linf 16/255, CIFAR ResNet-18, batches of {BATCH}, {torch.get_num_threads()} threads"
    here = machine() | {"threads": torch.get_num_threads(), "torch": torch.__version__}
    rows = [("clean accuracy", 100 * clean, "%")]
    for name, times in seconds.items():
        rows.append((f"{name}: speed", BATCH / statistics.median(times), "examples/s"))
        rows.append((f"{name}: robust accuracy", 100 * statistics.mean(robust[name]), "%"))
    for name in seconds:
        if name != OURS:
            ratio = statistics.median(b / a for a, b in zip(seconds[OURS], seconds[name], strict=True))
            rows.append((f"speed over {name}", ratio, "times"))
    return [
        {"name": f"attacks: {name}", "value": round(value, 2), "unit": unit, "about": about, "machine": here}
        for name, value, unit in rows
    ]


def digits() -> tuple[Tensor, Tensor]:
    """The 1,797 digits in a random order: N x 3 x 32 x 32 pixels in [0, 1], and labels."""
    bunch = load_digits()
    order = torch.randperm(len(bunch.target))
    images = torch.tensor(bunch.images / 16, dtype=torch.float32)[order, None]
    images = F.interpolate(images, size=(32, 32), mode="bilinear").clamp(0, 1).expand(-1, 3, -1, -1).contiguous()
    return images, torch.tensor(bunch.target)[order]


def trained(images: Tensor, labels: Tensor) -> nn.Module:
    """torchvision's ResNet-18 with a 3x3 stem and no pooling after it, 10 classes, in evaluation mode."""
    model = torchvision.models.resnet18(num_classes=10)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(TRAINING_STEPS):
        batch = torch.randint(len(images), (BATCH,))
        optimiser.zero_grad()
        F.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimiser.step()
    return model.eval()


def attackers(model: nn.Module) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The four attacks by name; each takes images and labels and gives adversarial images."""
    import foolbox
    import torchattacks

    ready = attack_ready(model)
    spec = Pgd(algorithm="pgd", eps=EPS, steps=STEPS, step_size=STEP, random_start=True)
    stock = LinfPGDAttack(model, eps=EPS, nb_iter=STEPS, eps_iter=STEP, rand_init=True)
    other = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=STEPS, random_start=True)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    third = foolbox.attacks.LinfPGD(steps=STEPS, abs_stepsize=STEP, random_start=True)
    return {
        OURS: lambda x, y: perturb(ready, x, y, spec),
        STOCK: stock.perturb,
        "torchattacks": other,
        "foolbox": lambda x, y: third(wrapped, x, y, epsilons=EPS)[1],
    }


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=1)
