"""Checkpoints in the layouts of other repositories: what is read of a file, and that ours give their logits."""

import argparse
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

import foreign
from foreign import LAYOUTS, MEAN, NUMBERS, STD, seeded
from robust_transfer.errors import UserError
from robust_transfer.models import checkpoints, fits
from robust_transfer.models.families import cifar_resnet
from robust_transfer.plan.specs import CifarResNet, Normalise, TorchvisionNet
from robust_transfer.specs.layouts import Layout

pytestmark = pytest.mark.usefixtures("one_thread")


def brought(network, file, entry=None):
    model, _ = fits.fitted(network, checkpoints.read(file, entry), file.name)
    return model.eval()


@torch.no_grad()
def same_logits(ours, theirs, normalise=True):
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    wanted = theirs((images - MEAN) / STD if normalise else images)
    return torch.allclose(ours(images), wanted, rtol=1e-4, atol=1e-5) and wanted.std() > 1e-2


# ---- the layouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ours_give_the_logits_of_the_layouts_own_network(layout, tmp_path):
    make, network, wrap = LAYOUTS[layout]
    theirs = seeded(make)
    torch.save(wrap(theirs.state_dict()), tmp_path / "their.pt")
    assert same_logits(brought(network, tmp_path / "their.pt"), theirs)


@pytest.mark.parametrize(
    ("layout", "other"),
    [
        ("TRADES", {"slope": 0.1}),
        ("CARTL", {"slope": 0}),
        ("kuangliu's PreActResNet", {"shortcut_of": "input"}),
        ("RobustBench's PreActResNet", {"shortcut_of": "activated"}),
    ],
)
def test_what_no_name_tells_changes_the_logits_and_has_to_be_said(layout, other, tmp_path):
    make, network, wrap = LAYOUTS[layout]
    theirs, file = seeded(make), tmp_path / "their.pt"
    torch.save(wrap(theirs.state_dict()), file)
    assert not same_logits(brought(network.with_(**other), file), theirs)
    (field,) = other
    silent = network.model_validate(network.model_dump(exclude={field}, exclude_unset=True))
    with pytest.raises(UserError, match=rf"their\.pt: the names of its tensors do not tell the network's {field}; "):
        brought(silent, file)


def test_names_mixed_up_between_tensors_of_one_shape_are_seen_in_the_logits(tmp_path, monkeypatch):
    make, network, wrap = LAYOUTS["akamaster"]
    theirs = seeded(make)
    torch.save(wrap(theirs.state_dict()), tmp_path / "their.pt")
    right = cifar_resnet.AKAMASTER
    mixed = Layout(right.whose, right.parts, right.stages, within={"bn1": "bn2", "bn2": "bn1"})
    monkeypatch.setattr(CifarResNet, "layouts", (mixed,))
    assert not same_logits(brought(network, tmp_path / "their.pt"), theirs)


@torch.no_grad()
def test_a_checkpoint_of_madrylab(tmp_path):
    torch.manual_seed(0)
    theirs = foreign.lived_in(torchvision.models.resnet18(num_classes=4), size=32)
    numbers = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    torch.save(foreign.of_madrylab(theirs.state_dict(), *numbers), tmp_path / "l2.pt")
    found = checkpoints.read(tmp_path / "l2.pt")
    assert (found.entry, found.stripped) == ("model", ("module", "model"))
    assert found.normalise == Normalise(mean=numbers[0], std=numbers[1])
    assert len(found.left_out) == 2 + 2 + len(theirs.state_dict())  # both normalisers, and the attacker's copy
    assert found.state.keys() == theirs.state_dict().keys()
    ours = brought(TorchvisionNet(family="torchvision", name="resnet18"), tmp_path / "l2.pt")
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in numbers)
    torch.testing.assert_close(ours(images), theirs((images - mean) / std), rtol=1e-4, atol=1e-4)


# ---- normalisers ---------------------------------------------------------------------------------------------------

AKAMASTER = LAYOUTS["akamaster"][1]


def small():
    return seeded(LAYOUTS["akamaster"][0])


def held(form):
    """The state dict of a network behind a normaliser, in several forms of wrapping."""
    state, numbers = small().state_dict(), {"mean": MEAN[None], "std": STD[None]}
    return {
        "RobustBench": foreign.prefixed(numbers, "normalize.") | foreign.prefixed(state, "model."),
        "Sequential": foreign.prefixed(numbers, "0.") | foreign.prefixed(state, "1.module."),
        "its own": {"mu": MEAN, "sigma": STD, **state},
        "averaged": {"n_averaged": torch.tensor(3), **foreign.prefixed({"mu": MEAN, "sigma": STD} | state, "module.")},
    }[form]


