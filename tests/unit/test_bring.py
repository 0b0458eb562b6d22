"""Sources that were trained elsewhere, from checkpoint files; and what a transfer does with a normalisation."""

import hashlib
from types import SimpleNamespace

import pytest
import torch
import torchvision
from pydantic import ValidationError
from safetensors.torch import save_file

from robust_transfer.data import tensors
from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.models.spectral import average_residuals
from robust_transfer.plan.specs import CifarResNet, Normalise, Recipe, Schedule, TorchvisionNet
from robust_transfer.stages import bring
from robust_transfer.stages.node import KINDS
from robust_transfer.training import run as train

NETWORK = TorchvisionNet(family="torchvision", name="resnet18")
SMALL = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=4)


@pytest.fixture
def theirs():
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=7).eval()


def job_of(folder, content, sha256=None, network=NETWORK):
    """A job that brings a file with this content."""
    (folder / "weights").mkdir(exist_ok=True)
    file = folder / "weights" / "some.pt"
    torch.save(content, file)
    spec = {"network": network.canonical(), "file": "some.pt"}
    spec["sha256"] = sha256 or hashlib.sha256(file.read_bytes()).hexdigest()
    parsed, output = KINDS["bring"].parse(spec), folder / "model.safetensors"
    return SimpleNamespace(spec=parsed, data_root=folder, output=output, has=lambda role: False)


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "under state_dict"])
def test_a_state_dict_with_torchvisions_keys(tmp_path, theirs, wrapped):
    state = theirs.state_dict()
    job = job_of(tmp_path, {"state_dict": state, "epoch": 3} if wrapped else state)
    assert bring.run(job) == {"origin": "some.pt", "classes": 7}
    ours, spec, channels, classes = files.load(job.output)
    assert (spec, channels, classes) == (NETWORK, 3, 7)
    images = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (NETWORK.normalise.mean, NETWORK.normalise.std))
    assert torch.allclose(ours(images), theirs((images - mean) / std), atol=1e-5)


def test_features_alone_get_a_head_of_zeros(tmp_path, theirs):
    state = {name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith("fc.")}
    job = job_of(tmp_path, state)
    bring.run(job)
    ours, *_ = files.load(job.output)
    assert not any(parameter.any() for parameter in ours.head.parameters())
    assert torch.equal(ours.stages[3][1].conv2.weight, theirs.layer4[1].conv2.weight)


class Anything:
    pass


@pytest.mark.parametrize(
    ("content", "sha256", "words"),
    [
        ({"fc.weight": torch.zeros(1)}, "0" * 64, "has the sha256 .*, not 0000"),
        ({"module.fc.weight": torch.zeros(1)}, None, "some.pt does not hold the weights of resnet18: 'module.fc"),
        ({"conv1.weight": torch.zeros(1)}, None, "some.pt does not hold the weights of resnet18: .*Missing key"),
        ({"state_dict": {"epoch": 3}}, None, "holds no state dict"),
        ([1, 2], None, "holds no state dict"),
        (Anything(), None, "holds no plain tensors"),
    ],
)
def test_other_files_are_refused(tmp_path, content, sha256, words):
    with pytest.raises(UserError, match=f"(?s){words}"):
        bring.run(job_of(tmp_path, content, sha256))


def test_a_network_of_ours_is_brought_with_its_own_names(tmp_path):
    torch.manual_seed(0)
    network = files.build(SMALL, 3, 4).eval()
    job = job_of(tmp_path, network.state_dict(), network=SMALL)
    assert bring.run(job) == {"origin": "some.pt", "classes": 4}
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(files.load(job.output)[0](images), network(images))


def test_weights_by_name_are_refused_where_none_are_published():
    with pytest.raises(ValidationError, match="weights: none are published for cifar-resnet; give file and sha256"):
        bring.Bring(network=SMALL, weights="IMAGENET1K_V1")


def test_a_missing_file_is_named(tmp_path, theirs):
    job = job_of(tmp_path, theirs.state_dict())
    (tmp_path / "weights" / "some.pt").unlink()
    with pytest.raises(UserError, match=r"some\.pt is missing; put the checkpoint there"):
        bring.run(job)


# ---- normalisation at transfer -------------------------------------------------------------------------------------

SCHEDULE = Schedule(epochs=1, batch_size=2, lr=0.1)


