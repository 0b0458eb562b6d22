"""In which numbers networks compute, and where that is said."""

import copy
import math

import pytest
import torch
from torch import nn

from made import MACHINE, Small, write
from robust_transfer import precision
from robust_transfer.attacks.perturb import perturb
from robust_transfer.attacks.ready import attack_ready, fast_convolutions
from robust_transfer.attacks.worst import Worst
from robust_transfer.data.tensors import PreparedData, TensorSplit
from robust_transfer.errors import UserError
from robust_transfer.models import classifier, files
from robust_transfer.plan import build
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import CifarResNet, Npz, Pgd, Recipe
from robust_transfer.precision import computing_in, exactly
from robust_transfer.run import nodes
from robust_transfer.signals import StopRequest
from robust_transfer.specs.precision import precision_of
from robust_transfer.store import read_card
from robust_transfer.training import checkpoint
from robust_transfer.training.checkpoint import Progress
from robust_transfer.training.loop import train
from workspace import planned

pytestmark = pytest.mark.usefixtures("one_thread")

NETWORK = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1], width=4)
ATTACK = Pgd(algorithm="pgd", eps=0.1, steps=2, step_size=0.05, random_start=True)
PRODUCTS = torch.backends.cuda.matmul, torch.backends.cudnn.conv


def network():
    torch.manual_seed(0)
    return files.build(NETWORK, 1, 4)


def images(count=8, side=8):
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(1))


class Noting(nn.Module):
    """It notes in what it is computed."""

    def __init__(self):
        super().__init__()
        self.seen, self.weight = [], nn.Parameter(torch.ones(2, 4))

    def forward(self, x):
        self.seen.append(precision.current())
        return x.flatten(1)[:, :4] @ self.weight.T


# ---- what it does --------------------------------------------------------------------------------------------------


def test_products_are_as_asked_for_a_while():
    before = [each.fp32_precision for each in PRODUCTS]
    for word, wanted in {"float32": "ieee", "tf32": "tf32", "bf16": "tf32"}.items():
        with computing_in(word):
            assert [each.fp32_precision for each in PRODUCTS] == [wanted] * 2
            assert precision.current() == word
            with exactly():
                assert [each.fp32_precision for each in PRODUCTS] == ["ieee"] * 2
    with pytest.raises(KeyError), computing_in("bf16"):
        raise KeyError
    assert [each.fp32_precision for each in PRODUCTS] == before
    assert precision.current() == "float32"


@pytest.mark.parametrize("of", [lambda x: x, attack_ready], ids=["network", "ready"])
def test_bfloat16_moves_logits_a_little_and_they_come_as_float32(of):
    net = of(network().eval())
    exact = net(images())
    with computing_in("bf16"):
        rounded = net(images())
        again = of(network().eval())(images())
    assert exact.dtype == rounded.dtype == torch.float32
    assert torch.equal(rounded, again)
    assert not torch.equal(exact, rounded)
    assert torch.allclose(exact, rounded, rtol=0.05, atol=0.05)
    assert torch.equal(net(images()), exact), "as before"


def test_all_that_is_observed_comes_as_float32():
    with computing_in("bf16"):
        seen = network().observe(images(), unit=2)
    assert {each.dtype for each in (*seen.stages, seen.features, seen.logits, seen.unit_input)} == {torch.float32}


def test_gradients_of_bfloat16_reach_weights_as_float32():
    net = network()
    with computing_in("bf16"):
        net(images()).sum().backward()
    assert {parameter.grad.dtype for parameter in net.parameters()} == {torch.float32}


def test_what_judges_computes_in_float32():
    net, labels = Noting(), torch.zeros(8, dtype=torch.int64)
    with computing_in("bf16"):
        classifier.predict(net, images())
        Worst(net, images(), labels).keep_worse(images(), torch.arange(8))
        assert net.seen == ["float32"] * 3
        perturb(net, images(), labels, ATTACK)
    assert net.seen[3:] == ["bf16"] * 2


def test_steps_of_attacks_take_tf32_convolutions_on_a_gpu():
    class OnGpu:
        is_cuda, shape = True, (1, 1, 8, 8)

    with computing_in("float32"):
        with fast_convolutions(OnGpu()):
            assert torch.backends.cudnn.conv.fp32_precision == "tf32"
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"


# ---- trainings -----------------------------------------------------------------------------------------------------


def trained(tmp_path, **more):
    draw = torch.Generator().manual_seed(2)
    splits = [
        TensorSplit(torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=draw), torch.arange(n) % 4)
        for n in (16, 8, 4)
    ]
    schedule = {"epochs": 2, "batch_size": 8, "lr": 0.1}
    recipe = Recipe(inputs={"attack": ATTACK, "clean_weight": 0.5}, schedule=schedule, **more)
    net = network()
    with computing_in(recipe.precision):
        train(net, PreparedData(*splits), recipe, "pretrain.0", tmp_path / "state", math.inf, StopRequest())
    return net.state_dict()


