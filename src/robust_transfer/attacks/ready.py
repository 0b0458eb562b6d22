"""Models as attacks want them: in evaluation mode, without weight gradients, batch norm folded away.

Measured with PGD-7 on two AVX-512 cores, stock advertorch taken as 1.0: 1.65 to 2.2, most for deep, thin
networks. torch.compile brought no more than noise and takes a minute to start, so it is left out.
"""

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from robust_transfer.precision import as_float, autocast, exactly

if TYPE_CHECKING:
    from robust_transfer.models.classifier import Classifier


class ReadyModel(nn.Module):
    """A copy of a model for attacks; attack_ready makes it. It shares no tensor with the model.

    folded: {path of a convolution: path of the batch norm that is folded into it}.
    """

    def __init__(self, model: nn.Module, sample: Tensor | None = None):
        super().__init__()
        plain = _plain_copy(model)
        network, folded = plain, dict[str, str]()
        # A forward pass that fx cannot trace may fail in any way at all. The unfolded copy is right, if slower.
        with contextlib.suppress(Exception), exactly():
            candidate = _fold(plain)
            if sample is None or _agree(candidate[0], plain, sample):
                network, folded = candidate
        self.network = network
        self.eval().to(memory_format=torch.channels_last)
        self.folded = folded
        made = {f"{conv}.{name}" for conv in folded for name in ("weight", "bias")}
        self._copied = _tensors(plain).keys() & _tensors(network).keys() - made

    def forward(self, images: Tensor) -> Tensor:
        """What the model's forward does, in evaluation mode; float32 in any precision."""
        with autocast(images):
            logits = self.network(images)
        return as_float(logits)

    @torch.no_grad()
    def refresh(self, model: nn.Module) -> Self:
        """Take over the weights and statistics that the model of this copy has by now; returns itself.

        Costs milliseconds where a new copy costs tens, so adversarial training can do it in every iteration.
        """
        with attacking(model):
            for conv_path, bn_path in self.folded.items():
                conv, bn = model.get_submodule(conv_path), model.get_submodule(bn_path)
                mine = self.network.get_submodule(conv_path)
                assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
                mean, variance = bn.get_buffer("running_mean"), bn.get_buffer("running_var")
                weight, bias = fuse_conv_bn_weights(conv.weight, conv.bias, mean, variance, bn.eps, bn.weight, bn.bias)
                mine.get_parameter("weight").copy_(weight)
                mine.get_parameter("bias").copy_(bias)
            for path, tensor in _tensors(self.network).items():
                if path in self._copied:
                    module, _, name = path.rpartition(".")
                    tensor.copy_(getattr(model.get_submodule(module), name))
        return self


class FeaturesOf(nn.Module):
    """A classifier without its head: N x C x H x W pixels -> N x width penultimate features."""

    network: "Classifier"

    def __init__(self, network: "Classifier"):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Pixels -> features."""
        return self.network.features(images)


def attack_ready(model: nn.Module, sample: Tensor | None = None) -> ReadyModel:
    """A copy of a model with the same logits in evaluation mode (up to rounding) and fast input gradients.

    Parameters are frozen, parametrisations (spectral norm) are folded in, memory is channels last, and a batch
    norm that alone reads a convolution is folded into it. Where the forward pass cannot be traced, batch
    norms stay.

    sample: N x C x H x W pixels on the model's device. Where the folded copy's logits differ on them (a
        forward pass that depends on more than its input is traced wrongly), batch norms stay.
    """
    return ReadyModel(model, sample)


@contextlib.contextmanager
def attacking(model: nn.Module) -> Iterator[nn.Module]:
    """The model itself in evaluation mode with frozen parameters, for a while.

    Every module's mode and every parameter's requires_grad is put back as it was, after an exception too.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        # Set directly: a module may override train(), and then train() doesn't undo what eval() did.
        for module, _ in modes:
            module.training = False
        with frozen(model):
            yield model
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """The model with no parameter requiring gradients, for a while."""
    live = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in live:
            parameter.requires_grad_(False)
        yield model
    finally:
        for parameter in live:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def fast_convolutions(images: Tensor) -> Iterator[None]:
    """Convolutions may multiply in less than float32, and sum in it, for a while: in TF32 on a GPU, bfloat16 on a CPU.

    An attack follows the sign or direction of a gradient, and what it found is judged in full precision afterwards.
    With PGD-7 on CIFAR networks this is 1.3 to 1.4 times as fast on processors with bfloat16 units; others, and small
    images, gain nothing and are left alone.
    """
    small = not images.is_cuda and images.shape[-2] * images.shape[-1] < 256
    backend: Any = torch.backends.cudnn if images.is_cuda else torch.backends.mkldnn
    convolutions = backend.conv
    before = convolutions.fp32_precision
    try:
        if not small:
            convolutions.fp32_precision = "tf32" if images.is_cuda else "bf16"
        yield
    finally:
        convolutions.fp32_precision = before


def _plain_copy(model: nn.Module) -> nn.Module:
    plain = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(plain.modules()):
        if parametrize.is_parametrized(module):
            # torch's remove_parametrizations would change the class, which the copy shares with the model.
            values = {
                name: getattr(module, name) for name, _ in module.get_submodule("parametrizations").named_children()
            }
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module.parametrizations
            for name, value in values.items():
                module.register_parameter(name, nn.Parameter(value.clone(), requires_grad=False))
    return plain


def _fold(model: nn.Module) -> tuple[nn.Module, dict[str, str]]:
    """The traced model with batch norms folded, and {path of the convolution: path of its batch norm}."""
    network = fx.symbolic_trace(model)
    modules = dict(network.named_modules())
    calls = Counter(node.target for node in network.graph.nodes if node.op == "call_module")
    folded: dict[str, str] = {}
    for node in list(network.graph.nodes):
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        conv_path, bn_path = str(before.target), str(node.target)
        conv, bn = modules[conv_path], modules[bn_path]
        # Subclasses and hooks may do more than a convolution and a batch norm do.
        plain = type(conv) is nn.Conv2d and type(bn) is nn.BatchNorm2d and not _hooked(conv) and not _hooked(bn)
        # A convolution called in two places would be folded twice; a batch norm without statistics uses the batch's.
        if not plain or calls[before.target] > 1 or bn.running_mean is None:
            continue
        network.set_submodule(conv_path, fuse_conv_bn_eval(conv, bn))
        node.replace_all_uses_with(before)
        network.graph.erase_node(node)
        folded[conv_path] = bn_path
    network.delete_all_unused_submodules()
    network.recompile()
    return network, folded


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


@torch.no_grad()
def _agree(one: nn.Module, other: nn.Module, images: Tensor) -> bool:
    expected = other(images)
    # Folding moves logits by some 1e-5 of the largest; a model that was traced wrongly is off by much more.
    return bool((one(images) - expected).abs().max() <= 1e-3 * expected.abs().max().clamp(min=1))
