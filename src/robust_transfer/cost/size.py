"""What one image costs a network, in numbers; `networks` has those of each, and `counting` counts them."""

from dataclasses import dataclass

from robust_transfer.specs.parts import Trainable

CLASSES = 10
"""Of the head with which networks are counted."""


@dataclass(frozen=True)
class Size:
    """Of a network for images of one size, each number for one image unless it says otherwise.

    flops: floating-point operations of a pass forward, a multiplication and an addition being two. operations: tensor
    operations of a pass forward, of however many images. moved: values that these write. kept: bytes that are kept for
    the way back to the weights. kept_frozen: bytes for the way back to the pixels alone. largest: bytes of the largest
    tensor on the way. parameters: values in weights and statistics, of any number of images, with a head for CLASSES.
    width: penultimate features. before: for each stage, the share of the operations that comes before each of its
    blocks. has_tail: whether the part after the last block is a unit of its own.
    """

    flops: float
    operations: int
    moved: float
    kept: float
    kept_frozen: float
    largest: float
    parameters: int
    width: int
    before: list[list[float]]
    has_tail: bool

    def passing(self, back: bool, learn: bool = False) -> float:
        """Bytes that an image takes while it passes, with what is kept for the way back to the pixels, or to the
        weights.
        """
        kept = self.kept if learn else self.kept_frozen if back else 0.0
        return kept + 3 * self.largest

    def trained(self, trainable: Trainable) -> float:
        """The share of a pass through which gradients for the weights go back, where so much of the network trains."""
        if trainable == "all":
            return 1.0
        if trainable == "head":
            return 0.0
        starts = [share for stage in self.before for share in stage]
        if trainable.of == "stages":
            starts = [stage[0] for stage in self.before]
        count = trainable.last - (1 + self.has_tail) * (trainable.of == "units")
        return 1 - starts[max(0, len(starts) - count)] if count > 0 else 0.0
