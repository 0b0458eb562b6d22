"""The feature attack."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from robust_transfer.errors import UserError
from robust_transfer.specs.attacks import Stepped
from robust_transfer.specs.fields import Count, NonNegative, Number, Positive, WholeNumber, in_pixels

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from robust_transfer.models.classifier import Classifier


class FeatureAttack(Stepped):
    """Projected gradient steps that drive one penultimate feature up and the others to zero (Rezaei & Liu 2020; Chin et
    al. 2020, Eq. 4). Needs a feature extractor and no labels.
    """

    algorithm: Literal["feature"]
    steps: Count
    """Gradient steps."""
    step_size: NonNegative
    """Length of a step, as eps: in pixels, or in parts of the budget: eps/4."""
    random_start: bool = True
    """Whether the steps begin at a random point of the ball."""
    space: Literal["pixels", "normalised"] = "pixels"
    """What eps and step_size are in: pixels, or units of the network's own input after its normalisation."""
    mean: Number | list[Number] = 0.0
    """With space: normalised, the mean of that normalisation (a number, or one a channel); the plan fills it in."""
    std: Positive | list[Positive] = 1.0
    """With space: normalised, the divisor of that normalisation (a number, or one a channel); the plan fills it in."""
    clip: Positive | None = None
    """With space: normalised, the bounds -clip and +clip that the network's input is cut to, whatever the budget."""
    neuron: WholeNumber = 0
    """The feature that is driven up, counted from 0."""
    value: Positive = 1000.0
    """How far it is driven: the target vector is `value` there, 0 elsewhere."""
    loss: Literal["distance", "mean_rest"] = "distance"
    """What is brought down: distance is the squared distance to the target vector; mean_rest squares the one feature's
    distance and adds a tenth of the mean square of the others, as the code of Chin et al. has it.
    """
    restarts: int = Field(1, exclude=True, ge=1, le=1)
    """Always 1."""

    _in_pixels = field_validator("mean", "std")(in_pixels)

    @model_validator(mode="after")
    def _only_what_it_can(self):
        if self.norm != "linf":
            raise ValueError("norm: the feature attack knows linf only")
        if self.labels != "true":
            raise ValueError("labels: the feature attack looks at none; leave the key out")
        if self.clip and self.space == "pixels":
            raise ValueError("clip: pixels are cut to [0, 1]; a clip is for space: normalised")
        return self

    @property
    def slug(self) -> str:
        neuron = f"-neuron{self.neuron}" if self.neuron else ""
        return f"feature{self.steps}-{self.norm}-{self.eps:.4g}{'n' * (self.space == 'normalised')}{neuron}"

    def view(self, model: "Classifier") -> "nn.Module":
        from robust_transfer.attacks.ready import FeaturesOf

        return FeaturesOf(model)

    def interval(self, clean: "Tensor") -> "tuple[Tensor, Tensor] | None":
        """A clip moves pixels beyond it by more than eps; what leaves [0, 1] is cut, as no image can hold it."""
        import torch

        from robust_transfer.attacks.budget import ONE, units

        if self.space == "pixels":
            return None
        mean, std = (_a_channel(value, clean.device, torch.float64) for value in (self.mean, self.std))
        centre = units(clean).double()
        low, high = centre - self.eps * std * ONE, centre + self.eps * std * ONE
        if self.clip:
            bounds = (mean - self.clip * std) * ONE, (mean + self.clip * std) * ONE
            low, high = (torch.minimum(torch.maximum(x, bounds[0]), bounds[1]) for x in (low, high))
        low = (low.clamp(0, ONE) - 1e-6).ceil().to(torch.int32)
        high = (high.clamp(0, ONE) + 1e-6).floor().to(torch.int32)
        return low, torch.maximum(low, high)  # a clip between two units leaves no unit in between

    def loss_of(self, features: "Tensor") -> "Tensor":
        """What the attack brings down, for N x width features: N values.

        Raises:
            UserError: where there is no such feature.
        """
        if self.neuron >= features.shape[1]:
            raise UserError(f"feature {self.neuron} is to be driven, but the network has 0 to {features.shape[1] - 1}")
        driven = (features[:, self.neuron] - self.value).square()
        rest = features.square().sum(1) - features[:, self.neuron].square()
        return driven + (0.1 * rest / (features.shape[1] - 1) if self.loss == "mean_rest" else rest)

    def perturb(
        self, model: "nn.Module", images: "Tensor", labels: "Tensor | None", *, seed: int | None = None
    ) -> "Tensor":
        """Under space: normalised the steps, the budget and the clip are those of the network's input, and what leaves
        [0, 1] in pixels is cut at the end; in pixels the result is within eps up to float32's rounding.
        """
        import torch

        from robust_transfer.attacks.advertorch_compat import LinfPGDAttack
        from robust_transfer.attacks.perturb import finite_gradients, seeded
        from robust_transfer.attacks.ready import fast_convolutions, frozen

        images = images.detach().contiguous()
        mean, std = (_a_channel(value, images.device, images.dtype) for value in (self.mean, self.std))
        normalised = self.space == "normalised"
        if normalised and self.clip:
            low, high = -self.clip, self.clip
        elif normalised:
            low, high = float(((0 - mean) / std).min()), float(((1 - mean) / std).max())
        else:
            low, high = 0.0, 1.0
        with (
            seeded(seed, images.device),
            frozen(model),
            torch.enable_grad(),
            fast_convolutions(images),
            finite_gradients(lambda x: model(x * std + mean if normalised else x)) as predict,
        ):
            attacker = LinfPGDAttack(
                predict,
                # Summed, so that an image's gradient doesn't depend on the batch it is in.
                loss_fn=lambda features, _target: self.loss_of(features).sum(),
                eps=float(self.eps),
                nb_iter=self.steps,
                eps_iter=float(self.step_size),
                rand_init=self.random_start,
                clip_min=low,
                clip_max=high,
                targeted=True,
            )
            begin = (images - mean) / std if normalised else images
            moved = attacker.perturb(begin, torch.zeros(len(images), dtype=torch.int64, device=images.device))
        return (moved * std + mean).clamp(0, 1) if normalised else moved


def _a_channel(value: float | list[float], device: "torch.device", dtype: "torch.dtype") -> "Tensor":
    """One value, or one a channel, to be spread over images."""
    import torch

    return torch.as_tensor(value, dtype=dtype, device=device).reshape(-1, 1, 1)
