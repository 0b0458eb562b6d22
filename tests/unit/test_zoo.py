"""RobustBench's model zoo as weights to bring: which names, which networks, and how a file gets there."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import foreign
from made import MACHINE
from robust_transfer import chain, store
from robust_transfer.errors import UserError
from robust_transfer.models import checkpoints, files, fits, zoo
from robust_transfer.plan import build, presence, weights
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import Normalise, PreActResNet
from robust_transfer.run import nodes
from robust_transfer.specs.origins import Origin
from robust_transfer.stages import bring
from robust_transfer.stages.node import KINDS
from workspace import planned

NAME, FILE = "cifar10/Linf/Tiny2020", "robustbench/cifar10/Linf/Tiny2020.pt"
AS_IT_IS = Normalise(mean=0, std=1)
TINY = PreActResNet(
    family="preact-resnet",
    depth_per_stage=[1, 1],
    width=4,
    last_norm=False,
    shortcut_of="input",
    normalise=AS_IT_IS,
)
WRN = {"family": "wide-resnet", "depth": 28, "widen": 10, "slope": 0, "normalise": {"mean": 0, "std": 1}}


# ---- the table -----------------------------------------------------------------------------------------------------


def test_every_name_is_of_a_network_of_ours_or_has_a_reason_why_not():
    table = zoo._zoo()
    assert len(zoo.entries()) == 142
    assert {key for names in table["zoo"].values() for key, *_ in names.values()} == {*table["networks"]}
    others = [name for names in table["others"].values() for name in names]
    assert len(others) == len({*others}) == 64
    assert not {*others} & {*zoo.entries()}
    for name, entry in zoo.entries().items():
        assert re.fullmatch(r"(cifar10|cifar100|imagenet)/(Linf|L2|corruptions)/[\w-]+", name)
        assert re.fullmatch(r"[\w-]{33}", entry.drive)
        assert entry.entry in (None, "last")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("cifar10/Linf/Wang2023Better_WRN-28-10", "gowal28x10w16"),
        ("cifar100/Linf/Rade2021Helper_R18_ddpm", "gowal18x1w64"),
        ("cifar10/Linf/Carmon2019Unlabeled", "wrn28x10w16"),
    ],
)
def test_a_network_is_called_by_the_depth_that_its_paper_counts(name, slug):
    assert zoo.entry(name).network.slug == slug


NETWORKS = {each.network.slug: each.network for each in zoo.entries().values()}
"""One of each shape: their normalisers are no tensors of the class, or the file's."""


@pytest.mark.parametrize("slug", sorted(NETWORKS))
def test_a_network_of_the_zoo_takes_the_tensors_of_its_class(slug):
    network = NETWORKS[slug]
    with torch.device("meta"):
        theirs = _theirs(network)
        checkpoint = checkpoints.unwrapped(foreign.prefixed(theirs.state_dict(), "module."), slug)
        found, _ = fits.fit(network, checkpoint)
    assert (found.distance, found.classes) == (0, 10)


def test_its_normaliser_is_said_or_in_its_file():
    state = foreign.prefixed(foreign.resnet("B", [2, 2, 2, 2]).state_dict(), "module.")
    checkpoint = checkpoints.unwrapped(state, "a file")
    unsaid = {name for name, each in zoo.entries().items() if fits.untold(each.network, checkpoint)}
    assert unsaid == {name for name in zoo.entries() if "Modas2021PRIMEResNet18" in name}
    assert not any(zoo.entries()[name].normalised for name in unsaid)


def _theirs(network):
    """A network of the zoo under RobustBench's own names, as other repositories define it."""
    if network.family == "wide-resnet":
        return foreign.Wide(network.depth, network.widen, slope=0.0, sub_block1=True, width=16, classes=10)
    if network.family == "preact-resnet":
        return foreign.preact(network.shortcut_of, network.depth_per_stage, network.last_norm, network.width, 10)
    if network.family == "gowal-resnet":
        return foreign.Gowal(network.depth_per_stage, network.width, network.widen, network.shortcut, 10)
    if network.family == "cifar-resnet":
        return foreign.resnet("B", network.depth_per_stage, network.width, 10)
    if network.family == "torchvision":
        import torchvision.models

        return torchvision.models.get_model(network.name, weights=None, num_classes=10)
    return pytest.importorskip("timm").create_model(network.name, num_classes=10)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar10/Linf/Carmon2019Unlabelled", r"has no .*\(did you mean cifar10/Linf/Carmon2019Unlabeled\?\)"),
        (
            "cifar10/L2/Amini2024MeanSparse_S-WRN-70-16",
            "is a network with sparsified means .*; of cifar10/L2 can be brought: Rice",
        ),
        ("imagenet/Linf/Standard_R50", "is torchvision's own weights"),
        ("cifar100/Linf/Bai2024MixedNUTS", "is several networks together, and of no family here"),
        ("mnist/Linf/Some", "write one of cifar10/Linf, "),
    ],
)
def test_a_name_that_cannot_be_brought_is_refused_with_those_that_can(name, words):
    with pytest.raises(ValidationError, match=f"robustbench: .*{words}"):
        Origin(robustbench=name)
    with pytest.raises(UserError, match=rf"vaishnavi\.brought\.AT.*: .*{words}"):
        planned("vaishnavi", vaishnavi={"brought": {"AT": {"robustbench": name}}})


