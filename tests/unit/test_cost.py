"""What nodes cost: passes counted, sizes of networks, rates from cards, and when all of it is done."""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter
from torch import fx, nn

from robust_transfer.attacks.algorithms import ALGORITHMS, AnyAttack
from robust_transfer.attacks.ready import ReadyModel
from robust_transfer.cli import plan
from robust_transfer.cost import networks, rates
from robust_transfer.cost.forecast import Forecast
from robust_transfer.cost.nodes import Load
from robust_transfer.cost.rates import Rate, Rates, Timed
from robust_transfer.data.tensors import PreparedData, TensorSplit
from robust_transfer.models import files
from robust_transfer.models.classifier import Classifier, images_at_once
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import CifarResNet, Last, Recipe
from robust_transfer.signals import StopRequest
from robust_transfer.specs.datasets import Facts
from robust_transfer.specs.passes import Ahead
from robust_transfer.stages.node import Node
from robust_transfer.training.loop import train

RESNET = CifarResNet(family="cifar-resnet", depth_per_stage=[2, 2, 2], width=8)
TINY = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=2)
SMALL = Facts(1, 8, 8, 4, {"train": dict.fromkeys(range(4), 4), "validation": {0: 4}, "test": {0: 4}})


def network_of(family, **values):
    from robust_transfer.models.families import AnyNetwork

    return TypeAdapter(AnyNetwork).validate_python({"family": family, **values})


# ---- passes of attacks ---------------------------------------------------------------------------------------------


class Counting(nn.Module):
    """A model that no small change of an image deceives; counts images on their way forward and back."""

    def __init__(self):
        super().__init__()
        self.forwards = self.backs = 0
        self.scale = nn.Parameter(torch.tensor(1e-3))

    def forward(self, images):
        self.forwards += len(images)
        if images.requires_grad:
            images.register_hook(self.count)
        mean = self.scale * images.flatten(1).mean(1, keepdim=True)
        return torch.cat([1 - mean, mean, -mean, mean / 2], 1)

    def count(self, gradient):
        self.backs += len(gradient)


ATTACKS = [
    {"algorithm": "fgsm"},
    {"algorithm": "fgsm", "labels": "predicted"},
    {"algorithm": "pgd", "steps": 7, "step_size": 0.02, "random_start": True},
    {"algorithm": "pgd", "steps": 5, "step_size": 0.02, "random_start": True, "restarts": 3},
    {"algorithm": "mi-fgsm", "steps": 6},
    {"algorithm": "feature", "steps": 6, "step_size": 0.02},
    {"algorithm": "apgd", "steps": 20},
    {"algorithm": "apgd", "steps": 20, "restarts": 2, "loss": "dlr"},
    {"algorithm": "apgd", "steps": 20, "loss": "dlr_targeted"},
    {"algorithm": "fab-t", "steps": 20},
    {"algorithm": "square", "queries": 50},
]


@pytest.mark.parametrize("values", ATTACKS, ids=lambda values: "-".join(map(str, values.values())))
def test_an_attack_costs_as_many_passes_as_it_says(values):
    attack = TypeAdapter(AnyAttack).validate_python({"eps": 0.1} | values)
    model, images = Counting().eval(), torch.rand(6, 3, 8, 8)
    attack.perturb(model, images, torch.zeros(6, dtype=torch.int64), seed=0)
    said = attack.passes(classes=4)
    assert model.forwards / 6 == pytest.approx(said.forward, rel=0.1, abs=0.5)
    assert model.backs / 6 == pytest.approx(said.back, rel=0.1)


def test_every_attack_that_evaluates_is_counted_here():
    names = {form.model_fields["algorithm"].annotation.__args__[0] for form in ALGORITHMS if form.evaluates}
    assert names - {"autoattack"} == {values["algorithm"] for values in ATTACKS}


def test_autoattack_costs_what_its_members_do_and_a_look_at_each():
    attack = TypeAdapter(AnyAttack).validate_python({"algorithm": "autoattack", "eps": 0.1})
    each = [member.passes(10) for member in attack.members()]
    assert attack.passes(10) == (sum(one.forward for one in each) + 4, sum(one.back for one in each))


# ---- passes of trainings -------------------------------------------------------------------------------------------

