"""What attacks end with: images pulled back into their budget, and of several the worst case for each image."""

import torch
from torch import Tensor, nn

from robust_transfer.attacks.losses import log_odds
from robust_transfer.precision import exactly
from robust_transfer.specs.attacks import Attack


class Worst:
    """Image by image the worst case so far: one that is predicted wrong, and among equals the one of highest loss.

    images: N x C x H x W, those kept by now. wrong: N bool, whether they are predicted wrong. loss: N, log odds.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor):
        self.model, self.labels = model, labels
        self.images = images.clone()
        self.wrong, self.loss = self._outcome(images, labels)

    def keep_worse(self, others: Tensor, indices: Tensor) -> None:
        """Keep those of M other images, for the images at M indices (int64), that are worse."""
        wrong, loss = self._outcome(others, self.labels[indices])
        was_wrong = self.wrong[indices]
        better = (wrong & ~was_wrong) | ((wrong == was_wrong) & (loss > self.loss[indices]))
        worse_at = indices[better]
        self.images[worse_at], self.wrong[worse_at], self.loss[worse_at] = others[better], wrong[better], loss[better]

    @torch.no_grad()
    def _outcome(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with exactly():
            logits = self.model(images).double()
        return logits.argmax(1) != labels, log_odds(logits, labels)


def within(adversarial: Tensor, images: Tensor, attack: Attack) -> Tensor:
    """Float32 images pulled back into the ball, exactly: in double precision, then rounded inwards."""
    centre = images.double()
    offset = adversarial.double() - centre
    if attack.norm == "linf":
        offset = offset.clamp(-attack.eps, attack.eps)
    else:
        length = torch.linalg.vector_norm(offset, dim=(1, 2, 3), keepdim=True)
        offset = offset * (attack.eps / length.clamp(min=attack.eps))
    inside = (centre + offset).float()
    too_far = (inside.double() - centre).abs() > offset.abs()
    return torch.where(too_far, torch.nextafter(inside, images), inside)
