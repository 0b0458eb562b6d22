"""Sources that were trained elsewhere, from checkpoint files; and what a transfer does with a normalisation."""

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from pydantic import ValidationError
from safetensors.torch import save_file

from made import Small, write
from robust_transfer.data import tensors
from robust_transfer.errors import UserError
from robust_transfer.models import checkpoints, files, recognise
from robust_transfer.models.classifier import predict
from robust_transfer.models.spectral import average_residuals
from robust_transfer.plan import build
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import CifarResNet, Digits, Fgsm, Normalise, Recipe, Schedule, TimmNet, TorchvisionNet
from robust_transfer.run import networks, nodes
from robust_transfer.specs.origins import Origin
from robust_transfer.stages import bring
from robust_transfer.stages.job import Job
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
    assert bring.run(job) == {"origin": "some.pt", "classes": 7, "names": "torchvision, robustness of MadryLab"}
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
        ({"fc.weight": torch.zeros(1, 1)}, "0" * 64, "has the sha256 .*, not 0000.*inspect FILE --rec"),
        ({"odd.weight": torch.zeros(1, 1)}, None, "the weights of resnet18: .*holds odd.weight, which the network has"),
        ({"conv1.weight": torch.zeros(1, 1)}, None, "does not hold the weights of resnet18: it lacks stem.1.weight, "),
        ({"state_dict": {"epoch": 3}}, None, "holds no state dict"),
        ([1, 2], None, "holds no state dict"),
        (Anything(), None, "holds more than tensors"),
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
    with pytest.raises(ValidationError, match="weights: none are published for cifar-resnet; give a file"):
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
        device=torch.device("cpu"),
        data_root=tmp_path,
        machine={"checkpoint_seconds": 60, "device": "cpu"},
        node=SimpleNamespace(id="a node"),
        checkpoint=tmp_path / "state",
        output=tmp_path / "model",
        beside={},
        computed={},
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


