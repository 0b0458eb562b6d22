"""What must hold on a GPU as on a CPU; run there by `make gpu-check`, and skipped where there is none."""

import os

import pytest
import torch

from robust_transfer.attacks.algorithms.pgd import Pgd
from robust_transfer.attacks.budget import check_budget
from robust_transfer.attacks.craft import craft
from robust_transfer.attacks.ready import attack_ready
from robust_transfer.data.tensors import PreparedData, TensorSplit
from robust_transfer.models.classifier import predict
from robust_transfer.models.families.cifar_resnet import CifarResNet
from robust_transfer.recipes import Inputs, Recipe
from robust_transfer.signals import Interrupted, StopRequest
from robust_transfer.smoothing.certify import certify_set
from robust_transfer.specs.schedules import Schedule
from robust_transfer.specs.smoothing import Smoothing
from robust_transfer.training.loop import train

pytestmark = pytest.mark.gpu
NETWORK = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1], width=8)
ATTACK = Pgd(algorithm="pgd", eps=0.1, steps=4, step_size=0.03, random_start=True)


@pytest.fixture(scope="module")
def device():
    """A GPU with the settings of a node, or what ROBUST_TRANSFER_TEST_DEVICE names."""
    name = os.environ.get("ROBUST_TRANSFER_TEST_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(name == "cuda")
    yield torch.device(name)
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def images(count=48):
    """Two classes, told apart by the brighter half: N x 3 x 8 x 8 uint8, and labels."""
    generator = torch.Generator().manual_seed(0)
    shown = torch.randint(0, 128, (count, 3, 8, 8), generator=generator)
    labels = torch.arange(count) % 2
    shown[labels == 0, :, :4] += 64
    shown[labels == 1, :, 4:] += 64
    return shown.to(torch.uint8), labels


def data(device):
    pixels, labels = (each.to(device) for each in images())
    part = TensorSplit(pixels, labels)
    return PreparedData(part, part, part)


def network(device):
    torch.manual_seed(0)
    return NETWORK.build(3, 2).to(device)


def trained(device, folder, iterations=12, stop=None, **inputs):
    """A network trained in place; a second call with the same folder continues."""
    schedule = Schedule(iterations=iterations, batch_size=16, lr=0.05, flip=True)
    recipe = Recipe(network=NETWORK, schedule=schedule, inputs=Inputs(**inputs))
    made = network(device)
    train(made, data(device), recipe, "run", folder / "state.safetensors", 1e9, StopRequest() if stop is None else stop)
    return made


def test_a_network_says_the_same_as_on_the_cpu(device):
    shown, _ = images()
    made = network("cpu")
    expected = predict(made, shown)
    torch.testing.assert_close(predict(made.to(device), shown.to(device)).cpu(), expected, rtol=1e-3, atol=1e-3)


def test_a_natural_training_comes_to_what_it_does_on_the_cpu(device, tmp_path):
    shown, _ = images()
    (tmp_path / "here").mkdir(), (tmp_path / "there").mkdir()
    here = predict(trained("cpu", tmp_path / "here"), shown)
    there = predict(trained(device, tmp_path / "there"), shown.to(device)).cpu()
    torch.testing.assert_close(there, here, rtol=0.05, atol=0.05)


def test_the_copy_that_is_attacked_has_the_networks_logits(device):
    shown, _ = images()
    made, pixels = network(device).eval(), shown.to(device) / 255
    ready = attack_ready(made, sample=pixels[:2])
    assert ready.folded
    with torch.no_grad():
        torch.testing.assert_close(ready(pixels), made(pixels), rtol=1e-3, atol=1e-3)


def test_examples_keep_their_budget_and_fool_the_network(device, tmp_path):
    shown, labels = images()
    made = trained(device, tmp_path, iterations=30)
    found = craft(made, shown, labels, ATTACK, 16, 0, device)
    check_budget(found, shown, ATTACK)
    right = [(predict(made, x.to(device)).argmax(1).cpu() == labels).sum() for x in (shown, found.float() / 65535)]
    assert right[0] > 40
    assert right[1] < right[0]


def test_an_interrupted_adversarial_training_ends_with_the_same_bits(device, tmp_path):
    class After(StopRequest):
        """Asks to stop at the fifth look."""

        looks = 0

        def __bool__(self):
            self.looks += 1
            self.signal = 15 if self.looks == 5 else None
            return self.signal is not None

    (tmp_path / "whole").mkdir(), (tmp_path / "parts").mkdir()
    attacked = {"attack": ATTACK, "clean_weight": 0.5}
    whole = trained(device, tmp_path / "whole", **attacked)
    with pytest.raises(Interrupted):
        trained(device, tmp_path / "parts", stop=After(), **attacked)
    parts = trained(device, tmp_path / "parts", **attacked)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name


def test_certificates_do_not_depend_on_the_batch(device, tmp_path):
    shown, _ = images()
    made = trained(device, tmp_path, noise=0.1)
    smoothing = Smoothing(sigma=0.1, n0=32, n=256)
    found = [[*certify_set(made, shown, [0, 5], smoothing, seed=0, batch=batch, device=device)] for batch in (64, 128)]
    assert found[0] == found[1]
    assert any(each.radius > 0 for each in found[0])