PGD = {"algorithm": "pgd", "eps": 0.1, "steps": 3, "step_size": 0.05, "random_start": False}
RECIPES = {
    "natural": {},
    "selecting": {"schedule": {"select": "best_validation"}, "inputs": {"attack": PGD}},
    "plateau": {"schedule": {"decay": "plateau", "patience": 9}, "inputs": {"attack": PGD}},
    "adversarial": {"inputs": {"attack": PGD, "clean_weight": 0}},
    "half adversarial": {"inputs": {"attack": {"algorithm": "fgsm", "eps": 0.1, "labels": "predicted"}}},
    "free": {"inputs": {"attack": {"algorithm": "free", "eps": 0.1, "replay": 2}, "clean_weight": 0}},
    "trades": {"inputs": {"attack": PGD, "clean_weight": 1}, "terms": {"trades": 6}},
    "consistency": {"inputs": {"noise": 0.1}, "terms": {"consistency": {"weight": 1, "entropy": 1, "copies": 3}}},
    "contrastive": {"terms": {"contrastive": {"temperature": 0.5}}},
    "feature distance": {
        "inputs": {"attack": PGD, "clean_weight": 0},
        "terms": {"feature_distance": {"weight": 1, "units": 1}},
    },
    "teacher": {"inputs": {"attack": PGD}, "terms": {"feature_distillation": 1}},
    "tuned": {"tuned": ["feature_distillation"]},
    "averaging": {"averaging": {"every": 2}},
    "a share": {"inputs": {"share": 0.5}},
}


@pytest.fixture
def counted(monkeypatch):
    """Images that pass forward through any network and any copy that is attacked, and back to the pixels."""
    found = {"forward": 0, "back": 0}

    def count(images):
        found["forward"] += len(images)
        if images.requires_grad and torch.is_grad_enabled():
            images.register_hook(lambda gradient: found.update(back=found["back"] + len(gradient)))

    def features(self, images, own=Classifier.features):
        if isinstance(images, torch.Tensor):  # and no stand-in of a trace
            count(images)
        return own(self, images)

    def forward(self, images, own=ReadyModel.forward):
        if isinstance(self.network, fx.GraphModule):
            count(images)
        return own(self, images)

    monkeypatch.setattr(Classifier, "features", features)
    monkeypatch.setattr(ReadyModel, "forward", forward)
    return found


def split(count):
    return TensorSplit(torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8), torch.arange(count) % 4)


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_costs_as_many_passes_as_it_says(name, counted, tmp_path):
    given = RECIPES[name]
    schedule = {"epochs": 2, "batch_size": 4, "lr": 1e-3} | given.get("schedule", {})
    recipe = Recipe(**{"inputs": {}} | given | {"schedule": schedule})
    said = list(recipe.passes(Ahead(recipe, SMALL, {})))
    full = recipe.with_values(dict.fromkeys(recipe.tuned, 1.0))
    network, teacher = files.build(TINY, 1, 4), files.build(TINY, 1, 4)
    for term in full.terms.used.values():
        term.equip(network)
    data = PreparedData(split(16), split(4), split(4))
    train(network, data, full, "n.0", tmp_path / "state", math.inf, StopRequest(), teacher)
    forward = sum(each.images * each.forward for each in said)
    assert counted["forward"] == pytest.approx(forward, rel=0.02)
    back = sum(each.images * each.back for each in said)
    if name == "free":  # its way back is that to the weights
        back += said[0].images
    assert counted["back"] == pytest.approx(back, rel=0.02)


@pytest.mark.parametrize("side", [1, 8, 32, 224, 4000])
def test_as_many_images_are_validated_at_once_as_is_said(side):
    ahead = Ahead(None, Facts(3, side, side, 4), {})
    assert ahead.at_once == images_at_once(torch.empty(9, 3, side, side, device="meta"))


# ---- sizes of networks ---------------------------------------------------------------------------------------------

IMAGENET = Facts(3, 224, 224, 1000)


@pytest.mark.parametrize(
    ("name", "multiplications", "parameters"), [("resnet18", 1.81e9, 11.7e6), ("resnet50", 4.09e9, 25.6e6)]
)
def test_sizes_are_those_that_are_published(name, multiplications, parameters):
    size = networks.size_of(network_of("torchvision", name=name), IMAGENET)
    assert size.flops == pytest.approx(2 * multiplications, rel=0.02)
    of_head = size.width * (1000 - networks.CLASSES)
    assert size.parameters + of_head == pytest.approx(parameters, rel=0.01)


def test_a_network_of_timm_is_counted():
    pytest.importorskip("timm")
    size = networks.size_of(network_of("timm", name="lcnet_035"), IMAGENET)
    assert size.flops > 1e7 and all(size.before) and size.trained("head") == 0


@pytest.mark.parametrize("words", [["--devices", "0"], ["--teraflops", "-1"], ["--teraflops", "nan"]])
def test_numbers_without_a_sense_are_refused(words, capsys):
    parser = argparse.ArgumentParser()
    plan.arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(words)
    assert words[0] in capsys.readouterr().err


def test_the_table_is_in_step_with_the_networks():
    kept = json.loads(networks.TABLE.read_text(encoding="utf-8"))
    some = sorted(kept)[::4]
    assert len(some) > 3 and json.loads(networks.as_table(some, anew=True)) == {key: kept[key] for key in some}


