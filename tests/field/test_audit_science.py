"""The audit's level of science: each check finds a fault that was planted for it, and is silent on sound results."""

import contextlib
import json
import os

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from made import MACHINE, copied
from robust_transfer import store
from robust_transfer.audit import Stored, science
from robust_transfer.audit.science import attacks
from robust_transfer.audit.science.replay import Sample
from robust_transfer.audit.science.sound import Sound
from robust_transfer.plan import build, freeze
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import (
    AutoAttack,
    CifarResNet,
    FeatureAttack,
    Fgsm,
    Last,
    Normalise,
    Npz,
    Pgd,
    Recipe,
    Schedule,
    Spectral,
)
from robust_transfer.run import nodes

TESTS = 64
AUTO = AutoAttack(algorithm="autoattack", eps=0.5)
"""At which the first of its members leaves nothing to do for the slow ones."""
SCHEDULE = Schedule(iterations=2, batch_size=8, lr=0.1)


def write(name, seed, **more):
    """Images of four classes, each brighter than the one before."""
    draw = np.random.default_rng(seed)
    labels = {split: np.arange(count) % 4 for split, count in (("train", 32), ("test", TESTS))}
    arrays = {f"{split}_labels": of_split for split, of_split in labels.items()}
    for split, of_split in labels.items():
        images = draw.integers(0, 106, (len(of_split), 8, 8, 1)) + 50 * of_split[:, None, None, None]
        arrays[f"{split}_images"] = images.astype(np.uint8)
    np.savez(f"data/{name}.npz", **(arrays | more))
    return arrays


class Lab:
    """A plan with a node of each kind that science looks at."""

    def __init__(self, results):
        self.results, self.plan = (
            results,
            Plan({"config": {}, "main_study": "s", "machine": MACHINE, "data_root": "data"}),
        )
        plan = self.plan
        network = CifarResNet(
            family="cifar-resnet", depth_per_stage=[1], width=2, normalise=Normalise(mean=0.5, std=0.25)
        )
        self.low, self.high = (
            build.prepare(plan, Npz(reader="npz", file=f"{name}.npz", validation=0.25)) for name in ("low", "high")
        )
        self.source = build.pretrain(plan, self.low, Recipe(network=network, schedule=SCHEDULE))
        self.held = self.transferred(trainable="head")
        self.still = self.transferred(affine="freeze", trained_statistics="freeze", reset=None)
        self.drift = self.transferred(trainable="head", frozen_statistics="update")
        self.neft = self.transferred(trainable=Last(last=2, of="units"), spectral=Spectral(units=2, beta=0.4))
        candidates = [({"lr": 0.1}, self.held), ({"lr": 0.2}, self.transferred(trainable="head", lr=0.2))]
        self.choice = build.choose(plan, self.high, candidates)
        self.by_test = build.choose(plan, self.high, candidates, split="test")
        self.watched = self.transferred(
            trainable="head", decay="plateau", patience=1, watch="test", epochs=2, iterations=None
        )
        self.fgsm, self.pgd, self.pgd_longer, self.black_box, self.feature, self.auto = (
            build.attacked(plan, self.held, self.high, attack, 0, surrogate=surrogate)
            for attack, surrogate in (
                (Fgsm(algorithm="fgsm", eps=0.1), None),
                (pgd(4), None),
                (pgd(8), None),
                (pgd(4), self.source),
                (clipped(), None),
                (AUTO, None),
            )
        )
        self.clean = build.evaluate(plan, self.held, self.high)

    def transferred(self, **recipe):
        changes = {name: recipe.pop(name) for name in list(recipe) if name in Schedule.model_fields}
        schedule = SCHEDULE.with_(**changes) if changes else SCHEDULE
        return build.transfer(self.plan, self.high, Recipe(schedule=schedule, **recipe), start=self.source)

    def make(self, *which):
        name = freeze.freeze(self.plan, self.results).stem
        for node in self.plan.ancestry([node.id for node in which] or self.plan.nodes):
            if not (self.results / node.card).exists():
                nodes.make(node, self.plan, name, self.results, 1)

    def found(self, severity):
        """What science says of a severity."""
        return [each for each in science.findings(Stored(self.results)) if each.severity == severity]

    def plant(self, node, change):
        """Change a node's artifact, and let its card describe it: integrity sees nothing."""
        path = self.results / node.artifact
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            change(frame)
            frame.to_parquet(path, index=False)
        else:
            with safe_open(path, "pt") as file:
                tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 (no mapping)
            change(tensors)
            save_file(tensors, path, metadata)
        card = json.loads((self.results / node.card).read_text())
        del card["seal"]
        store.write_card(self.results / node.card, card | {"outputs": {path.name: store.describe(path)}})


def pgd(steps):
    return Pgd(algorithm="pgd", steps=steps, step_size=0.05, eps=0.1, random_start=False)


def clipped():
    """Switch D1, code: pixels beyond the clip are moved by more than eps."""
    normalised = {"space": "normalised", "mean": 0.5, "std": 0.25, "clip": 1.0}
    return FeatureAttack(algorithm="feature", eps=0.1, steps=2, step_size=0.1, **normalised)