def test_it_stands_alone_and_needs_no_entry():
    with pytest.raises(ValidationError, match="or a file, or robustbench"):
        Origin(robustbench="cifar10/Linf/Standard", file="a.pt")
    with pytest.raises(ValidationError, match="entry: RobustBench says which"):
        Origin(robustbench="cifar10/Linf/Standard", entry="best")


def test_docs_name_all():
    page = (Path(__file__).parents[2] / "docs/bring.md").read_text(encoding="utf-8")
    for name in zoo.entries():
        group, _, last = name.rpartition("/")
        (row,) = re.findall(rf"^\| `{group}` \|(.*)\|$", page, re.MULTILINE)
        assert last in re.split(r"[, ]+", row)


# ---- plans ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/weights").mkdir(parents=True)
    return tmp_path


def brought(network, name="cifar10/Linf/Carmon2019Unlabeled"):
    origin = {"target": "High", "network": network, "robustbench": name}
    plan = planned("custom", custom={"targets": {"High": "digits-high"}, "models": {"A": origin}})
    return next(node for node in plan.nodes.values() if node.kind == "bring")


def test_a_plan_names_the_network_of_the_zoo_and_no_other(monkeypatch):
    node = brought(WRN)
    assert {key: node.spec[key] for key in node.spec if key != "network"} == {
        "robustbench": "cifar10/Linf/Carmon2019Unlabeled",
        "drive": "15tUx-gkZMYx7BfEOw1GY5OKC-jECIsPQ",
    }
    assert node.slug == "wrn28x10w16.Carmon2019Unlabeled"
    with pytest.raises(
        UserError, match=r"custom\.models\.A\.robustbench: .* than wrn28x10w16 in the config; describe "
    ):
        brought(WRN | {"slope": 0.1})
    with pytest.raises(UserError, match=re.escape("slope: 0, normalise: {mean: 0, std: 1}}")):
        brought({key: value for key, value in WRN.items() if key != "normalise"})
    weights.record("robustbench/cifar10/Linf/Carmon2019Unlabeled.pt", "cd" * 32)
    recorded = brought(WRN)
    assert recorded.spec["sha256"] == "cd" * 32
    assert recorded.id != node.id


def test_a_node_says_which_file_and_which_state_dict_its_name_stood_for(monkeypatch):
    name = "cifar10/Linf/Andriushchenko2020Understanding"
    network = zoo.entry(name).network
    node = brought(network.model_dump(exclude_unset=True), name)
    drive = zoo.entry(name).drive
    assert (node.spec["entry"], node.spec["drive"]) == ("last", drive)
    for changed in (zoo.Entry(network, True, "another-id", "last"), zoo.Entry(network, True, drive)):
        with monkeypatch.context() as patch:
            patch.setattr(zoo, "entries", lambda changed=changed: {name: changed})
            assert brought(network.model_dump(exclude_unset=True), name).id != node.id
    with pytest.raises(ValidationError, match="drive: it goes with robustbench"):
        KINDS["bring"].parse({"network": network.canonical(), "robustbench": name})


def test_without_gdown_it_is_said_before_the_first_job(folder, monkeypatch):
    node = brought(WRN)
    monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(__spec__=object()))
    presence.must_be_present([node], folder / "data")
    monkeypatch.setitem(sys.modules, "gdown", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"not installed: pip install gdown, or put https://drive\.google\.com/file/d/15t"
    ):
        presence.must_be_present([node], folder / "data")
    file = folder / "data/weights/robustbench/cifar10/Linf/Carmon2019Unlabeled.pt"
    file.parent.mkdir(parents=True)
    file.touch()
    presence.must_be_present([node], folder / "data")


