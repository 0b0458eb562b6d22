"""Where the weights of a network that was trained elsewhere come from."""

from typing import Annotated

from pydantic import Field, model_validator

from robust_transfer.specs.fields import Spec

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Origin(Spec):
    """Weights that were trained elsewhere: by their published name, or in a file."""

    weights: str | None = None
    """The name by which the network's own library (torchvision) has them."""
    file: str | None = None
    """A checkpoint below data_root/weights, or by its whole path, in one of the layouts of docs/bring.md; with hub, a
    file of that repository.
    """
    hub: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")] | None = None
    """A repository of the Hugging Face hub that has the file, like madrylab/robust-imagenet-models; it is fetched where
    it is not there yet.
    """
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    """The commit of that repository, 40 hex digits: a branch would move."""
    entry: str | None = None
    """Which of several state dicts in the file, like model_ema."""
    sha256: Sha256 | None = None
    """SHA-256 of the file; unless given, that in weights.lock, and without both that of the file as a plan finds it."""

    @model_validator(mode="after")
    def _one_origin(self):
        if (self.weights is None) == (self.file is None):
            raise ValueError("weights: give either the published name of the weights, or a file")
        self._of_a_file()
        return self

    @property
    def path(self) -> str | None:
        """Where the file lies below data_root/weights; a whole path as it is."""
        if self.hub and self.file:
            return f"hub/{self.hub.replace('/', '--')}/{self.revision}/{self.file}"
        return self.file

    def _of_a_file(self) -> None:
        for name in ("sha256", "entry", "hub"):
            if getattr(self, name) is not None and self.file is None:
                raise ValueError(f"{name}: it belongs to a file; give file")
        if (self.hub is None) != (self.revision is None):
            raise ValueError("revision: hub and revision go together; give the repository and its commit")
