"""What ours is measured against where no library has it: plain PyTorch, written from the papers."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from scipy.stats import beta, norm
from torch import Tensor, nn
from torchvision.transforms import v2

Attack = Callable[[Tensor, Tensor], Tensor]
"""N x C x H x W pixels in [0, 1] and N labels -> adversarial pixels."""


def pgd(model: nn.Module, eps: float, steps: int, step_size: float) -> Attack:
    """Projected gradient steps from a random start in the linf ball (Madry et al. 2018), on the model in eval mode."""

    def attack(images: Tensor, labels: Tensor) -> Tensor:
        training = model.training
        model.eval()
        found = (images + torch.empty_like(images).uniform_(-eps, eps)).clamp(0, 1)
        for _ in range(steps):
            found.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(found), labels), found)
            found = found.detach() + step_size * gradient.sign()
            found = torch.min(torch.max(found, images - eps), images + eps).clamp(0, 1)
        model.train(training)
        return found

    return attack


def natural_loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy on clean images."""
    return F.cross_entropy(model(images), labels)


def adversarial_loss(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack) -> Tensor:
    """Cross entropy on adversarial images alone (Madry et al. 2018)."""
    return F.cross_entropy(model(attack(images, labels)), labels)


def fdm_loss(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, unit: nn.Module, weight: float
) -> Tensor:
    """Feature distance minimisation (Chen et al. 2021, Eq. 10): cross entropies of clean and adversarial images, half
    each, and how far apart what goes into `unit` lies, by the root of its dimension, summed over the images.
    """
    inputs: list[Tensor] = []
    adversarial = attack(images, labels)
    hook = unit.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    clean_logits, adversarial_logits = model(images), model(adversarial)
    hook.remove()
    difference = (inputs[0] - inputs[1]).flatten(1)
    distance = (difference.norm(dim=1) / difference.shape[1] ** 0.5).sum()
    return (F.cross_entropy(clean_logits, labels) + F.cross_entropy(adversarial_logits, labels)) / 2 + weight * distance


def consistency_loss(
    model: nn.Module, images: Tensor, labels: Tensor, copies: int, sigma: float, weight: float, entropy: float
) -> Tensor:
    """Consistency regularisation (Jeong & Shin 2020, Eq. 8): noisy copies of each image, which are to agree."""
    noisy = torch.cat([images + sigma * torch.randn_like(images) for _ in range(copies)])
    logits = model(noisy)
    predictions = [part.softmax(1) for part in logits.chunk(copies)]
    mean = sum(predictions) / copies
    divergence = sum((mean * (mean.log() - each.log())).sum(1) for each in predictions) / copies
    uncertainty = -(mean * mean.log()).sum(1)
    fit = F.cross_entropy(logits, labels.repeat(copies))
    return fit + (weight * divergence + entropy * uncertainty).mean()


def simclr_views(side: int, strength: float) -> v2.Transform:
    """A random view of one image (Chen et al. 2020, appendix A), by torchvision; blurred if it is a photograph."""
    jitter = v2.ColorJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)
    steps = [
        v2.RandomResizedCrop(side, antialias=False),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([jitter], 0.8),
        v2.RandomGrayscale(0.2),
    ]
    blur = side // 20 * 2 + 1
    return v2.Compose(steps + ([v2.RandomApply([v2.GaussianBlur(blur, (0.1, 2.0))], 0.5)] if side > 32 else []))


def simclr_loss(model: nn.Module, images: Tensor, view: v2.Transform, temperature: float) -> Tensor:
    """Two views of each image, drawn image by image, and the NT-Xent loss (Chen et al. 2020, algorithm 1)."""
    views = torch.stack([view(image) for image in images] + [view(image) for image in images])
    projected = F.normalize(model(views))
    similarity = projected @ projected.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    count = len(images)
    partner = torch.cat([torch.arange(count, 2 * count), torch.arange(count)]).to(images.device)
    return F.cross_entropy(similarity, partner)


def training_step(
    model: nn.Module, loss_of: Callable[[], Tensor], lr: float, weight_decay: float
) -> Callable[[], Tensor]:
    """One iteration of SGD with momentum, to be called again and again; gives the loss."""
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=weight_decay)

    def step() -> Tensor:
        loss = loss_of()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


@torch.no_grad()
def certified_radius(
    model: nn.Module, image: Tensor, classes: int, sigma: float, n0: int, n: int, alpha: float, batch: int
) -> float:
    """CERTIFY of Cohen et al. 2019, section 3.2.2: an image's radius, 0 where it abstains."""

    def counts(samples: int) -> Tensor:
        found = torch.zeros(classes, dtype=torch.int64, device=image.device)
        while samples > 0:
            size = min(batch, samples)
            copies = image.repeat(size, 1, 1, 1)
            predictions = model(copies + sigma * torch.randn_like(copies)).argmax(1)
            found += predictions.bincount(minlength=classes)
            samples -= size
        return found

    top = int(counts(n0).argmax())
    seen = int(counts(n)[top])
    low = float(beta.ppf(alpha, seen, n - seen + 1)) if seen else 0.0
    return sigma * float(norm.ppf(low)) if low > 0.5 else 0.0