def test_the_part_that_trains_is_what_comes_after_the_frozen_one():
    size = networks.size_of(RESNET, Facts(1, 8, 8, 4))
    shares = [size.trained(part) for part in ("all", *(Last(last=n, of="blocks") for n in range(6, 0, -1)), "head")]
    assert shares == sorted(shares, reverse=True) and shares[0] == 1 and shares[-1] == 0
    assert size.trained(Last(last=1, of="stages")) == size.trained(Last(last=2, of="blocks"))
    assert size.trained(Last(last=3, of="units")) == size.trained(Last(last=2, of="blocks"))
    assert size.trained(Last(last=1, of="units")) == 0
    assert size.trained(Last(last=2, of="blocks")) == pytest.approx(1 / 3, abs=0.05)


# ---- memory --------------------------------------------------------------------------------------------------------

STEP = """
import json, re, sys, torch
from pydantic import TypeAdapter
from robust_transfer.models.families import AnyNetwork
torch.set_num_threads(1)
# Not getrusage's, which a process has from the one that started it.
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
network = TypeAdapter(AnyNetwork).validate_python(json.loads(sys.argv[1])).build(3, 10)
network(torch.rand(2, 3, 32, 32)).sum().backward()
images = torch.rand(int(sys.argv[2]), 3, int(sys.argv[3]), int(sys.argv[3]))
before = peak()
network(images).sum().backward()
print((peak() - before) / len(images))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak")
@pytest.mark.parametrize(
    ("form", "batch", "side"),
    [
        ({"family": "torchvision", "name": "resnet18"}, 16, 112),
        ({"family": "wide-resnet", "depth": 28, "widen": 4}, 32, 32),
    ],
    ids=["resnet18", "wrn28x4"],
)
def test_what_a_batch_keeps_is_what_the_process_grows_by(form, batch, side):
    words = [sys.executable, "-c", STEP, json.dumps(form), str(batch), str(side)]
    measured = float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    size = networks.size_of(network_of(**form), Facts(3, side, side, 10))
    assert measured / 2 < size.kept + 3 * size.largest < 2 * measured


# ---- rates ---------------------------------------------------------------------------------------------------------

TRUE = Rate(1e-10, 2e-5, 1e-9, 0.5)
LOADS = [Load(10.0**a * (1 + b), 10.0 ** (3 + b), 10.0 ** (7 + a % 3)) for a in (8, 9, 10, 11) for b in (0, 1, 2)]


def test_rates_are_found_again_in_the_seconds_of_cards():
    timed = [Timed("transfer", load, TRUE.seconds(load)) for load in LOADS]
    found = rates.fitted(timed, rates.assumed(True, 1), "a GPU")
    assert found.of_kind["transfer"] == pytest.approx(TRUE, rel=1e-3)
    assert (found.device, found.cards) == ("a GPU", len(LOADS))


def test_a_kind_of_few_cards_takes_the_rates_of_all_and_without_cards_they_are_assumed():
    timed = [Timed("transfer", load, TRUE.seconds(load)) for load in LOADS] + [Timed("craft", LOADS[0], 1.0)]
    found = rates.fitted(timed, rates.assumed(True, 1), "a GPU")
    assert "craft" not in found.of_kind and not found.is_assumed("craft")
    prepared = rates.fitted([Timed("prepare", Load(0), 1.0)] * 6, rates.assumed(True, 1), "a GPU")
    assert prepared.is_assumed("craft"), "of what needs no network nothing is learnt"
    none = rates.fitted([], rates.assumed(True, 1, teraflops=10), "")
    assert none.is_assumed("craft") and none.seconds("craft", Load(1e15)) == pytest.approx(100, rel=0.1)


# ---- when it is done -----------------------------------------------------------------------------------------------


def forecast(parents, seconds):
    """Of evaluations made of one another, that take so many seconds."""
    plan = Plan({"data_root": "data", "machine": {}})
    for name, of in parents.items():
        plan.nodes[name] = Node.recorded(name, "worst", {"attack": {"algorithm": "fgsm", "eps": 0.1}}, of)
    found = Forecast(plan, parents, Rates(Rate(0, 0, 0, 0)), gpu=False)
    found.__dict__["_seconds"] = seconds.__getitem__
    return found


CHAIN = {"a": {}, "b": {"member0": "a"}, "c": {"member0": "b"}, "d": {}, "e": {}, "f": {"member0": "a"}}
TIMES = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 1, "f": 1}


def test_the_longest_path_and_the_wall_clock():
    found = forecast(CHAIN, TIMES)
    assert found.longest_path == ["a", "b", "c"] and found.soonest == 9
    assert [found.wall(n) for n in (1, 2, 3, 9)] == [16, 9, 9, 9]
    assert forecast({}, {}).longest_path == [] and forecast({}, {}).wall(2) == 0


def test_what_is_made_already_holds_nothing_up():
    found = forecast(CHAIN, TIMES)
    assert forecast({name: {} for name in ("b", "d")}, TIMES).wall(2) == 5
    assert found.total(["a", "z"]).nodes == 1