def own_job(folder, network, name, data=None, role="data"):
    """A job that brings data_root/weights/NAME as this network. data: (channels, classes) that it must fit, or what
    stands for the data set in that role.
    """
    file = folder / "weights" / name
    spec = {"network": network.canonical(), "file": name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    job = SimpleNamespace(spec=KINDS["bring"].parse(spec), data_root=folder, output=folder / "model.safetensors")
    job.has = lambda asked: data is not None and asked == role
    job.parents, job.parent = {role: SimpleNamespace(slug="the-data")}, lambda asked: data
    job.device = torch.device("cpu")
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
        (SMALL, (1, 4), "is for images of 1 channel and 3 classes, and the-data has 1 and 4; name other data, or"),
        (SMALL, (3, 3), "is for images of 1 channel and 3 classes, and the-data has 3 and 3"),
        (SMALL.model_copy(update={"width": 8}), None, "does not hold the weights of resnet4w8: they are those of {.*4"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, ours, monkeypatch, network, data, words):
    files.save(tmp_path / "weights" / "a.safetensors", ours, SMALL, 1, 3)
    monkeypatch.setattr(tensors, "load", lambda path, **_: SimpleNamespace(channels=path[0], classes=path[1]))
    with pytest.raises(UserError, match=words):
        bring.run(own_job(tmp_path, network, "a.safetensors", data))


def test_what_does_not_fit_is_said_of_all_files_before_the_first_job(tmp_path, ours):
    files.save(tmp_path / "weights" / "a.safetensors", ours, SMALL, 1, 3)
    (tmp_path / "weights" / "b.pt").write_bytes(b"no checkpoint")
    plan = Plan({})
    data = build.prepare(plan, Digits(reader="sklearn-digits", classes=[0, 1]))
    wide = SMALL.model_copy(update={"width": 8})
    a, b = (
        Origin(file=name, sha256=hashlib.sha256((tmp_path / "weights" / name).read_bytes()).hexdigest())
        for name in ("a.safetensors", "b.pt")
    )
    fits = build.bring(plan, SMALL, a)
    others = [build.bring(plan, SMALL, a, data), build.bring(plan, wide, a), build.bring(plan, SMALL, b)]
    gone = build.bring(plan, SMALL, Origin(file="c.pt", sha256="0" * 64))  # which presence.must_be_present names
    networks.must_fit(plan, [fits, gone], tmp_path)
    with pytest.raises(UserError) as error:
        networks.must_fit(plan, [fits, *others, gone], tmp_path)
    heading, *lines = str(error.value).splitlines()
    assert heading.startswith("networks do not fit") and len(lines) == 3
    assert "a.safetensors is for images of 1 channel and 3 classes, and digits-0to1 has 1 and 2; name" in lines[0]
    assert "a.safetensors does not hold the weights of resnet4w8: they are those of" in lines[1]
    assert "b.pt is no checkpoint that can be read" in lines[2]


def test_a_model_that_is_evaluated_needs_a_head(tmp_path, ours, monkeypatch):
    state = {name: tensor for name, tensor in ours.state_dict().items() if not name.startswith("head.")}
    torch.save(state, tmp_path / "weights" / "a.pt")
    monkeypatch.setattr(tensors, "load", lambda path, **_: SimpleNamespace(channels=1, classes=2))
    with pytest.raises(UserError, match=r"a\.pt holds features without a head"):
        bring.run(own_job(tmp_path, SMALL, "a.pt", (1, 2)))


def test_a_broken_safetensors_file(tmp_path, ours):
    (tmp_path / "weights" / "a.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"is no checkpoint that can be read"):
        bring.run(own_job(tmp_path, SMALL, "a.safetensors"))


@pytest.mark.parametrize(
    "about",
    [
        {"network": "resnet4w4", "channels": 1, "classes": 3},
        {"network": SMALL.canonical(), "channels": 1, "classes": "three"},
        {"network": SMALL.canonical(), "channels": 1, "classes": True},
        {"network": SMALL.canonical(), "channels": 1, "classes": 3, "head": 5},
        {"network": SMALL.canonical()},
    ],
)
def test_what_is_not_said_by_this_project_is_not_taken_for_its_words(tmp_path, ours, about):
    save_file(ours.state_dict(), tmp_path / "weights" / "a.safetensors", {"about": json.dumps(about)})
    job = own_job(tmp_path, SMALL, "a.safetensors")
    bring.run(job)
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(files.load(job.output)[0](images), ours(images))


def test_a_network_that_only_another_version_knows_is_refused(tmp_path, ours):
    about = {"network": {"family": "new"}, "channels": 1, "classes": 3}
    file = tmp_path / "weights" / "a.safetensors"
    save_file(ours.state_dict(), file, {"about": json.dumps(about)})
    with pytest.raises(UserError, match=r"they are those of {'family': 'new'}; describe"):
        bring.run(own_job(tmp_path, SMALL, "a.safetensors"))
    with pytest.raises(UserError, match=r"says that it is of {'family': 'new'}, which is no network here"):
        recognise.recognise(checkpoints.read(file))


VARIANCE = "stages.0.0.bn1.running_var"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"head.bias": torch.tensor(1.0)}, r"head\.bias is one number where 3 is wanted; `robust"),
        ({"head.weight": torch.ones(3, 4, dtype=torch.int8)}, r"head\.weight is 3 x 4 of int8 where 3 x 4 is wanted"),
        ({"head.weight": torch.ones(3, 4) + 1j}, r"head\.weight is 3 x 4 of complex64 where 3 x 4 is wanted"),
        (
            {"head.bias": torch.full((3,), torch.inf)},
            r"a\.pt is broken: head\.bias not finite, or a variance below zero",
        ),
        ({VARIANCE: torch.full((4,), -1.0)}, rf"a\.pt is broken: {VARIANCE} not finite, or a variance below zero"),
        ({"head.weight": torch.full((3, 4), 3e38)}, r"a\.pt is broken: the network's logits are not finite; bring"),
    ],
)
def test_tensors_that_are_no_weights_are_refused(tmp_path, ours, set_of, changed, words):
    torch.save(ours.state_dict() | changed, tmp_path / "weights" / "a.pt")
    with pytest.raises(UserError, match=words):
        bring.run(own_job(tmp_path, SMALL, "a.pt", set_of(ours, 1), role="own"))


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_sparse_weights_are_weights(tmp_path, ours):
    state = ours.state_dict()
    torch.save(state | {"head.weight": state["head.weight"].to_sparse()}, tmp_path / "weights" / "a.pt")
    job = own_job(tmp_path, SMALL, "a.pt")
    bring.run(job)
    assert torch.equal(files.load(job.output)[0].head.weight, ours.head.weight)