@pytest.mark.parametrize("form", ["RobustBench", "Sequential", "its own", "averaged"])
def test_a_normaliser_is_read(form, tmp_path):
    torch.save(held(form), tmp_path / "a.pt")
    assert checkpoints.read(tmp_path / "a.pt").normalise == NUMBERS
    assert same_logits(brought(AKAMASTER, tmp_path / "a.pt"), small())


def test_another_normaliser_than_the_files_is_refused(tmp_path):
    torch.save(held("RobustBench"), tmp_path / "a.pt")
    for other in ({"mean": 0.5, "std": 0.5}, {"mean": 0.4914, "std": 0.2023}, "per-image"):
        with pytest.raises(UserError, match=r"another \(.*; write normalise: {mean: \[0.4914, 0.4822, 0.4465\], "):
            brought(AKAMASTER.with_(normalise=other), tmp_path / "a.pt")


def test_a_file_without_normaliser_asks_for_one(tmp_path):
    torch.save(small().state_dict(), tmp_path / "a.pt")
    silent = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 2, 1], width=4)
    with pytest.raises(UserError, match=r"a\.pt: it holds no normaliser; write what .*{mean: 0, std: 1} if"):
        brought(silent, tmp_path / "a.pt")
    told = silent.with_(normalise=Normalise(mean=0, std=1))
    assert same_logits(brought(told, tmp_path / "a.pt"), small(), normalise=False)
    brought(silent.with_(normalise=Normalise(mean=[0.5] * 3, std=[0.5] * 3)), tmp_path / "a.pt")


def test_normalisers_that_are_none_of_pixels_or_several_are_refused(tmp_path):
    torch.save(held("its own") | {"mu": 255 * MEAN}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"by \[125\.307, .* \(mu\), which is none of pixels"):
        checkpoints.read(tmp_path / "a.pt")
    torch.save(held("its own") | {"a.mean": STD, "a.std": STD}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="holds different normalisers"):
        checkpoints.read(tmp_path / "a.pt")


# ---- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_become_float32(kind, tmp_path):
    state = {name: each.to(kind) if each.is_floating_point() else each for name, each in small().state_dict().items()}
    torch.save(state, tmp_path / "a.pth")
    found = checkpoints.read(tmp_path / "a.pth")
    assert found.converted == str(kind).removeprefix("torch.")
    assert {each.dtype for each in found.state.values()} == {torch.float32, torch.int64}
    assert torch.equal(found.state["linear.weight"], state["linear.weight"].float())


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.ckpt", "a.th", "a.pth.tar", "a.safetensors"])
def test_files_of_any_ending(name, tmp_path):
    theirs = small()
    (save_file if name.endswith("safetensors") else torch.save)(theirs.state_dict(), tmp_path / name)
    assert same_logits(brought(AKAMASTER, tmp_path / name), theirs)