@pytest.mark.parametrize("normalise", [None, Normalise(mean=0.0, std=1.0)])
def test_a_transfer_trains_and_saves_with_its_own_normalisation(tmp_path, monkeypatch, normalise):
    torch.manual_seed(0)
    source = files.build(SMALL, 1, 3)
    files.save(tmp_path / "start", source, SMALL, 1, 3)
    wanted = normalise or SMALL.normalise
    seen = []

    def watched(network, *_):
        seen.append((network.normalise.mean, network.normalise.std))
        return [{"epoch": 1}]

    monkeypatch.setattr(train, "train", watched)
    test = SimpleNamespace(plain=lambda count: iter([(torch.zeros(count, 1, 8, 8), None)]))
    monkeypatch.setattr(train.tensors, "load", lambda *_: SimpleNamespace(channels=1, classes=2, test=test))
    job = SimpleNamespace(
        spec=Recipe(normalise=normalise, schedule=SCHEDULE),
        has=lambda role: role == "start",
        parent=lambda role: tmp_path / role,
        device="cpu",
        data_root=tmp_path,
        machine={"checkpoint_seconds": 60},
        node=SimpleNamespace(id="a node"),
        checkpoint=tmp_path / "state",
        output=tmp_path / "model",
        beside={},
    )
    train.run(job)
    assert seen == [(wanted.mean, wanted.std)]
    network, spec, *_ = files.load(job.output)
    assert spec == SMALL.model_copy(update={"normalise": wanted})
    assert (network.normalise.mean, network.normalise.std) == (wanted.mean, wanted.std)
    assert torch.equal(network.stem[0].weight, source.stem[0].weight)


def test_a_random_start_has_the_normalisation_of_its_network():
    with pytest.raises(ValidationError, match="normalise: a random start is normalised as its network says"):
        Recipe(network=SMALL, normalise=Normalise(mean=0.0, std=1.0), schedule=SCHEDULE)


# ---- our own names -------------------------------------------------------------------------------------------------


def own_job(folder, network, name, data=None, **more):
    """A job that brings data_root/weights/NAME as this network. data: (channels, classes) that it must fit."""
    file = folder / "weights" / name
    spec = {"network": network.canonical(), "file": name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    job = SimpleNamespace(spec=KINDS["bring"].parse(spec), data_root=folder, output=folder / "model.safetensors")
    job.has = lambda role: data is not None
    job.parents, job.parent = {"data": SimpleNamespace(slug="the-data")}, lambda role: data
    return job


@pytest.fixture
def ours(tmp_path):
    torch.manual_seed(0)
    (tmp_path / "weights").mkdir()
    return files.build(SMALL, 1, 3).eval()


@pytest.mark.parametrize("name", ["own.pt", "own.safetensors", "ours.safetensors"])
def test_a_state_dict_with_our_names_of_any_family(tmp_path, ours, name):
    file = tmp_path / "weights" / name
    if name == "ours.safetensors":
        files.save(file, ours, SMALL, 1, 3, tuned={})
    elif name.endswith(".pt"):
        torch.save(ours.state_dict(), file)
    else:
        save_file(ours.state_dict(), file)
    job = own_job(tmp_path, SMALL, name)
    bring.run(job)
    found, *about = files.load(job.output)
    assert about == [SMALL, 1, 3]
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(found(images), ours(images))


def test_a_head_with_hidden_layers_and_averaged_blocks_come_along(tmp_path, ours):
    ours.renew_head(3, hidden=[5])
    average_residuals(ours, 1)
    files.save(tmp_path / "weights" / "a.safetensors", ours, SMALL, 1, 3)
    job = own_job(tmp_path, SMALL, "a.safetensors")
    bring.run(job)
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(files.load(job.output)[0](images), ours(images))


@pytest.mark.parametrize(
    ("network", "data", "words"),
    [
        (SMALL, (1, 4), "is for images of 1 channels and 3 classes, and the-data has 1 and 4; name another target"),
        (SMALL, (3, 3), "is for images of 1 channels and 3 classes, and the-data has 3 and 3"),
        (SMALL.model_copy(update={"width": 8}), None, "does not hold the weights of resnet4w8: they are those of {.*4"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, ours, monkeypatch, network, data, words):
    files.save(tmp_path / "weights" / "a.safetensors", ours, SMALL, 1, 3)
    monkeypatch.setattr(tensors, "load", lambda path: SimpleNamespace(channels=path[0], classes=path[1]))
    with pytest.raises(UserError, match=words):
        bring.run(own_job(tmp_path, network, "a.safetensors", data))


def test_a_model_that_is_evaluated_needs_a_head(tmp_path, ours, monkeypatch):
    state = {name: tensor for name, tensor in ours.state_dict().items() if not name.startswith("head.")}
    torch.save(state, tmp_path / "weights" / "a.pt")
    monkeypatch.setattr(tensors, "load", lambda path: SimpleNamespace(channels=1, classes=2))
    with pytest.raises(UserError, match=r"a\.pt holds features without a head"):
        bring.run(own_job(tmp_path, SMALL, "a.pt", (1, 2)))


def test_a_broken_safetensors_file(tmp_path, ours):
    (tmp_path / "weights" / "a.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"holds no plain tensors"):
        bring.run(own_job(tmp_path, SMALL, "a.safetensors"))