def test_a_network_that_timm_has_not_is_named(tmp_path, ours):
    pytest.importorskip("timm")
    torch.save(ours.state_dict(), tmp_path / "weights" / "a.pt")
    with pytest.raises(UserError, match=r"timm has no network 'resnet11t' \(did you mean resnet1"):
        bring.run(own_job(tmp_path, TimmNet(family="timm", name="resnet11t"), "a.pt"))


@pytest.mark.parametrize(("channels", "classes"), [(3, 2), (1, 3)])
def test_what_was_brought_without_data_must_fit_those_that_it_meets(tmp_path, monkeypatch, channels, classes):
    """A transfer gives new classes; an attack by labels has those of the data. The plan cannot know."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/weights").mkdir(parents=True)
    write(0)
    torch.save(files.build(SMALL, channels, classes).state_dict(), "data/weights/a.pt")
    small = Small(tmp_path / "results")
    sha256 = hashlib.sha256(Path("data/weights/a.pt").read_bytes()).hexdigest()
    source = build.bring(small.plan, SMALL, Origin(file="a.pt", sha256=sha256))
    recipe = Recipe(schedule=Schedule(iterations=1, batch_size=8, lr=0.1), trainable="head")
    target = build.transfer(small.plan, small.data, recipe, start=source)
    hit = build.craft(small.plan, source, small.data, Fgsm(algorithm="fgsm", eps=0.1), 0)
    kept = build.transfer(small.plan, small.data, recipe.with_(head="keep"), start=source)
    for each in (small.data, source):
        nodes.make(each, small.plan, "0" * 12, small.results, 1)
    wrong = (
        r"resnet4w4\.a takes images of 3 channels, and mine has 1; give the data set channels: 3"
        if channels == 3
        else r"resnet4w4\.a tells 3 classes apart, and mine has 2; (name a model of the same classes|write head: new)"
    )
    for each in (target, hit, kept):
        if each is target and channels == 1:
            nodes.make(each, small.plan, "0" * 12, small.results, 1)
            continue
        with pytest.raises(UserError, match=wrong):
            nodes.make(each, small.plan, "0" * 12, small.results, 1)


def test_a_file_that_is_written_while_it_is_read_is_refused(tmp_path, ours, monkeypatch):
    file = tmp_path / "weights" / "a.pt"
    torch.save(ours.state_dict(), file)
    job, plain = own_job(tmp_path, SMALL, "a.pt"), checkpoints.read

    def read(*words):
        torch.save(ours.state_dict() | {"head.bias": torch.ones(3)}, file)
        return plain(*words)

    monkeypatch.setattr(checkpoints, "read", read)
    with pytest.raises(UserError, match=r"a\.pt changed while it was read; start again"):
        bring.run(job)


def test_logits_that_are_no_numbers_blame_what_was_brought(tmp_path):
    node = SimpleNamespace(parents={"model": "resnet4w4.a.0123"})
    for kind, words in (
        ("bring", "a.0123 is broken, or not what"),
        ("transfer", "the training of .*a.0123 has diverged"),
    ):
        job = Job(node, {"model": SimpleNamespace(kind=kind)}, {}, tmp_path, tmp_path, 1, tmp_path)
        with pytest.raises(UserError, match=rf"logits are not finite; .*{words}"), job.blaming("model"):
            raise FloatingPointError("the network's logits are not finite")


# ---- a source's own accuracy ---------------------------------------------------------------------------------------


@pytest.fixture
def set_of(monkeypatch):
    """Makes a data set of images whose labels are right at this share under a network, wrong at the others."""

    def make(network, share, count=60):
        images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
        labels = predict(network, images).argmax(1)
        labels[int(share * count) :] = (labels[int(share * count) :] + 1) % 3
        order = torch.randperm(count, generator=torch.Generator().manual_seed(3))
        test = tensors.TensorSplit(images[order], labels[order])
        found = SimpleNamespace(channels=1, classes=3, test=test)
        monkeypatch.setattr(tensors, "load", lambda *_, **__: found)
        return found

    return make


def test_the_accuracy_of_a_source_is_measured_when_it_is_brought(tmp_path, ours, set_of):
    torch.save(ours.state_dict(), tmp_path / "weights" / "a.pt")
    about = bring.run(own_job(tmp_path, SMALL, "a.pt", set_of(ours, 0.5), role="own"))
    assert about == {"origin": "a.pt", "classes": 3, "accuracy": 50.0, "n": 60}


def test_of_many_test_images_a_thousand_are_looked_at(tmp_path, ours, set_of, monkeypatch):
    monkeypatch.setattr(bring, "LOOKED_AT", 20)
    monkeypatch.setattr(bring, "BATCH", 7)
    torch.save(ours.state_dict(), tmp_path / "weights" / "a.pt")
    about = bring.run(own_job(tmp_path, SMALL, "a.pt", set_of(ours, 1), role="own"))
    assert (about["accuracy"], about["n"]) == (100, 20)


@pytest.mark.parametrize(("share", "broken"), [(0.35, True), (0.38, False)])
def test_a_source_that_is_hardly_better_than_chance_is_refused(tmp_path, ours, set_of, share, broken):
    # Of 3 classes chance is 33.3 %, and the least that is taken 36.7 %.
    torch.save(ours.state_dict(), tmp_path / "weights" / "a.pt")
    job = own_job(tmp_path, SMALL, "a.pt", set_of(ours, share, 100), role="own")
    if not broken:
        assert bring.run(job)["accuracy"] == 38
        return
    with pytest.raises(UserError, match=r"a\.pt is broken, .*: 35 % of the test images of the-data right, where"):
        bring.run(job)
    assert not job.output.exists()


# ---- the hub -------------------------------------------------------------------------------------------------------

HUB = {"hub": "some-lab/robust-nets", "file": "nets/a.pt", "revision": "c0ffee" * 6 + "abcd"}


def hub_job(folder, **more):
    job = SimpleNamespace(
        spec=KINDS["bring"].parse({"network": SMALL.canonical(), **HUB, **more}),
        data_root=folder,
        output=folder / "model.safetensors",
        has=lambda role: False,
    )
    return job


def pretend_hub(monkeypatch, content=None, error=None):
    """A huggingface_hub in place of the library's; returns what it is asked."""
    asked = []

    def hf_hub_download(repo_id, filename, revision, local_dir):
        asked.append((repo_id, filename, revision))
        if error:
            raise error
        (local_dir / filename).parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, local_dir / filename)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=hf_hub_download))
    return asked


