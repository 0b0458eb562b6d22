"""torchvision's networks in our shape: the same logits from the same weights, stages where the authors cut them."""

import hashlib
import subprocess
import sys
import urllib.error
from types import SimpleNamespace

import pytest
import torch
import torchvision.models
from torch import nn

from robust_transfer.attacks.ready import attack_ready
from robust_transfer.errors import UserError
from robust_transfer.models import checkpoints, files, fits
from robust_transfer.models.classifier import reset_last
from robust_transfer.plan.specs import IMAGENET, Normalise, TorchvisionNet

NAMES = ["resnet18", "resnet50", "resnet101", "mobilenet_v2"]
WIDTHS = {"resnet18": 512, "resnet50": 2048, "resnet101": 2048, "mobilenet_v2": 1280}


def spec_of(name, **more):
    return TorchvisionNet(family="torchvision", name=name, **more)


def imagenet(images):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def both(name, classes=10):
    """torchvision's own randomly initialised model, with statistics, and ours with its weights."""
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, num_classes=classes)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    with torch.no_grad():
        theirs(torch.randn(8, 3, 64, 64))
    ours = files.build(spec_of(name), 3, classes)
    ours.load_state_dict(spec_of(name).renamed(theirs.state_dict()))
    return theirs.eval(), ours.eval()


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_the_same_weights_give_the_same_logits(name):
    theirs, ours = both(name)
    images = torch.rand(4, 3, 64, 64)
    expected = theirs(imagenet(images))
    assert expected.std() > 1e-2
    torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5)
    assert ours.features(images).shape == (4, WIDTHS[name])
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_resnets_stages_are_its_layers(name):
    theirs, ours = both(name)
    outputs = []
    for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    images = torch.rand(2, 3, 64, 64)
    theirs(imagenet(images))
    torch.testing.assert_close(ours.observe(images).stages, outputs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_mobilenets_stages_end_where_chin_et_al_cut_it():
    theirs, ours = both("mobilenet_v2")
    outputs = []
    for last in (3, 6, 10, 16, 18):  # of their [4, 3, 4, 6, 2] modules, the first of which is our stem
        theirs.features[last].register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    images = torch.rand(2, 3, 64, 64)
    theirs(imagenet(images))
    stages = ours.observe(images).stages
    torch.testing.assert_close(stages, outputs, rtol=1e-5, atol=1e-5)
    assert [tuple(stage.shape[1:]) for stage in stages] == (
        [(24, 16, 16), (32, 8, 8), (64, 4, 4), (160, 2, 2), (1280, 2, 2)]
    )
    assert not any(isinstance(module, nn.Dropout) for module in ours.modules())


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet18", [2, 2, 2, 2]),
        ("resnet50", [3, 4, 6, 3]),
        ("resnet101", [3, 4, 23, 3]),
        ("mobilenet_v2", [3, 3, 4, 6, 2]),
    ],
)
def test_the_spec_knows_the_networks_parts(name, blocks):
    with torch.device("meta"):
        network = files.build(spec_of(name), 3, 10)
    assert [len(stage) for stage in network.stages] == blocks
    assert (spec_of(name).stages, spec_of(name).blocks, spec_of(name).units) == (
        len(blocks),
        sum(blocks),
        sum(blocks) + 1,
    )
    assert network.units() == [network.head, *network.blocks()[::-1]]
    assert spec_of(name).slug == name


def test_normalisation_is_imagenets_unless_told_otherwise():
    assert spec_of("resnet18").normalise == IMAGENET
    assert spec_of("resnet18").canonical() == {"family": "torchvision", "name": "resnet18"}
    for normalise in (Normalise(), Normalise(mean=0, std=1)):
        spec = spec_of("resnet18", normalise=normalise)
        assert TorchvisionNet.model_validate(spec.canonical()) == spec
        assert spec.canonical() != spec_of("resnet18").canonical()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_a_new_network_begins_as_torchvisions_do(name):
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, num_classes=200)
    ours = files.build(spec_of(name), 3, 200)
    reset_last(ours, "all")
    expected = spec_of(name).renamed(theirs.state_dict())
    assert expected.keys() == ours.state_dict().keys()
    for key, tensor in ours.state_dict().items():
        if tensor.ndim > 1 and tensor.numel() > 1000:
            assert tensor.std().item() == pytest.approx(expected[key].std().item(), rel=0.15), key
        elif tensor.ndim == 1 and not (key == "head.bias" and name == "resnet18"):
            assert torch.equal(tensor, expected[key]), key


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_it_has_a_folded_copy_for_attacks(name):
    _, ours = both(name)
    images = torch.rand(3, 3, 64, 64)
    ready = attack_ready(ours, images)
    convolutions = [module for module in ours.modules() if isinstance(module, nn.Conv2d)]
    assert len(ready.folded) == len(convolutions)
    with torch.no_grad():
        torch.testing.assert_close(ready(images), ours(images), rtol=1e-3, atol=1e-4)
        for parameter in ours.parameters():
            parameter.mul_(1.01)
        torch.testing.assert_close(ready.refresh(ours)(images), ours(images), rtol=1e-3, atol=1e-4)