@pytest.fixture(scope="module")
def _lab(tmp_path_factory):
    place = tmp_path_factory.mktemp("lab")
    with contextlib.chdir(place):
        os.mkdir("data")
        write("low", 0), write("high", 1)
        Lab(place / "results").make()
    return place


@pytest.fixture
def lab(_lab, tmp_path, monkeypatch):
    return Lab(copied(_lab, tmp_path / "w", monkeypatch) / "results")


# ---- sound results -------------------------------------------------------------------------------------------------


def test_sound_results_are_not_wrong_and_every_note_is_what_was_asked_for(lab):
    assert lab.found("wrong") == []
    notes = lab.found("note")
    assert {each.about for each in notes} == {
        tuple(i for i in lab.plan.nodes if i == lab.feature.parents["examples"]),
        (lab.drift.id,),
        (lab.watched.id,),
        (lab.by_test.id,),
    }, [each.what for each in notes]
    said = "\n".join(each.what for each in notes)
    assert "leave the ball of eps" in said and "(D1)" in said and "(switch D9)" in said and "(switch D18)" in said
    assert "statistics of the frozen part were updated in 1 models" in said


# ---- budgets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fgsm", "feature"])
def test_an_example_out_of_its_budget_is_wrong(lab, name):
    crafted = lab.plan.nodes[getattr(lab, name).parents["examples"]]

    def far(tensors):
        examples = tensors["examples"].view(torch.int16)
        examples[3, 0, 0, 0] = 0 if tensors["examples"][3, 0, 0, 0].item() > 30000 else -1

    lab.plant(crafted, far)
    (found,) = [each for each in lab.found("wrong") if each.about == (crafted.id,)]
    assert "image 3 lies outside its linf budget" in found.what


def test_too_many_examples_are_wrong(lab):
    crafted = lab.plan.nodes[lab.fgsm.parents["examples"]]
    lab.plant(crafted, lambda tensors: tensors.update(examples=tensors["examples"].repeat(2, 1, 1, 1)))
    assert any("more examples than the 64 test images" in each.what for each in lab.found("wrong"))


# ---- weights -------------------------------------------------------------------------------------------------------


def nudge(word):
    def change(tensors):
        name = next(name for name in tensors if word in name)
        tensors[name] = tensors[name] + 1e-3 if tensors[name].is_floating_point() else tensors[name] + 1

    return change


@pytest.mark.parametrize("word", ["stem.0.weight", "running_mean", "num_batches_tracked"])
def test_a_frozen_tensor_that_moved_is_wrong(lab, word):
    lab.plant(lab.held, nudge(word))
    (found,) = [each for each in lab.found("wrong") if each.about == (lab.held.id,) and "freezes" in each.what]
    assert "1 tensors that its recipe freezes" in found.what and word in found.what


@pytest.mark.parametrize("word", ["running_var", "stem.1.weight"])
def test_batch_norm_that_moved_in_the_trained_part_is_wrong_where_it_is_frozen(lab, word):
    lab.plant(lab.still, nudge(word))
    assert [each.about for each in lab.found("wrong")] == [(lab.still.id,)]


def test_what_trains_may_move(lab):
    lab.plant(lab.still, nudge("stem.0.weight"))
    lab.plant(lab.drift, nudge("running_mean"))
    assert not [each for each in lab.found("wrong") if "freezes" in each.what]


def test_a_spectral_norm_that_is_not_beta_is_wrong(lab):
    lab.plant(lab.neft, lambda tensors: tensors["head.weight"].mul_(1.01))
    (found,) = lab.found("wrong")
    assert "1 spectral norms are not beta = 0.4: head.weight has 0.404" in found.what and found.about == (lab.neft.id,)


def test_a_choice_that_is_none_of_its_candidates_is_wrong(lab):
    lab.plant(lab.choice, nudge("head.weight"))
    (found,) = lab.found("wrong")
    assert found.about == (lab.choice.id,) and "is not the candidate" in found.what


# ---- data and outcomes ---------------------------------------------------------------------------------------------


def test_test_images_that_were_trained_on_are_a_note(lab):
    """Of the same set under another label, and of the set that the source was trained on."""
    low = np.load("data/low.npz")
    images = np.load("data/high.npz")["test_images"]
    images[:5] = low["train_images"][:5]
    arrays = write("high", 1)
    arrays["train_images"][0], arrays["train_labels"][0] = images[9], 0
    write("high", 1, test_images=images, train_images=arrays["train_images"], train_labels=arrays["train_labels"])
    other = Lab(lab.results.with_name("other"))
    other.make(other.held)
    said = "\n".join(each.what for each in other.found("note"))
    assert "1 of 64 test images are training or validation images too" in said
    assert "1 of these have another label there" in said
    assert "5 of 64 test images of high are training or validation images of low" in said


def test_outcomes_of_other_images_are_wrong(lab):
    lab.plant(lab.clean, lambda frame: frame.update(frame.iloc[::-1].reset_index(drop=True)))
    assert any("its rows are not the test images" in each.what for each in lab.found("wrong"))


