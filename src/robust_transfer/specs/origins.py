"""Where the weights of a network that was trained elsewhere come from."""

from typing import Annotated

from pydantic import Field, model_validator

from robust_transfer.specs.fields import Spec

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Origin(Spec):
    """Weights that were trained elsewhere: by their published name, or a file and its sha256."""

    weights: str | None = None
    """The name by which the network's own library (torchvision, timm) has them."""
    file: str | None = None
    """A state dict below data_root/weights, with that library's keys or ours."""
    sha256: Sha256 | None = None
    """SHA-256 of the file."""

    @model_validator(mode="after")
    def _one_origin(self):
        if (self.weights is None) == (self.file is None):
            raise ValueError("weights: give either the published name of the weights, or file and sha256")
        if (self.file is None) != (self.sha256 is None):
            raise ValueError("sha256: file and sha256 go together")
        return self
