"""Any network of timm, transformers included. timm is an optional dependency."""

import difflib
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue

from robust_transfer.errors import UserError
from robust_transfer.specs.networks import Network, Normalise

if TYPE_CHECKING:
    from torch import nn

    from robust_transfer.models.classifier import Classifier

OURS = ("num_classes", "in_chans", "features_only", "checkpoint_path", "cache_dir", "pretrained", "pretrained_cfg")
"""Arguments of timm.create_model that a spec must not set: the data set, or a `bring` node, decides them."""


def _without_ours(options: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if taken := [name for name in options if name in OURS]:
        raise ValueError(f"{taken[0]} is set by the pipeline; take it away (weights are brought from a file)")
    if options.get("global_pool", "avg") in ("", None):
        raise ValueError("global_pool: the head wants one value a feature and image; write avg, or leave it out")
    return options


class TimmNet(Network):
    """A network of timm's, newly initialised as timm does, or brought with the weights of a file of timm's.

    Blocks and stages are timm's own groups of layers (its fine and coarse `group_matcher`, of the layer-wise learning
    rates). A transformer's block is a block, and in a ViT a stage as well. The last block has with it all that stands
    between it and the features (a last norm, a 1x1 convolution); units are the head and the blocks. Patch and position
    embedding, class token and what else belongs to no block train only where all does. A network that timm does not
    divide is one block. How many there are is known when the network is built, not in planning.

    What brought weights expect has to be written in `normalise`; timm's numbers are often those of ImageNet.
    """

    family: Literal["timm"]
    name: Annotated[str, Field(pattern="^[a-z0-9_]+$")]
    """timm's name of it, without the tag of pretrained weights."""
    options: Annotated[dict[str, JsonValue], AfterValidator(_without_ours)] = {}  # noqa: RUF012 (pydantic copies it)
    """Further arguments of timm.create_model, like {img_size: 32, patch_size: 4}: a ViT takes one size of images."""

    @property
    def stages(self) -> float:
        return math.inf

    @property
    def blocks(self) -> float:
        return math.inf

    @property
    def units(self) -> float:
        return math.inf

    @property
    def slug(self) -> str:
        return self.name

    def build(self, channels: int, classes: int) -> "Classifier":
        """Initialised as timm does, but for the head, which is PyTorch's.

        Raises:
            UserError: where timm is missing, has no such network, or cannot build it with these options.
        """
        from robust_transfer.models.normalise import normaliser

        return _classifier()(self, normaliser(self.normalise, channels), partial(self._model, channels), classes)

    def names(self, theirs: Collection[str]) -> dict[str, str]:
        """The names of a state dict's tensors, timm's or ours -> ours.

        Raises:
            UserError: where timm is missing, or has no such network.
        """
        if any(name.startswith("model.") for name in theirs):
            return {name: name for name in theirs}
        head = f"{self._pretrained().classifier}."
        return {
            name: f"head.{name.removeprefix(head)}" if name.startswith(head) else f"model.{name}" for name in theirs
        }

    def usual_normalise(self) -> Normalise:
        """What timm's own weights of it expect.

        Raises:
            UserError: where timm is missing, or has no such network.
        """
        pretrained = self._pretrained()
        return Normalise(mean=list(pretrained.mean), std=list(pretrained.std))

    def _pretrained(self) -> Any:
        """What timm says of its own weights."""
        timm = _timm()
        if not timm.is_model(self.name):
            close = difflib.get_close_matches(self.name, timm.list_models(), n=1)
            raise UserError(f"timm has no network {self.name!r}" + (f" (did you mean {close[0]}?)" if close else ""))
        return timm.get_pretrained_cfg(self.name)

    def _model(self, channels: int) -> "nn.Module":
        """The network without its head: N x C x H x W -> N x width."""
        self._pretrained()
        try:
            return _timm().create_model(self.name, num_classes=0, in_chans=channels, **self.options)
        except Exception as error:  # wrong options may fail in any way
            raise UserError(f"timm cannot build {self.name} with the options {self.options}: {error}") from None


class Part:
    """Modules that train or freeze as one, and stand elsewhere in the network: a block, or a stage of blocks.

    members: in the order in which the images pass. output: the module whose output is the part's.
    """

    def __init__(self, members: list[Any], output: "nn.Module"):
        self.members, self.output = members, output

    def __iter__(self) -> Iterator[Any]:
        return iter(self.members)

    def modules(self) -> Iterator["nn.Module"]:
        """All of them, at any depth."""
        return (module for member in self.members for module in member.modules())

    def register_forward_hook(self, hook: Callable, **how: bool) -> Any:
        """As a module's: called with what comes out of the part."""
        return self.output.register_forward_hook(hook, **how)

    def register_forward_pre_hook(self, hook: Callable) -> Any:
        """As a module's: called with what goes into the part."""
        return self.members[0].register_forward_pre_hook(hook)


def parts_of(model: Any) -> list[Part]:
    """The stages of a network of timm's, each of blocks."""
    fine, last = _groups(model, coarse=False)
    coarse, _ = _groups(model, coarse=True)
    outputs = _largest(model, coarse)
    blocks = _largest(model, {name: min(group, last) for name, group in fine.items()})
    stages: dict[int, list[Part]] = defaultdict(list)
    stage_of = {fine[name]: coarse[name] for name in reversed(fine)}
    for group in sorted(blocks.keys() - {0}):
        stages[stage_of[group]].append(Part(blocks[group], blocks[group][-1]))
    return [Part(parts, (outputs[stage] or [parts[-1].output])[-1]) for stage, parts in stages.items()]


def _groups(model: Any, coarse: bool) -> tuple[dict[str, int], int]:
    """{parameter: its group}, 0 being the stem, and the group of the last block; what follows that has a higher one."""
    from timm.models import group_parameters

    if not hasattr(model, "group_matcher"):
        return dict.fromkeys(dict(model.named_parameters()), 1), 1
    follows = "what no pattern of timm's knows"
    named: Any = SimpleNamespace(named_parameters=lambda: [*model.named_parameters(), (follows, None)])
    groups = group_parameters(named, model.group_matcher(coarse=coarse), reverse=True)
    return groups, groups.pop(follows) - 1


def _largest(model: "nn.Module", group_of: Mapping[str, int]) -> dict[int, list["nn.Module"]]:
    """For each group the largest modules whose parameters are all of that group."""
    found = defaultdict(list)

    def visit(module: "nn.Module", path: str) -> None:
        groups = {group_of[path + name] for name, _ in module.named_parameters()}
        if len(groups) == 1:
            found[groups.pop()].append(module)
            return
        for name, child in module.named_children():
            visit(child, f"{path}{name}.")

    visit(model, "")
    return found


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        raise UserError("a network of the family timm is wanted, and timm is not installed: pip install timm") from None
    return timm


@cache
def _classifier() -> "Callable[[TimmNet, nn.Module, Callable[[], nn.Module], int], Classifier]":
    """The class of timm's networks in this project's shape."""
    import torch
    from torch import Tensor, nn

    from robust_transfer.models.classifier import Classifier, Observed

    class TimmClassifier(Classifier):
        """A Classifier whose features a network of timm's computes as a whole; its stages name parts of that.

        new_model: makes the network without its head.
        """

        def __init__(self, spec: TimmNet, normalise: nn.Module, new_model: Callable[[], nn.Module], classes: int):
            model: Any = new_model()
            stages, nothing = parts_of(model), nn.Identity()
            super().__init__(normalise, nothing, stages, nothing, model.head_hidden_size, classes, lambda module: None)
            self.model, self.spec, self.new_model = model, spec, new_model
            # Whether the stages' outputs are N x H x W x C, as Swin has them.
            self.channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
            for stage in stages:
                stage.register_forward_hook(self._drop)

        def features(self, images: Tensor) -> Tensor:
            """N x C x H x W pixels in [0, 1] -> N x width features before timm's head.

            Raises:
                UserError: where the network takes images of another size.
            """
            try:
                return self.model(self.normalise(images))
            except AssertionError as error:
                raise UserError(
                    f"timm's {self.spec.name} cannot take images of {tuple(images.shape[1:])}: {error}; set img_size "
                    "in the network's options"
                ) from None

        def observe(self, images: Tensor, unit: int | None = None) -> Observed:
            """As of every Classifier; where a part hands several tensors on, all their elements as N x elements."""
            seen = super().observe(images, unit)
            return replace(seen, stages=[_joined(each) for each in seen.stages], unit_input=_joined(seen.unit_input))

        def _drop(self, module: nn.Module, inputs: tuple, output: Any) -> Any:
            """A hook, bound to this network, so that its copies have their own."""
            if not (self.training and self.dropout):
                return output
            if isinstance(output, list | tuple):
                return [self._drop(module, inputs, each) for each in output]
            if output.ndim == 4 and not self.channels_last:
                return self._dropped(output)
            places = output.reshape(len(output), -1, output.shape[-1])
            return self._dropped(places.mT[..., None])[..., 0].mT.reshape(output.shape)

        def start_anew(self, modules: Iterable[nn.Module]) -> None:
            """The layers take over what a new network has: timm has rules for whole networks only."""
            chosen = set(modules)
            super().start_anew(module for module in self.head.modules() if module in chosen)
            new = self.new_model()
            for name, module in self.model.named_modules():
                if module in chosen:
                    module.load_state_dict(new.get_submodule(name).state_dict())

    def _joined(given: Any) -> Any:
        several = isinstance(given, list | tuple)
        return torch.cat([each.flatten(1) for each in given], 1) if several else given

    return TimmClassifier