def test_files_of_old_torch_without_counters(tmp_path):
    theirs = small()
    state = {name: each for name, each in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert same_logits(brought(AKAMASTER, tmp_path / "a.pt"), theirs)


def test_arguments_and_numbers_beside_the_weights_do_no_harm(tmp_path):
    more = {"args": argparse.Namespace(lr=0.1), "best": np.float64(0.9), "curve": np.arange(3.0), "epoch": np.int64(3)}
    torch.save({"state_dict": small().state_dict(), **more}, tmp_path / "a.pt")
    assert same_logits(brought(AKAMASTER, tmp_path / "a.pt"), small())


def test_arguments_paths_and_times_beside_the_weights_do_no_harm(tmp_path):
    arguments = argparse.Namespace(out=Path("x"), began=datetime(2026, 1, 2), day=date(2026, 1, 2))
    content = {"state_dict": small().state_dict(), "args": arguments, "took": timedelta(seconds=3)}
    torch.save(content, tmp_path / "a.pt")
    assert len(checkpoints.read(tmp_path / "a.pt").state) == len(small().state_dict())
    torch.save(content | {"code": foreign.resnet}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"holds more than tensors \(foreign\.resnet\), which"):
        checkpoints.read(tmp_path / "a.pt")


class Odd:
    """Is pickled as arguments that are filled like a dict, which torch does with dicts alone."""

    def __reduce__(self):
        return argparse.Namespace, (), None, None, iter([("a", 1)])


def test_what_torch_refuses_is_said_without_its_advice_to_run_it(tmp_path):
    torch.save({"state_dict": small().state_dict(), "odd": Odd()}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"can be read \(Can only SETITEM for dict, .*Namespace'>\); fetch it again"):
        checkpoints.read(tmp_path / "a.pt")


def test_a_file_with_the_ending_of_the_other_form_says_so(tmp_path):
    state = small().state_dict()
    torch.save(state, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"\(it is a file of torch\.save\); name it \.pt"):
        checkpoints.read(tmp_path / "a.safetensors")
    save_file(state, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"\(it begins like one of safetensors\); name it \.safetensors"):
        checkpoints.read(tmp_path / "a.pt")


def test_an_attackers_copy_alone_is_no_network(tmp_path):
    torch.save({"model": foreign.prefixed(small().state_dict(), "module.attacker.model.")}, tmp_path / "a.pt")
    with pytest.raises(
        UserError, match=r"holds no weights of a network, only module\.attacker\.model\.conv1.* more; bring"
    ):
        checkpoints.read(tmp_path / "a.pt")


def test_of_several_state_dicts_one_is_named(tmp_path):
    theirs = small()
    other = {name: torch.zeros_like(each) for name, each in theirs.state_dict().items()}
    torch.save({"model": other, "ema": {"module": theirs.state_dict()}}, tmp_path / "a.pt")
    with pytest.raises(
        UserError, match=r"several state dicts: model, ema\.module; say which by `entry: model`, or --entry"
    ):
        checkpoints.read(tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"has no entry 'best' that is a state dict; it has model, ema\.module"):
        checkpoints.read(tmp_path / "a.pt", "best")
    assert same_logits(brought(AKAMASTER, tmp_path / "a.pt", "ema.module"), theirs)


class Ran(Exception):
    pass


class Sly:
    def __reduce__(self):
        return exec, ("raise Ran",)


WHOLE = {"a model": lambda: foreign.resnet("A", [1]), "code": lambda: {"state_dict": {}, "sly": Sly()}}


@pytest.mark.parametrize("content", WHOLE)
def test_nothing_is_unpickled_but_tensors(content, tmp_path):
    torch.save(WHOLE[content](), tmp_path / "a.pt")
    words = r"a\.pt holds more than tensors \(.*(foreign\.Layered|builtins\.exec).*; where you trust it, .* save its"
    with pytest.raises(UserError, match=words):
        checkpoints.read(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"a\.pt is no checkpoint that can be read \(it is empty\); fetch it again"),
        (b"<html>sign in</html>", r"a.pt is no checkpoint .*it was cut off, or is something else\); fetch"),
        (b"version https://git-lfs.github.com/spec/v1", "a.pt is no checkpoint"),
        *((bytes([0x80, 2, *range(first, first + 40)]), "a.pt is no checkpoint") for first in (0, 60, 120, 200)),
    ],
)
def test_a_page_in_place_of_a_file(content, words, tmp_path):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(UserError, match=words):
        checkpoints.read(tmp_path / "a.pt")


def test_a_file_that_was_cut_off(tmp_path):
    torch.save(small().state_dict(), tmp_path / "a.pt")
    content = (tmp_path / "a.pt").read_bytes()
    for kept in (len(content) // 2, len(content) - 1, 5):
        (tmp_path / "a.pt").write_bytes(content[:kept])
        with pytest.raises(UserError, match=r"does not begin and end as those of torch\.save: it was cut off"):
            checkpoints.read(tmp_path / "a.pt")


@pytest.mark.parametrize("about", ["my best model", '{"a": 1}', "[]"])
def test_what_another_program_says_of_its_weights_is_not_taken_for_ours(about, tmp_path):
    save_file(small().state_dict(), tmp_path / "a.safetensors", {"about": about})
    assert not checkpoints.read(tmp_path / "a.safetensors").metadata


@pytest.mark.parametrize(
    ("prefix", "stripped"),
    [("_orig_mod.", ("_orig_mod",)), ("module._orig_mod.", ("_orig_mod", "module")), ("module.", ("module",))],
)
def test_what_compilers_put_before_names_is_taken_off_and_said(prefix, stripped, tmp_path):
    state = small().state_dict()
    torch.save(foreign.prefixed(state, prefix), tmp_path / "a.pt")
    found = checkpoints.read(tmp_path / "a.pt")
    assert (found.stripped, found.state.keys()) == (stripped, state.keys())


def test_a_number_among_the_names_does_no_harm(tmp_path):
    torch.save({**small().state_dict(), 3: 1}, tmp_path / "a.pt")
    assert len(checkpoints.read(tmp_path / "a.pt").state) == len(small().state_dict())


def test_all_that_does_not_fit_is_in_one_sentence(tmp_path):
    state = small().state_dict()
    del state["layer1.0.conv2.weight"], state["linear.weight"]
    state |= {"layer4.0.conv1.weight": torch.zeros(8, 8, 3, 3), "odd": torch.zeros(1, 1)}
    state["conv1.weight"] = torch.zeros(4, 3, 7, 7)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(UserError) as error:
        brought(AKAMASTER, tmp_path / "a.pt")
    assert str(error.value) == (
        "a.pt does not hold the weights of resnet10w4: it lacks stages.0.0.conv2.weight, head.weight; it holds "
        "layer4.0.conv1.weight, odd, which the network has not; conv1.weight is 4 x 3 x 7 x 7 where 4 x 3 x 3 x 3 is "
        "wanted; `robust-transfer inspect FILE` lists all, and the network that it would be"
    )
