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
    robustbench: str | None = None
    """A network of RobustBench's model zoo, by data set, threat model and name: cifar10/Linf/Carmon2019Unlabeled. Its
    file, robustbench/cifar10/Linf/Carmon2019Unlabeled.pt below data_root/weights, is fetched where it is not there yet.
    """
    entry: str | None = None
    """Which of several state dicts in the file, like model_ema."""
    sha256: Sha256 | None = None
    """SHA-256 of the file; unless given, that in weights.lock, and without both that of the file as a plan finds it."""

    @model_validator(mode="after")
    def _one_origin(self):
        if self.origins_given != 1:
            raise ValueError("weights: give either the published name of the weights, or a file, or robustbench")
        self._of_a_file()
        return self

    @property
    def origins_given(self) -> int:
        """How many of the three origins it names."""
        return sum(each is not None for each in (self.weights, self.file, self.robustbench))

    @property
    def is_fetched(self) -> bool:
        """Whether its file is fetched where it is not there: then it needs no sha256. A commit of the hub names
        bytes; an id on Google Drive names a file, in whose place its owner may put another.
        """
        return bool(self.hub or self.robustbench)

    @property
    def files(self) -> list[str]:
        """The file below data_root if no sha256 names its bytes: which they were, the card of who read it says."""
        return [f"weights/{self.path}"] if self.is_fetched and self.sha256 is None else []

    @property
    def path(self) -> str | None:
        """Where the file lies below data_root/weights; a whole path as it is."""
        if self.hub and self.file:
            return f"hub/{self.hub.replace('/', '--')}/{self.revision}/{self.file}"
        if self.robustbench:
            return f"robustbench/{self.robustbench}.pt"
        return self.file

    def _of_a_file(self) -> None:
        if self.robustbench:
            from robust_transfer.models import zoo  # which parses networks

            try:
                known = zoo.entry(self.robustbench)
            except ValueError as error:
                raise ValueError(f"robustbench: {error}") from None
            if self.entry not in (None, known.entry):
                raise ValueError("entry: RobustBench says which state dict of its file it takes; take entry away")
        for name in ("sha256", "entry", "hub"):
            of_a_file = self.file or (self.robustbench and name != "hub")
            if getattr(self, name) is not None and not of_a_file:
                raise ValueError(f"{name}: it belongs to a file; give file")
        if self.hub and self.file and (self.file.startswith("/") or ".." in self.file.split("/")):
            raise ValueError("file: with hub it is a file of the repository; write its path there")
        if (self.hub is None) != (self.revision is None):
            raise ValueError("revision: hub and revision go together; give the repository and its commit")