def test_a_training_in_bfloat16_ends_with_float32_weights_near_those_of_float32(tmp_path):
    plain, rounded = trained(tmp_path), trained(tmp_path, precision="bf16")
    assert {tensor.dtype for tensor in rounded.values()} == {tensor.dtype for tensor in plain.values()}
    assert any(not torch.equal(plain[name], rounded[name]) for name in plain)
    assert all(torch.allclose(plain[name].float(), rounded[name].float(), atol=0.2) for name in plain)
    assert all(torch.equal(tensor, trained(tmp_path, precision="bf16")[name]) for name, tensor in rounded.items())


@pytest.mark.parametrize("word", ["float32", "tf32", "bf16"])
def test_compiled_blocks_compute_the_same_under_their_old_names(tmp_path, monkeypatch, word):
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return graph.forward

    torch.compiler.reset()  # torch compiles a block again only so many times in a process
    monkeypatch.setattr(precision, "BACKEND", backend)
    plain, compiled = trained(tmp_path, precision=word), trained(tmp_path, precision=word, compile=True)
    assert len(made) > 3  # blocks in training and evaluation mode, and the copy that is attacked
    assert list(plain) == list(compiled)
    assert all(torch.allclose(plain[name], compiled[name], atol=1e-5) for name in plain)


def test_a_state_with_channels_last_is_saved_and_comes_back(tmp_path):
    net = network().to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    net(images()).sum().backward()
    optimiser.step()
    checkpoint.save(tmp_path / "state", "pretrain.0", Progress(), net, optimiser)
    other = copy.deepcopy(network()).to(memory_format=torch.channels_last)
    velocities = torch.optim.SGD(other.parameters(), 0.1, 0.9)
    assert checkpoint.restore(tmp_path / "state", "pretrain.0", other, velocities)
    assert all(torch.equal(one, two) for one, two in zip(net.parameters(), other.parameters(), strict=True))
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        here, there = (of.state[p]["momentum_buffer"] for of, p in ((optimiser, one), (velocities, two)))
        assert torch.equal(here, there) and there.stride() == two.stride()


# ---- ids and cards -------------------------------------------------------------------------------------------------


def test_a_word_counts_for_all_kinds_that_do_not_judge():
    kinds = ("pretrain", "transfer", "craft", "certify", "evaluate", "features")
    assert [precision_of({"precision": "bf16"}, kind) for kind in kinds] == ["bf16"] * 4 + ["float32"] * 2
    assert [precision_of({"precision": {"craft": "tf32"}}, kind) for kind in kinds] == [
        *("float32", "float32", "tf32", "float32", "float32", "float32")
    ]
    assert precision_of({}, "craft") == "float32"


@pytest.mark.parametrize(
    ("machine", "kinds"),
    [
        ({"precision": "float32", "compile": []}, set()),
        ({"precision": {"craft": "tf32", "certify": "bf16"}}, set()),
        ({"precision": {"transfer": "bf16"}}, {"transfer"}),
        ({"precision": "tf32"}, {"pretrain", "transfer"}),
        ({"compile": ["pretrain"]}, {"pretrain"}),
    ],
)
def test_ids_change_where_a_trained_model_can(machine, kinds):
    before, after = planned("davchev"), planned("davchev", machine=machine)
    new = [node for node in after.nodes.values() if node.id not in before.nodes]
    own = {node.kind for node in new if node.spec.keys() & {"precision", "compile"}}
    assert own == kinds
    assert bool(new) == bool(kinds)
    assert {node.kind for node in new} <= {"pretrain", "transfer", "craft", "evaluate"}


def test_what_is_compiled_trains_on_one_device():
    with pytest.raises(UserError, match=r"compile: a training on several GPUs is not compiled"):
        planned("davchev", machine={"gpus": 2, "compile": ["pretrain"]})


def test_a_recipe_says_it_itself():
    plan = Plan({"machine": {"precision": "bf16", "compile": ["pretrain"]}})
    data = build.prepare(plan, Npz(reader="npz", file="mine.npz", validation=0))
    schedule = {"iterations": 1, "batch_size": 8, "lr": 0.1}
    asked, own = (Recipe(network=NETWORK, schedule=schedule, **more) for more in ({}, {"precision": "float32"}))
    assert build.pretrain(plan, data, asked).spec["precision"] == "bf16"
    assert build.pretrain(plan, data, asked).slug.endswith("nat+bf16+compiled")
    assert "precision" not in build.pretrain(plan, data, own).spec


def test_cards_say_in_what_they_were_computed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write(0)
    monkeypatch.setitem(MACHINE, "precision", {"pretrain": "bf16", "craft": "tf32"})
    small = Small(tmp_path / "results")
    small.make()
    said = {
        node.kind: read_card(small.results / node.card)["computed"] for node in small.plan.ancestry(small.plan.nodes)
    }
    assert said["pretrain"] == {"precision": "bf16", "compiled": False, "channels_last": False, "processes": 1}
    assert {kind: about["precision"] for kind, about in said.items() if about} == {
        "pretrain": "bf16",
        "craft": "tf32",
        "evaluate": "float32",
    }
    assert said["prepare"] == {}
    assert nodes.is_made(small.model, small.results)