# ---- jobs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    """A zoo of one small network, and its weights under the names of Andriushchenko & Flammarion 2020."""
    monkeypatch.setattr(zoo, "entries", lambda: {NAME: zoo.Entry(TINY, True, "an-id", "last")})
    torch.manual_seed(0)
    network = foreign.lived_in(foreign.preact("input", [1, 1], last=False))
    state = network.state_dict()
    twice = {f"model_preact_hl1.1.{name[6:]}": each for name, each in state.items() if name.startswith("conv1.")}
    return SimpleNamespace(network=network, content={"last": state | twice, "best": {"conv1.weight": torch.ones(1, 1)}})


def gdown(monkeypatch, write):
    """A stand-in of gdown; write: what a download does to the file. Returns what was asked of it."""
    asked = []

    def download(*, id, output, quiet):
        asked.append(id)
        write(Path(output))

    monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=download, __spec__=object()))
    return asked


def job(folder, **more):
    zoos = {"robustbench": NAME, "drive": "an-id", "entry": "last"}
    spec = KINDS["bring"].parse({"network": TINY.canonical(), **zoos, **more})
    return SimpleNamespace(spec=spec, data_root=folder, output=folder / "model.safetensors", has=lambda role: False)


def test_a_network_is_fetched_once_and_gives_the_same_logits(folder, monkeypatch, tiny):
    asked = gdown(monkeypatch, lambda path: torch.save(tiny.content, path))
    about = bring.run(job(folder))
    assert about == {
        "origin": FILE,
        "classes": 5,
        "names": "kuangliu's pytorch-cifar, RobustBench, Rice et al. 2020",
        "sha256": weights.sha256_of(folder / "weights" / FILE),
    }
    ours, *_ = files.load(folder / "model.safetensors")
    images = torch.rand(3, 3, 8, 8)
    assert torch.allclose(ours(images), tiny.network(images), atol=1e-5)
    assert bring.run(job(folder, sha256=about["sha256"])) == {k: v for k, v in about.items() if k != "sha256"}
    assert asked == ["an-id"]
    assert [path.name for path in (folder / "weights" / FILE).parent.iterdir()] == ["Tiny2020.pt"]
    with pytest.raises(UserError, match=r"has the sha256 .*, not abab"):
        bring.run(job(folder, sha256="ab" * 32))


def test_another_file_in_place_of_one_that_was_fetched_makes_what_was_made_from_it_out_of_date(
    folder, monkeypatch, tiny
):
    """The plan has no sha256 of it: the card has."""
    gdown(monkeypatch, lambda path: torch.save(tiny.content, path))
    plan, results = Plan({"data_root": "data", "machine": MACHINE}), folder / "results"
    node = build.bring(plan, TINY, Origin(robustbench=NAME))

    def out_of_date():
        return chain.Chain(plan.nodes, results, folder / "data").reason(node.id)

    for change in (False, True):
        nodes.make(node, plan, "0" * 12, results, 1)
        card = store.read_card(results / node.card)
        assert card["files"][0]["sha256"] == store.sha256_of(folder / "data/weights" / FILE)
        assert out_of_date() is None
        if not change:
            torch.save({"last": tiny.content["last"]}, folder / "data/weights" / FILE)
            assert out_of_date() == f"the files of {node.id} have changed since it was brought"
    (folder / "data/weights" / FILE).unlink()
    assert out_of_date() is None


def _page(path):
    path.write_text("<html>Quota exceeded")


def _half(path):
    torch.save({"last": torch.ones(99)}, path)
    path.write_bytes(path.read_bytes()[:-100])


def _fail(path):
    raise RuntimeError("\n\tCannot retrieve the public link")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_page, "gave something else than a whole checkpoint"),
        (_fail, "Cannot retrieve the public link"),
        (lambda _: None, ""),
        (_half, "something else than a whole checkpoint"),
    ],
)
def test_a_download_that_fails_leaves_nothing_and_says_how_to_do_it_by_hand(folder, monkeypatch, tiny, write, words):
    gdown(monkeypatch, write)
    with pytest.raises(UserError, match=rf"{NAME} can't be fetched \(.*{words}.*\); put https.*an-id at .*pt by hand"):
        bring.run(job(folder))
    assert not any((folder / "weights" / FILE).parent.iterdir())


def test_of_several_state_dicts_the_usual_one_is_taken(folder):
    layer = nn.Linear(2, 2).state_dict()
    torch.save({"state_dict": layer, "ema": layer}, folder / "two.pt")
    with pytest.raises(UserError, match="several state dicts"):
        checkpoints.read(folder / "two.pt")
    assert checkpoints.read(folder / "two.pt", usual=zoo.USUAL).entry == "state_dict"