@pytest.mark.parametrize("name", ["clean", "fgsm", "black_box"])
def test_outcomes_that_the_model_does_not_give_are_wrong(lab, name):
    outcomes = getattr(lab, name)

    def better(frame):
        wrong = frame.index[frame.prediction != frame.label]
        frame.loc[wrong, "prediction"] = frame.label[wrong]
        frame.loc[2, "confidence"] = 0.123

    lab.plant(outcomes, better)
    found = [each for each in lab.found("wrong") if "gives other outcomes" in each.what]
    assert [each.about for each in found] == [(outcomes.id,)]


# ---- attacks -------------------------------------------------------------------------------------------------------


def fool(count):
    """Let the first images be wrong and the others right."""

    def change(frame):
        frame["prediction"] = np.where(np.arange(len(frame)) < count, (frame.label + 1) % 4, frame.label)

    return change


def signs(lab):
    return [each.what for each in lab.found("note") if "masked gradients" in each.what]


def pairs_named(lab):
    """The pairs among the signs, but for those with random noise, of which the planted outcomes know nothing."""
    sentences = [sentence for sign in signs(lab) for sentence in sign.partition(": ")[2].split("; ")]
    return [sentence for sentence in sentences if " % more of " in sentence and "noise" not in sentence]


@pytest.mark.parametrize(
    ("weaker", "stronger", "words"),
    [
        ("fgsm", "pgd", "fgsm-linf-0.1 fools 46.9 % more of 64 images than pgd4-linf-0.1 (95 %: 34.6 to 59.1)"),
        ("pgd", "pgd_longer", "pgd4-linf-0.1 fools 46.9 % more of 64 images than pgd8-linf-0.1"),
        ("black_box", "pgd", "pgd4-linf-0.1 from another model fools 46.9 % more of 64 images than pgd4-linf-0.1"),
        ("clean", "fgsm", "no attack fools 46.9 % more of 64 images than fgsm-linf-0.1"),
    ],
)
def test_a_weaker_attack_that_does_more_is_a_sign(lab, weaker, stronger, words):
    plain = [lab.clean, lab.fgsm, lab.pgd, lab.pgd_longer, lab.black_box]
    for node in plain:
        lab.plant(node, fool(20))
    assert pairs_named(lab) == []
    lab.plant(getattr(lab, weaker), fool(40))
    lab.plant(getattr(lab, stronger), fool(10))
    assert any(sentence.startswith(words) for sentence in pairs_named(lab))
    assert all(sign.startswith(f"{lab.held.id} shows signs") for sign in signs(lab))


def test_noise_is_no_sign(lab):
    for node, count in ((lab.clean, 22), (lab.fgsm, 21), (lab.pgd, 20), (lab.pgd_longer, 19), (lab.black_box, 22)):
        lab.plant(node, fool(count))
    assert pairs_named(lab) == []


def test_random_noise_that_does_more_is_a_sign(lab):
    """Outcomes that are all right, of a model that says the same of every image."""
    lab.plant(lab.held, lambda tensors: tensors["head.weight"].zero_())
    for node in (lab.fgsm, lab.pgd):
        lab.plant(node, fool(0))
    assert any(
        "random noise of eps 0.1 fools 75.0 % more of 64 images than fgsm-linf-0.1" in sign for sign in signs(lab)
    )


def test_missing_gradients_are_a_sign(lab):
    path = lab.results / lab.plan.nodes[lab.fgsm.parents["examples"]].card
    card = json.loads(path.read_text())
    del card["seal"]
    store.write_card(path, card | {"metrics": {"n": 64, "zero_gradients": 0.5}})
    assert any("50.0 % of 64 images have no gradient (95 %: 38.1 to 61.9)" in sign for sign in signs(lab))


def test_images_that_square_alone_fools_are_a_sign(lab):
    square = AUTO.members()[-1].slug
    lab.plant(lab.auto, lambda frame: frame.__setitem__("member", [square] * 16 + [""] * 48))
    assert any("25.0 % of 64 images withstand every gradient but not Square" in sign for sign in signs(lab))


def test_a_loss_that_falls_is_a_sign(lab):
    sound, draw = Sound(Stored(lab.results)), np.random.default_rng(0)
    for rise, found in ((-0.5, True), (-0.02, False), (0.5, False)):
        before, rises = draw.random(64), rise + 0.1 * draw.standard_normal(64)
        sample = Sample(np.arange(64), {}, before, {lab.fgsm.id: before + rises})
        of_sample = list(attacks._lower_loss(sound, {(lab.held.id, lab.high.id, "test"): sample}))
        assert bool(of_sample) == found
        assert not found or "fgsm-linf-0.1 lowers the loss of 64 images by 0.494" in of_sample[0][1]


def test_over_all_pairs_one_in_twenty_audits_errs():
    """Of attacks that are equally strong: 100 audits with 100 pairs each."""
    draw, erring = np.random.default_rng(0), 0
    for _ in range(100):
        alone = draw.binomial(30, 0.5, 100)
        erring += bool(attacks.beyond_noise([attacks.Pair("m", (), "a", "b", k, 30 - k, 100) for k in map(int, alone)]))
    assert erring <= 0.05 * 100 + 7