def test_a_file_of_the_hub_is_fetched_once(tmp_path, ours, monkeypatch):
    asked = pretend_hub(monkeypatch, ours.state_dict())
    for _ in range(2):
        about = bring.run(hub_job(tmp_path))
    assert asked == [(HUB["hub"], HUB["file"], HUB["revision"])]
    assert about["origin"] == f"hub/some-lab--robust-nets/{HUB['revision']}/nets/a.pt"
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(files.load(tmp_path / "model.safetensors")[0](images), ours(images))
    with pytest.raises(UserError, match=r"has the sha256 .* not 0000"):
        bring.run(hub_job(tmp_path, sha256="0" * 64))


def test_without_the_hubs_library_or_its_file_the_way_by_hand_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"not installed: pip install huggingface_hub, or put nets/a"):
        bring.run(hub_job(tmp_path))
    pretend_hub(monkeypatch, error=OSError("no connection"))
    with pytest.raises(UserError, match=r"nets/a\.pt of some-lab/robust-nets can't be fetched \(no connection\); put"):
        bring.run(hub_job(tmp_path))


@pytest.mark.parametrize(
    "wrong",
    [{"revision": None}, {"revision": "main"}, {"hub": "a"}, {"file": None}, {"file": "../a.pt"}, {"file": "/a.pt"}],
)
def test_a_file_of_the_hub_is_named_by_its_commit(wrong):
    given = {name: value for name, value in (HUB | wrong).items() if value}
    with pytest.raises(ValidationError):
        bring.Bring(network=SMALL, **given)