def test_a_saved_one_comes_back_bit_for_bit(tmp_path):
    _, ours = both("resnet18")
    spec, path = spec_of("resnet18", normalise={"mean": [0, 0.5, 1], "std": 1}), tmp_path / "model.safetensors"
    files.save(path, ours, spec, 3, 10)
    loaded, loaded_spec, *_ = files.load(path)
    assert loaded_spec == spec
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("resnet18", "features.0.0.weight"),
        ("resnet18", "layerx.0.conv1.weight"),
        ("resnet18", "module.fc.weight"),
        ("mobilenet_v2", "features.19.0.weight"),
        ("mobilenet_v2", "classifier.0.weight"),
        ("mobilenet_v2", "fc.weight"),
    ],
)
def test_keys_of_another_model_are_refused(name, key):
    checkpoint = checkpoints.unwrapped({key: torch.zeros(1, 1)}, "some.pt")
    with pytest.raises(UserError, match=rf"some\.pt does not hold the weights of {name}: it lacks"):
        fits.fitted(spec_of(name), checkpoint, "some.pt")


def test_images_of_other_than_three_channels_are_refused():
    with pytest.raises(ValueError, match="takes images of 3 channels, not 1"):
        files.build(spec_of("resnet18", normalise=Normalise()), 1, 10)


def test_torchvision_is_not_imported_before_one_is_built():
    code = "import sys; import robust_transfer.models.files; print('torchvision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- weights -------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A file of weights as torchvision publishes them, and a torchvision that knows it and cannot download."""
    state = {"fc.weight": torch.rand(2, 3), "fc.bias": torch.rand(2)}
    torch.save(state, tmp_path / "made")
    digest = hashlib.sha256((tmp_path / "made").read_bytes()).hexdigest()
    address = f"https://host.example/models/resnet18-{digest[:8]}.pth"
    monkeypatch.setattr(
        torchvision.models, "get_model_weights", lambda name: [SimpleNamespace(name="IMAGENET1K_V1", url=address)]
    )

    def fetch(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    return SimpleNamespace(state=state, made=tmp_path / "made", address=address, folder=tmp_path / "weights")


def test_weights_are_read_from_the_folder(published):
    published.folder.mkdir()
    published.made.rename(published.folder / published.address.rsplit("/", 1)[-1])
    state, address = spec_of("resnet18").published("IMAGENET1K_V1", published.folder)
    assert address == published.address
    assert state.keys() == published.state.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in published.state.items())


def test_weights_that_are_not_there_are_fetched(published, monkeypatch):
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda url, file, progress: published.made.rename(file) and None
    )
    state, _ = spec_of("resnet18").published("IMAGENET1K_V1", published.folder)
    assert state.keys() == published.state.keys()


def test_without_a_connection_the_user_is_told_what_to_do(published):
    with pytest.raises(UserError, match=r"can't be fetched .*put the file in .*weights by hand"):
        spec_of("resnet18").published("IMAGENET1K_V1", published.folder)


def test_a_file_that_is_not_what_its_name_says_is_refused(published):
    published.folder.mkdir()
    file = published.folder / published.address.rsplit("/", 1)[-1]
    file.write_bytes(published.made.read_bytes()[:-1])
    with pytest.raises(UserError, match="is not what its name says"):
        spec_of("resnet18").published("IMAGENET1K_V1", published.folder)


def test_unknown_weights_are_refused():
    with pytest.raises(UserError, match="no weights 'IMAGENET1K_V9'; write one of IMAGENET1K_V1, IMAGENET1K_V2"):
        spec_of("resnet50").published("IMAGENET1K_V9", None)
