"""`robust-transfer inspect`: what it says of a file, the config that it proposes, and the lock."""

import argparse
import json

import pytest
import torch
import torchvision
import yaml
from pydantic import TypeAdapter

import foreign
from foreign import CIFAR, LAYOUTS, MEAN, NUMBERS, STD, seeded
from robust_transfer.cli import inspect
from robust_transfer.errors import UserError
from robust_transfer.models import checkpoints, files, fits, zoo
from robust_transfer.models.families import AnyNetwork
from robust_transfer.models.families.torchvision import BLOCKS
from robust_transfer.models.recognise import recognise
from robust_transfer.plan import weights
from robust_transfer.plan.specs import CifarResNet, PreActResNet, TimmNet, TorchvisionNet, WideResNet

IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with data/weights."""
    (tmp_path / "data" / "weights").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(folder, content, name="a.pt"):
    torch.save(content, folder / "data" / "weights" / name)
    return name


def small_state():
    return files.build(CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1, 1], width=8), 1, 5).state_dict()


def run(file, *more):
    parser = argparse.ArgumentParser()
    inspect.arguments(parser)
    return inspect.run(parser.parse_args([str(file), *more]))


def test_a_file_that_is_of_several_families_as_well_says_so(tmp_path):
    network = WideResNet(family="wide-resnet", depth=16, widen=1, width=8)
    torch.save(files.build(network, 1, 5).state_dict(), tmp_path / "a.pt")
    found = recognise(checkpoints.read(tmp_path / "a.pt"))
    assert found.fits and "as well" in found.questions["family"]
    one = recognise(checkpoints.read(tmp_path / "a.pt"), ["wide-resnet"])
    assert one.network.family == "wide-resnet" and "family" not in one.questions


def test_typing_errors_and_odd_names(folder, capsys):
    name = saved(folder, small_state(), "a, b#1.pt")
    assert run(name) == 0
    lines = yaml.safe_load(capsys.readouterr().out.partition("networks:")[2].partition("custom:")[2])
    assert [source["file"] for source in lines["sources"].values()] == [name]
    with pytest.raises(UserError, match="no such family; there are cifar-densenet"):
        run(name, "--family", "resnet")
    with pytest.raises(UserError, match="no network has that name"):
        run(name, "--family", "torchvision", "--name", "resnet19")


def test_a_link_is_recorded_by_its_own_name(folder):
    saved(folder, small_state(), "real.pt")
    (folder / "data/weights/real.pt").rename(folder / "elsewhere.pt")
    (folder / "data/weights/mine.pt").symlink_to(folder / "elsewhere.pt")
    run("mine.pt", "--record")
    assert [*weights.recorded()] == ["mine.pt"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised(layout, tmp_path):
    make, network, wrap = LAYOUTS[layout]
    torch.save(wrap(seeded(make).state_dict()), tmp_path / "their.pt")
    found = recognise(checkpoints.read(tmp_path / "their.pt"))
    untold = {"normalise", "slope", "shortcut_of"}
    told = {name: value for name, value in network.canonical().items() if name not in untold}
    assert found.fits
    assert found.network.canonical() == told
    assert found.questions.keys() == {name for name in network.canonical() if name in untold}


@pytest.mark.parametrize(
    "network",
    [
        *(TorchvisionNet(family="torchvision", name=name) for name in BLOCKS),
        CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1], width=4),
        WideResNet(family="wide-resnet", depth=10, widen=2, width=4, shortcut="pad"),
        PreActResNet(family="preact-resnet", depth_per_stage=[1, 1], width=4),
    ],
    ids=lambda network: network.slug,
)
def test_networks_are_recognised_by_our_own_names_as_well(network):
    with torch.device("meta"):
        state = files.build(network, 3, 6).state_dict()
    found = recognise(checkpoints.unwrapped(state, "ours"))
    assert found.fits
    assert found.network == network
    assert found.fit.classes == 6


@pytest.mark.parametrize("name", BLOCKS)
def test_torchvisions_networks_are_recognised_by_torchvisions_names(name):
    with torch.device("meta"):
        state = torchvision.models.get_model(name, num_classes=6).state_dict()
    found = recognise(checkpoints.unwrapped(state, "theirs"))
    assert found.fits
    assert found.network == TorchvisionNet(family="torchvision", name=name)


def test_a_file_of_ours_says_what_it_is(tmp_path):
    network = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1], width=4)
    files.save(tmp_path / "a.safetensors", files.build(network, 1, 6), network, 1, 6)
    found = recognise(checkpoints.read(tmp_path / "a.safetensors"))
    assert found.fits
    assert (found.network, found.questions) == (network, {})


def test_what_is_said_of_a_robust_imagenet_network(folder, capsys):
    state = torchvision.models.resnet18(num_classes=4).state_dict()
    saved(folder, foreign.of_madrylab(state, *IMAGENET), "resnet18_l2_eps3.ckpt")
    assert run("resnet18_l2_eps3.ckpt") == 0
    shown = capsys.readouterr().out
    for line in (
        "  state dict  122 tensors under model",
        "  stripped    module., model. from all names",
        "  left out    126: module.attacker.normalize.new_mean, ",
        "  normaliser  {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}",
        "  network     resnet18, 3 channels, 4 classes",
        "  matched     122 of 122 tensors",
    ):
        assert line in shown
    config = yaml.safe_load(shown[shown.index("networks:") :])
    network = TypeAdapter(AnyNetwork).validate_python(config["networks"]["resnet18-l2-eps3"])
    assert network == TorchvisionNet(family="torchvision", name="resnet18")
    source = {"network": "resnet18-l2-eps3", "file": "resnet18_l2_eps3.ckpt"}
    assert config["custom"]["sources"]["resnet18-l2-eps3"] == source


def test_the_yaml_with_its_questions_answered_brings_the_file(folder, capsys):
    make, _, wrap = LAYOUTS["TRADES"]
    saved(folder, wrap(seeded(make).state_dict()))
    assert run("a.pt") == 0
    shown = capsys.readouterr().out
    assert "    # slope: no tensor tells it; 0 (TRADES, RobustBench) or 0.1 (CARTL)" in shown
    assert "    # normalise: no tensor tells it; {mean: 0, std: 1} if" in shown
    assert "  idle        25: sub_block1.layer.0.bn1.weight, " in shown
    values = yaml.safe_load(shown[shown.index("networks:") :])["networks"]["a"]
    network = TypeAdapter(AnyNetwork).validate_python(values | {"slope": 0, "normalise": CIFAR})
    checkpoint = checkpoints.read(folder / "data" / "weights" / "a.pt")
    fits.fitted(network, checkpoint, "a.pt")


def test_the_closest_network_is_shown_with_what_is_missing_and_too_much(folder, capsys):
    state = torchvision.models.resnet18(num_classes=4).state_dict()
    del state["layer4.1.conv2.weight"]
    saved(folder, {"net": state | {"odd.weight": torch.zeros(2, 2)}, "ema": {"x": torch.zeros(2, 2)}})
    with pytest.raises(UserError, match="holds several state dicts: net, ema"):
        run("a.pt")
    assert run("a.pt", "--entry", "net") == 3
    shown = capsys.readouterr().out
    assert "  network     the closest is resnet18, 3 channels, 4 classes" in shown
    assert "  matched     121 of 122 tensors\n  missing     1: stages.3.1.conv2.weight\n  unused      1: odd." in shown
    assert "    a: {network: a, file: a.pt, entry: net}" in shown
    assert run("a.pt", "--entry", "net", "--json") == 3
    values = json.loads(capsys.readouterr().out)
    assert (values["missing"], values["unused"]) == (["stages.3.1.conv2.weight"], ["odd.weight"])
    assert values["network"] == {"family": "torchvision", "name": "resnet18"}


@pytest.mark.parametrize("of_the_file", [False, True])
def test_a_file_of_robustbench_is_held_against_the_network_of_its_name(folder, capsys, monkeypatch, of_the_file):
    """With the state dict that RobustBench takes, and all that no tensor tells."""
    said = {} if of_the_file else {"normalise": {"mean": 0, "std": 1}}
    network = PreActResNet(family="preact-resnet", depth_per_stage=[2, 1], width=4, shortcut_of="input", **said)
    monkeypatch.setattr(zoo, "entries", lambda: {"cifar10/Linf/A": zoo.Entry(network, not of_the_file, "id", "last")})
    state = foreign.prefixed(seeded(LAYOUTS["RobustBench's PreActResNet"][0]).state_dict(), "module.")
    state |= {"module.mean": MEAN, "module.std": STD} if of_the_file else {}
    (folder / "data/weights/robustbench/cifar10/Linf").mkdir(parents=True)
    name = saved(folder, {"last": state, "best": state}, "robustbench/cifar10/Linf/A.pt")
    assert run(name, "--record") == 0
    assert [*weights.recorded()] == [name]
    shown = capsys.readouterr().out
    assert "no tensor tells it" not in shown
    config = yaml.safe_load(shown[shown.index("networks:") :])
    assert config["custom"]["sources"]["A"] == {"network": "A", "robustbench": "cifar10/Linf/A"}
    proposed = TypeAdapter(AnyNetwork).validate_python(config["networks"]["A"])
    assert zoo.differs("cifar10/Linf/A", proposed) is None
    fits.fitted(proposed, checkpoints.read(folder / "data/weights" / name, "last"), name)
    with pytest.raises(UserError, match="several state dicts: last, best"):
        run(name, "--family", "preact-resnet")
    saved(folder, {"last": small_state()}, name)
    assert run(name) == 3
    assert "the closest is preact8w4" in capsys.readouterr().out


def test_weights_that_are_not_finite_are_named(folder, capsys):
    state = seeded(LAYOUTS["akamaster"][0]).state_dict()
    saved(folder, state | {"bn1.running_var": torch.full((4,), -1.0), "linear.bias": torch.full((5,), torch.nan)})
    assert run("a.pt") == 3
    assert "  broken      2: bn1.running_var, linear.bias" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"linear.weight": torch.zeros(0, 16), "linear.bias": torch.zeros(0)},
            "misshapen   2: linear.weight is 0 x 16 wh",
        ),
        ({"linear.bias": torch.tensor(1.0)}, "misshapen   1: linear.bias is one number where 5 is wanted"),
        ({"conv1.weight": torch.zeros(0, 3, 3, 3)}, "of no family that is known here"),
    ],
)
def test_sizes_that_no_network_has(folder, capsys, changed, words):
    state = seeded(LAYOUTS["akamaster"][0]).state_dict()
    saved(folder, state | changed)
    assert run("a.pt") == 3
    assert words in capsys.readouterr().out


def test_families_can_be_named(folder, capsys):
    saved(folder, torchvision.models.resnet18(num_classes=4).state_dict())
    assert run("a.pt", "--family", "preact-resnet") == 3
    assert "the closest is preact18w64" in capsys.readouterr().out
    saved(folder, {"odd": torch.zeros(2, 2)})
    assert run("a.pt") == 3
    assert "of no family that is known here" in capsys.readouterr().out


def test_a_network_of_timm_is_named(folder, capsys):
    timm = pytest.importorskip("timm")
    saved(folder, timm.create_model("resnet10t", num_classes=3).state_dict())
    assert run("a.pt") == 3
    assert "of timm's say --family timm --name NAME" in capsys.readouterr().out
    with pytest.raises(UserError, match="for timm's say --family timm too"):
        run("a.pt", "--name", "resnet10t")
    assert run("a.pt", "--family", "timm", "--name", "resnet10t", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["questions"]["normalise"].startswith(
        "{mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]} where"
    )
    assert values["network"] == TimmNet(family="timm", name="resnet10t").canonical()
    assert values["classes"] == 3


def test_a_normaliser_is_part_of_the_network(folder, capsys):
    state = foreign.prefixed({"mean": MEAN, "std": STD}, "normalize.")
    saved(folder, state | foreign.prefixed(seeded(LAYOUTS["akamaster"][0]).state_dict(), "model."))
    assert run("a.pt", "--json") == 0
    assert json.loads(capsys.readouterr().out)["network"]["normalise"] == CIFAR
    assert recognise(checkpoints.read(folder / "data" / "weights" / "a.pt")).network.normalise == NUMBERS


# ---- the lock ------------------------------------------------------------------------------------------------------


def test_record_writes_the_lock(folder, capsys):
    saved(folder, {"net": torchvision.models.resnet18(num_classes=4).state_dict()}, "b.pt")
    saved(folder, {"odd": torch.zeros(2, 2)})
    assert run("a.pt", "--record") == 3  # of no family that is known, and recorded all the same
    assert run(folder / "data" / "weights" / "b.pt", "--record") == 0
    path = folder / "data" / "weights"
    wanted = {name: weights.sha256_of(path / name) for name in ("a.pt", "b.pt")}
    assert weights.recorded() == wanted
    assert (folder / "weights.lock").read_text(encoding="utf-8").startswith("# sha256 of brought weights")
    saved(folder, {"other": torch.zeros(2, 2)})
    run("a.pt", "--record")
    assert weights.recorded() == wanted | {"a.pt": weights.sha256_of(path / "a.pt")}
    assert wanted["a.pt"] != weights.sha256_of(path / "a.pt")


def test_a_file_elsewhere_goes_by_its_whole_path(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere") / "c.pt"
    torch.save({"odd": torch.zeros(2, 2)}, other)
    run(other, "--record")
    assert [*weights.recorded()] == [str(other.resolve())]


def test_a_file_that_is_nowhere_and_a_broken_lock(folder):
    with pytest.raises(UserError, match=r"there is no file x\.pt, nor data/weights/x\.pt"):
        run("x.pt")
    (folder / "weights.lock").write_text("a.pt: 12\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"weights\.lock: a\.pt has no sha256; take the line away, and record"):
        weights.recorded()
