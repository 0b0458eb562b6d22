"""Sets that pass in parts: the same bytes as when all is in memory, on one device or several, and little memory."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from robust_transfer import devices
from robust_transfer.attacks.budget import BudgetError, to_float
from robust_transfer.attacks.craft import Crafting, craft, zero_gradients
from robust_transfer.cost.networks import size_of
from robust_transfer.data import tensors
from robust_transfer.data.rows import NewRows, Rows
from robust_transfer.errors import UserError
from robust_transfer.models import at_once, files
from robust_transfer.models.at_once import AtOnce, InParts
from robust_transfer.models.classifier import predict
from robust_transfer.plan.specs import CifarResNet, Pgd
from robust_transfer.specs.datasets import Facts
from robust_transfer.stages import certify as certify_stage
from robust_transfer.stages import craft as craft_stage
from robust_transfer.stages import evaluate as evaluate_stage
from robust_transfer.stages import features as features_stage
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import KINDS, Node

COUNT = 600
"""Test images: more than two batches of any stage."""
ATTACK = Pgd(algorithm="pgd", eps=0.1, steps=2, step_size=0.06, random_start=True)
SMOOTHING = {"sigma": 0.25, "n0": 20, "n": 300, "images": 5}
RESNET = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=4)


# ---- rows ----------------------------------------------------------------------------------------------------------

STORED = {
    "U16": torch.arange(60, dtype=torch.int32).view(5, 3, 4).to(torch.uint16) * 1000,
    "U8": torch.arange(14, dtype=torch.uint8).view(7, 2),
    "F32": torch.rand(9, 2, generator=torch.Generator().manual_seed(0)),
    "I64": torch.arange(3),
}


@pytest.mark.parametrize("dtype", STORED)
def test_rows_are_written_as_a_whole_tensor_is(tmp_path, dtype):
    whole = STORED[dtype]
    save_file({"it": whole}, tmp_path / "whole")
    last = torch.tensor([len(whole) - 1, 0])
    with NewRows(tmp_path / "rows", "it", dtype, tuple(whole.shape)) as rows:
        rows[last] = whole.numpy()[last]
        rows[1 : len(whole) - 1] = whole[1:-1].numpy()
    assert (tmp_path / "rows").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("dtype", STORED)
def test_rows_are_read_as_a_whole_tensor_is(tmp_path, dtype):
    whole = STORED[dtype]
    save_file({"another": torch.rand(3), "it": whole}, tmp_path / "file", {"about": "it"})
    rows = Rows(tmp_path / "file", "it")
    assert (len(rows), rows.shape) == (len(whole), whole.shape)
    for chosen in (slice(None), slice(1, 3), slice(2, 99), slice(4, 4), slice(0, 0)):
        assert torch.equal(rows[chosen], whole[chosen])
    for indices in ([2], [2, 0, 1], [0, 1, 1]):
        assert rows[torch.tensor(indices)].numpy().tolist() == whole.numpy()[indices].tolist()
    assert rows[torch.empty(0, dtype=torch.int64)].shape == (0, *whole.shape[1:])


def test_rows_of_another_form_are_refused_and_a_file_that_ends_is_noticed(tmp_path):
    with NewRows(tmp_path / "rows", "it", "F32", (4, 2)) as rows:
        for wrong in (np.zeros((2, 2)), np.zeros((3, 2), np.float32), np.zeros((2, 3), np.float32)):
            with pytest.raises(ValueError, match="for 2 rows"):
                rows[1:3] = wrong
    content = (tmp_path / "rows").read_bytes()
    (tmp_path / "rows").write_bytes(content[:-1])
    with pytest.raises(EOFError, match="ends before"):
        Rows(tmp_path / "rows", "it")[2:4]


# ---- stages --------------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """A folder with a data set, a model and outcomes that have some images wrong; their paths by role."""

    root: object
    paths: dict

    def job(self, kind, spec, *roles, output=None):
        node = Node(kind, "it", KINDS[kind].parse(spec).model_dump(), dict.fromkeys(roles, "its"))
        machine = {"device": "cpu", "gpus": 0, "checkpoint_seconds": 1000}
        parents = {role: self.examples if role == "examples" else Node("transfer", "it", {}) for role in roles}
        made = Job(node, parents, machine, self.root, self.root, 1, self.root / (output or f"{kind}.made"))
        made._checked.update({role: self.paths[role] for role in roles})
        return made

    @property
    def examples(self):
        return Node("craft", "it", KINDS["craft"].parse(CRAFT).model_dump())

    def network(self):
        return files.load(self.paths["model"])[0]

    @property
    def test(self):
        return tensors.load(self.paths["data"]).test


CRAFT = {"attack": ATTACK.model_dump(), "split": "test", "seed": 3}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("streams")
    draw = np.random.default_rng(0)
    splits = {name: (draw.integers(0, 256, (n, 8, 8, 1), np.uint8), np.arange(n) % 4)
              for name, n in (("train", 260), ("validation", 4), ("test", COUNT))}  # fmt: skip
    tensors.save(root / "data", splits, "abcd")
    torch.manual_seed(0)
    network = files.build(RESNET, channels=1, classes=4)
    network(torch.rand(50, 1, 8, 8))  # statistics
    files.save(root / "model", network.eval(), RESNET, 1, 4)
    wrong = draw.random(COUNT) < 0.4
    pd.DataFrame({"prediction": (np.arange(COUNT) + wrong) % 4, "label": np.arange(COUNT) % 4}).to_parquet(
        root / "beaten"
    )
    (root / "checkpoints").mkdir()
    paths = {name: root / name for name in ("data", "model", "examples")} | {"beaten0": root / "beaten"}
    return Place(root, paths)


@pytest.fixture(scope="module")
def examples(place):
    """All in memory at once, as files; by whether those that were beaten are left out."""
    part, made = place.test, {}
    for beaten in (False, True):
        outcomes = pd.read_parquet(place.paths["beaten0"])
        attacked = torch.from_numpy(((outcomes.prediction == outcomes.label) | (not beaten)).to_numpy(copy=True))
        stored = (part.images.to(torch.int32) * 257).to(torch.uint16).view(torch.int16)
        found = craft(place.network(), part.images[attacked], part.labels[attacked], ATTACK, 250, seed=3)
        stored[attacked] = found.view(torch.int16)
        path = place.root / f"whole{beaten:d}"
        save_file({"examples": stored.view(torch.uint16)}, path)
        zero = zero_gradients(place.network(), part.images[attacked], 250)
        made[beaten] = path.read_bytes(), {"n": COUNT, "zero_gradients": zero}
        made[beaten][1].update({"attacked": int(attacked.sum())} if beaten else {})
    place.paths["examples"].write_bytes(made[False][0])
    return made


@pytest.mark.parametrize("beaten", [False, True])
def test_examples_are_those_of_the_whole_set_and_a_batch_is_all_that_is_read(place, examples, beaten, monkeypatch):
    read, own = [], Rows.__getitem__
    monkeypatch.setattr(Rows, "__getitem__", lambda self, rows: (found := own(self, rows), read.append(len(found)))[0])
    job = place.job("craft", CRAFT, "data", "model", *["beaten0"] * beaten)
    metrics = craft_stage.run(job)
    assert (job.output.read_bytes(), metrics) == examples[beaten]
    assert max(read) == 250 and job.computed == {}


def whole_outcomes(place, images):
    logits = torch.cat([predict(place.network(), part) for part in images.split(512)])
    confidence, prediction = logits.softmax(1).max(1)
    table = {"index": range(COUNT), "label": place.test.labels.numpy(), "prediction": prediction.numpy()}
    pd.DataFrame(table | {"confidence": confidence.numpy()}).to_parquet(place.root / "table", index=False)
    return (place.root / "table").read_bytes()


@pytest.mark.parametrize("crafted", [False, True])
def test_outcomes_are_those_of_the_whole_set(place, examples, crafted):
    roles, spec = (["examples"], {}) if crafted else ([], {"split": "test"})
    job = place.job("evaluate", spec, "data", "model", *roles)
    evaluate_stage.run(job)
    images = to_float(load_file(place.paths["examples"])["examples"] if crafted else place.test.images)
    assert job.output.read_bytes() == whole_outcomes(place, images)


def test_an_example_out_of_its_budget_is_named_by_its_number_in_the_set(place, examples):
    stored = load_file(place.paths["examples"])["examples"].clone()
    stored.view(torch.int16)[550] = (257 * (place.test.images[550].int() ^ 128)).to(torch.uint16).view(torch.int16)
    job = place.job("evaluate", {}, "data", "model", "examples")
    for content, words in ((stored, "image 550 lies outside"), (stored[:599], "don't match")):
        save_file({"examples": content.contiguous()}, place.root / "broken")
        job._checked["examples"] = place.root / "broken"
        with pytest.raises(BudgetError, match=words):
            evaluate_stage.run(job)


def test_features_are_those_of_the_whole_set(place):
    job = place.job("features", {}, "data", "model")
    assert features_stage.run(job) == {"n": 260, "width": 4}
    images = tensors.load(place.paths["data"]).train.images
    with torch.no_grad():
        whole = torch.cat([place.network().features(part / 255) for part in images.split(250)])
    save_file({"features": whole}, place.root / "whole")
    assert job.output.read_bytes() == (place.root / "whole").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["craft", "evaluate", "certify"])
def test_two_devices_give_the_bytes_of_one(place, examples, kind, monkeypatch):
    stage, spec, roles = {
        "craft": (craft_stage, CRAFT, ["beaten0"]),
        "evaluate": (evaluate_stage, {}, ["examples"]),
        "certify": (certify_stage, {"smoothing": SMOOTHING, "split": "test", "seed": 1}, []),
    }[kind]
    one, two = (place.job(kind, spec, "data", "model", *roles, output=f"{kind}{i}") for i in (1, 2))
    metrics = stage.run(one)
    monkeypatch.setattr(Job, "devices", [torch.device("cpu")] * 2)
    assert stage.run(two) == metrics
    assert two.output.read_bytes() == one.output.read_bytes()
    assert (one.computed, two.computed) == ({}, {"devices": 2})


@pytest.mark.slow
def test_what_goes_wrong_on_one_of_two_devices_is_said(place, monkeypatch):
    monkeypatch.setattr(Job, "devices", [torch.device("cpu")] * 2)
    job = place.job("craft", CRAFT, "data", "model")
    broken = place.network()
    broken.head.weight.data.fill_(3e38)
    files.save(place.root / "broken-model", broken, RESNET, 1, 4)
    job._checked["model"] = place.root / "broken-model"
    with pytest.raises(UserError, match=r"images 0 to 249: .* has diverged"):
        craft_stage.run(job)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FloatingPointError("it has diverged"), (FloatingPointError, "it has diverged")),
        (AttributeError("no such thing"), (RuntimeError, "AttributeError: no such thing")),
    ],
)
def test_an_error_of_another_process_is_told_with_its_place(error, told, monkeypatch):
    said = []

    class Connection:
        send = staticmethod(said.append)

    class Sick(Job):
        def calm_torch(self):
            raise error

    monkeypatch.setattr(devices, "end_with_parent", lambda number: None)
    monkeypatch.setattr(devices.signal, "signal", lambda *_: None)
    before = logging.getLogger("robust_transfer").handlers[:]
    devices._made_for(Connection, None, Sick(None, {}, {}, None, None, 1, None), "cpu", [0])
    logging.getLogger("robust_transfer").handlers[:] = before
    *logged, (kind, content) = said
    assert (kind, type(content), str(content)) == ("error", *told)
    assert bool(logged) is isinstance(error, AttributeError)
    assert not logged or "calm_torch" in logged[0][1].msg


def test_certificates_of_two_precisions_are_not_put_together(place):
    class Asked:
        signal = None

        def __bool__(self):
            return True

    def state(**computed):
        job = place.job("certify", {"smoothing": SMOOTHING, "split": "test", "seed": 1}, "data", "model")
        job.computed.update(computed)
        return certify_stage.State(job, Asked())

    first = state(precision="bf16")
    first.certificates.append((1, 0.5, 1, 200))
    first.save()
    assert state(precision="bf16").certificates == [(1, 0.5, 1, 200)]
    assert state().certificates == state(precision="float32").certificates == []
    first.path.unlink()


def test_a_machine_that_names_no_gpus_has_one(monkeypatch):
    job = Job(None, {}, {"device": "cpu"}, None, None, 1, None)
    job.__dict__["device"] = torch.device("cuda")
    assert job.devices == [torch.device("cuda")]


# ---- memory --------------------------------------------------------------------------------------------------------


class Small(nn.Module):
    """A device on which so many images pass at most; what it says of an image depends on no other."""

    def __init__(self, room):
        super().__init__()
        self.room, self.scale = room, nn.Parameter(torch.linspace(-1, 1, 192).view(3, 64))
        self.seen = []

    def forward(self, images):
        self.seen.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
        return (images.flatten(1)[:, None].sin() * self.scale).sum(2)


@pytest.fixture
def whole(monkeypatch):
    """Attacks go at the model itself, not at a copy."""
    monkeypatch.setattr("robust_transfer.attacks.craft.attack_ready", lambda model, sample=None: model)


def test_where_memory_is_too_small_the_batch_is_split_and_the_examples_are_the_same(place, whole, caplog):
    part = place.test
    made = [Crafting(Small(room), part.images, part.labels % 3, ATTACK, 250, 3) for room in (250, 70)]
    with caplog.at_level(logging.WARNING):
        expected, found = ([one.batch(first) for first in (0, 250, 500)] for one in made)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert [line.partition(" (")[0] for line in caplog.messages] == [
        f"out of memory: from here on {count} images pass together" for count in (125, 62)
    ]
    how = {}
    made[0].at_once.tell(how)
    assert how == {}
    made[1].at_once.tell(how)
    assert how == {"at_once": 62}
    assert made[0].without_gradient(250) == made[1].without_gradient(250)


def test_nothing_is_kept_of_what_does_not_pass_together():
    kept = []
    model = Small(4)
    images = torch.rand(10, 1, 8, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(len(x)), x)[1], lambda x: x):
        logits = InParts(model, AtOnce(4))(images)
    assert max([size for size in kept if size in (10, 4, 2)], default=0) < 10
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    (expected,) = torch.autograd.grad(Small(10)(images).sum(), images)
    assert torch.equal(gradient, expected) and model.seen == [4, 4, 2, 2, 4, 4]


def test_memory_that_is_too_small_for_one_image_is_said_and_other_errors_stay():
    with pytest.raises(UserError, match="too small for one image"):
        AtOnce(8)(Small(0), torch.rand(3, 1, 8, 8))
    with pytest.raises(RuntimeError, match="another"):
        AtOnce(8)(lambda _: (_ for _ in ()).throw(RuntimeError("another")), torch.rand(3, 1, 8, 8))


def test_a_batch_has_as_many_images_as_the_memory_has_room_for():
    size = size_of(RESNET, Facts(1, 8, 8, 4))
    counts = [at_once.fitting(size, 64, memory, back=True) for memory in (0, 1e6, 1e7, 1e8)]
    assert counts == sorted(counts) and counts[0] == 1 and counts[-1] > 1000
    assert at_once.fitting(size, 64, 1e7, back=False) > counts[2]
    each = size.passing(back=True) + 4 * at_once.COPIES * 64
    assert counts[3] * each < 0.8e8 < (counts[3] + 2) * each + 8 * size.parameters
    assert at_once.at_once(RESNET, (9, 1, 8, 8), "cpu", 250).count == 250
