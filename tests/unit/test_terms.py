"""Terms as specs; the two that no paper here has, against their formulas; and what docs/terms.md says, literally."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pydantic import Field, TypeAdapter, ValidationError

import robust_transfer
from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.models.classifier import Observed
from robust_transfer.plan import config
from robust_transfer.plan.specs import TUNABLE, CifarResNet, Recipe, Schedule, Spec, Terms
from robust_transfer.tables.metrics import METRICS
from robust_transfer.terms.trades import divergence, diverging
from robust_transfer.training.objective import Objective

SCHEDULE = {"epochs": 1, "batch_size": 6, "lr": 0.1}
PGD = {"algorithm": "pgd", "eps": 0.1, "steps": 3, "step_size": 0.04, "random_start": False}
TRADES = {"terms": {"trades": 6}, "inputs": {"attack": PGD, "clean_weight": 1}}


def recipe(**parts):
    return Recipe(**{"schedule": SCHEDULE} | parts)


def mistakes(**parts):
    """What is wrong with a recipe."""
    found = []
    config.check(Recipe, {"schedule": SCHEDULE} | parts, "recipe", found)
    return found


def network(seed=1):
    torch.manual_seed(seed)
    return files.build(CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1], width=4), 1, 3)


def batch():
    torch.manual_seed(5)
    return torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2]), torch.arange(6)


# ---- specs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [5, 5.0, "5", {"weight": 5}])
def test_a_term_of_one_number_is_that_number(value):
    assert Terms(feature_distillation=value).canonical() == {"feature_distillation": 5.0}
    assert Terms(feature_distillation=value).feature_distillation.weight == 5
    again = TypeAdapter(Terms).validate_python(Terms(feature_distillation=value).model_dump(mode="json"))
    assert again == Terms(feature_distillation=value)


@pytest.mark.parametrize("value", [0, 0.0, "0", None])
def test_zero_is_absent(value):
    assert Terms(start_distance=value) == Terms()
    assert Terms(start_distance=value).canonical() == {} == Terms(start_distance=value).used


def test_a_term_of_several_values_is_a_mapping_without_defaults():
    assert Terms(similarity={"weight": 0.01, "norm": "l2"}).canonical() == {"similarity": {"weight": 0.01}}


def test_terms_are_added_in_an_order_that_no_spelling_changes():
    one, other = {"start_distance": 1, "head_penalty": 1}, {"head_penalty": 1, "start_distance": 1}
    assert list(Terms(**one).used) == list(Terms(**other).used) == ["start_distance", "head_penalty"]


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (
            {"terms": {"lable_smoothing": 0.1}},
            r"lable_smoothing: unknown key \(did you mean label_smoothing\?\)",
        ),
        ({"terms": {"start_distance": -1}}, r"terms\.start_distance: -1 is not allowed; wanted: more than 0"),
        ({"terms": {"head_penalty": "much"}}, r"terms\.head_penalty: 'much' is no number"),
        ({"terms": {"head_penalty": False}}, r"terms\.head_penalty: a number is wanted, not true or false"),
        ({"terms": {"label_smoothing": 1}}, r"terms\.label_smoothing: 1 is not allowed; wanted: less than 1"),
        ({"terms": {"consistency": {"weight": 1, "entropy": 1}}}, r"terms\.consistency: it compares noisy copies; set"),
        (
            {"terms": {"consistency": {"weight": 1, "entropy": 1}, "label_smoothing": 0.1}, "inputs": {"noise": 0.1}},
            r"terms\.label_smoothing: consistency takes the place of what it is computed from; leave one out",
        ),
        (
            {"terms": {"contrastive": {"temperature": 1}, "feature_distillation": 1}},
            r"terms\.feature_distillation: contrastive takes the place of what it is computed from; leave one out",
        ),
        (
            {
                "terms": {"contrastive": {"temperature": 1}},
                "inputs": {"noise": 0.1},
                "schedule": SCHEDULE | {"decay": "plateau", "patience": 1},
            },
            r"it makes its own views; .*; terms\.contrastive: there is no accuracy that could stop growing",
        ),
        ({"terms": {"feature_distance": {"weight": 1, "units": 1}}}, r"set an attack on both$"),
        ({"terms": {"trades": 6}}, r"terms\.trades: .*to one of algorithm: pgd; terms\.trades: .*clean_weight: 1"),
        (TRADES | {"inputs": {"attack": PGD}}, r"terms\.trades: the cross entropy is of clean images alone"),
        (TRADES | {"inputs": {"attack": PGD, "clean_weight": 1, "mixing": "either"}}, r"and leave out mixing"),
        (TRADES | {"inputs": {"attack": PGD | {"random_start": True}, "clean_weight": 1}}, r"random_start: false"),
        (
            TRADES | {"inputs": {"attack": PGD | {"loss": "margin"}, "clean_weight": 1}},
            r"leave out its labels",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(parts, sentence):
    (found,) = mistakes(**parts)
    assert re.search(sentence, found) and found.startswith("recipe.terms.")


def test_terms_of_the_weights_go_with_every_other():
    assert not mistakes(terms={"contrastive": {"temperature": 1}, "head_penalty": 0.1, "start_distance": 0.1})


# ---- values that a grid search tries ---------------------------------------------------------------------------------


def test_every_weight_can_be_tried_and_shown():
    others = {"consistency": {"entropy": 1, "weight": 1}, "feature_distance": {"weight": 1, "units": 2}}
    assert set(TUNABLE) - {"lr", "momentum", "weight_decay"} == set(Terms.forms) - {"contrastive"}
    for name in set(TUNABLE) & Terms.forms.keys():
        terms = Terms(**{name: others[name]} if name in others else {}).with_weights({name: 0.25})
        value = terms.canonical()[name]
        assert value == 0.25 if isinstance(value, float) else value["weight"] == 0.25
        assert f"chosen_{name}" in METRICS


def test_chosen_values_take_the_place_of_the_recipes():
    before = recipe(terms={"similarity": {"weight": 1, "norm": "l1"}, "start_distance": 3})
    after = before.with_values({"lr": 0.5, "similarity": 0.25, "start_distance": 0, "head_penalty": 2})
    assert after.terms.canonical() == {"similarity": {"weight": 0.25, "norm": "l1"}, "head_penalty": 2}
    assert after.schedule == Schedule(**SCHEDULE | {"lr": 0.5})
    assert before.terms.start_distance.weight == 3


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"lr": 0.0}, r"cannot have lr: 0 \(lr: Input should be greater than 0\)"),
        ({"consistency": 1.0}, r"consistency\.entropy: Field required"),
        ({"trades": 6.0}, r"have trades: 6 \(terms\.trades: its examples are found by steps"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, sentence):
    with pytest.raises(UserError, match=sentence):
        recipe().with_values(values)


def test_a_changed_spec_is_checked_as_a_whole():
    steps = Schedule(epochs=9, batch_size=4, lr=1, decay="steps", milestones=[5])
    with pytest.raises(ValidationError, match="5 lies at or beyond the last of 4 epochs"):
        steps.with_(epochs=4)
    labelled = CifarResNet(family="cifar-resnet", depth_per_stage=[1], label="A")
    assert labelled.with_(width=4).label == "A"
    with pytest.raises(ValidationError, match="width_"):
        labelled.with_(width_=4)

    class Named(Spec):
        train: int = Field(alias="train-PGD")

    assert Named(**{"train-PGD": 1}).with_(train=2).train == 2
    assert "seed" not in steps.with_(lr=2).model_fields_set and steps.with_(seed=1).seed == 1


def test_a_slug_has_the_words_of_terms_that_are_there_or_will_be():
    assert recipe(terms={"label_smoothing": 0.1}, tuned=["lr", "start_distance"]).slug == "nat+smooth0_1+l2sp"


def test_a_slug_tells_what_differs():
    pgd = {"algorithm": "pgd", "eps": 0.1, "steps": 2, "step_size": 0.1, "random_start": True}
    fdm = recipe(terms={"feature_distance": {"weight": 0.005, "units": 4}}, inputs={"attack": pgd, "clean_weight": 0})
    assert fdm.slug == "pgd+fdm0_005x4"
    neft = recipe(spectral={"units": 4, "beta": 0.4}, affine="freeze", frozen_statistics="drift", inputs={"share": 0.5})
    assert neft.slug == "nat-0_5+neft0_4+drift+fixed-affine"
    head = {"hidden": [64, 64], "batch_norm": True, "dropout": 0.25}
    assert recipe(head=head, inputs={"per_class": 20}).slug == "nat-20each+mlp64x64-bn-do0_25"
    tuned = recipe(terms={"similarity": {"weight": 1e-4}}, tuned=["similarity"], trained_statistics="hold")
    assert tuned.slug == "nat+lwf+still"


# ---- label smoothing -------------------------------------------------------------------------------------------------


def test_label_smoothing_is_the_cross_entropy_with_the_smoothed_target():
    student, (images, labels, places) = network(), batch()
    found = Objective(student, recipe(terms={"label_smoothing": 0.3}), [])(images, labels, places)
    logs = student.observe(images).logits.log_softmax(1)
    target = torch.full((6, 3), 0.1)
    target[torch.arange(6), labels] = 0.8  # 1 - 0.3 + 0.3 / 3
    torch.testing.assert_close(found, -(target * logs).sum(1).mean())


def test_label_smoothing_goes_with_distillation_on_both_kinds_of_batches():
    student, teacher, (images, labels, places) = network(), network(2), batch()
    of = recipe(
        inputs={"attack": PGD, "clean_weight": 0.25}, terms={"label_smoothing": 0.3, "feature_distillation": 0.5}
    )
    objective = Objective(student, of, [], teacher)
    adversarial = objective.adversarial(images, labels)  # before batch norms see a batch
    found = objective(images, labels, places)
    expected = 0.0
    for weight, pixels in ((0.25, images), (0.75, adversarial)):
        seen, wanted = student.train().observe(pixels), teacher.eval().observe(pixels)
        distance = sum((a - b).square().mean() for a, b in zip(seen.stages, wanted.stages, strict=True))
        smoothed = F.cross_entropy(seen.logits, labels, label_smoothing=0.3)
        expected += weight * (smoothed + 0.5 * distance)
    torch.testing.assert_close(found, expected)


# ---- TRADES ----------------------------------------------------------------------------------------------------------


def kl(p, q):
    return (p * (p / q).log()).sum(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_trades_raises_the_divergence_within_the_budget_and_then_brings_it_down(norm):
    student, (images, labels, places) = network(), batch()
    attack = PGD | ({} if norm == "linf" else {"norm": "l2", "eps": 0.5, "step_size": 0.2})
    eps, size = attack["eps"], attack["step_size"]
    objective = Objective(student, recipe(**TRADES | {"inputs": {"attack": attack, "clean_weight": 1}}), [])
    torch.manual_seed(7)
    found = objective(images, labels, places)

    reference = network().double().eval()
    torch.manual_seed(7)
    x, noise = images.double(), torch.randn(images.shape).double()
    moved = x + 0.001 * noise
    for _ in range(3):
        moved = moved.detach().requires_grad_()
        kl(reference(x).detach().softmax(1), reference(moved).softmax(1)).sum().backward()
        for i in range(6):
            slope = moved.grad[i]
            step = size * (slope.sign() if norm == "linf" else slope / slope.norm())
            offset = moved[i].detach() + step - x[i]
            offset = offset.clamp(-eps, eps) if norm == "linf" else offset * min(1.0, eps / offset.norm().item())
            moved.data[i] = (x[i] + offset).clamp(0, 1)
    assert (moved - x).abs().amax() > 0.05
    reference.train().zero_grad()
    clean, adversarial = reference(x).softmax(1), reference(moved.detach()).softmax(1)
    expected = -clean[torch.arange(6), labels].log().mean() + 6 * kl(clean, adversarial).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    found.backward()
    expected.backward()
    for mine, other in zip(student.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), other.grad, rtol=1e-2, atol=1e-4)


def test_the_divergence_of_sure_predictions_has_a_finite_gradient():
    clean = torch.tensor([[300.0, 0.0], [0.0, 300.0]], requires_grad=True)
    value = divergence(clean, clean.detach().flip(1))
    assert value.item() == pytest.approx(300)
    value.backward()
    assert clean.grad.isfinite().all()


def test_an_attack_on_a_diverged_network_says_so():
    def broken(images):
        return torch.stack([images.flatten(1).sum(1) * torch.nan, images.flatten(1).sum(1)], 1)

    with pytest.raises(FloatingPointError, match="not finite"):
        diverging(broken, torch.rand(2, 1, 4, 4), recipe(**TRADES).inputs.attack)


# ---- what a term is given --------------------------------------------------------------------------------------------


def test_clean_and_adversarial_images_are_compared_where_the_clean_alone_are_learnt():
    student, (images, labels, places) = network(), batch()
    terms = {"feature_distance": {"weight": 0.4, "units": 1, "reduction": "mean"}}
    objective = Objective(student, recipe(inputs={"attack": PGD, "clean_weight": 1}, terms=terms), [])
    adversarial = objective.adversarial(images, labels)  # before batch norms see a batch
    found = objective(images, labels, places)
    seen, other = student.train().observe(images, unit=1), student.observe(adversarial, unit=1)
    distance = (seen.unit_input - other.unit_input).norm(dim=1).mean() / student.width**0.5
    torch.testing.assert_close(found, F.cross_entropy(seen.logits, labels) + 0.4 * distance)


@pytest.mark.parametrize(("term", "lacks"), [("feature_distillation", "teacher"), ("similarity", "stored features")])
def test_a_run_that_lacks_what_a_term_needs_is_refused(term, lacks):
    of = recipe(terms={term: {"weight": 1}})
    with pytest.raises(UserError, match=f"terms.{term}: the run has no {lacks}; give it"):
        Objective(network(), of, [])


def test_what_one_batch_showed_is_computed_once(monkeypatch):
    student, (images, labels, places) = network(), batch()
    passes = []
    observe = type(student).observe
    monkeypatch.setattr(type(student), "observe", lambda self, *a, **k: passes.append(1) or observe(self, *a, **k))
    terms = {"feature_distance": {"weight": 1, "units": 1}, "similarity": {"weight": 1}}
    of = recipe(inputs={"attack": PGD}, terms=terms)
    Objective(student, of, [], source_features=torch.zeros(6, student.width))(images, labels, places)
    assert len(passes) == 2 and isinstance(observe(student, images), Observed)


# ---- docs/terms.md ---------------------------------------------------------------------------------------------------

ROOT = Path(robust_transfer.__file__).parents[2]
FINGERPRINTS = """
import json, math, pathlib, sys, yaml
from robust_transfer import provenance
from robust_transfer.run.nodes import modules_of
from robust_transfer.studies import make_plan


def fingerprints(root):
    config = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
    plan = make_plan(config | {"scale": "digits", "studies": ["davchev", "renofeation"]}, root / "workflow")
    return {i: provenance.fingerprint(*modules_of(node, plan)) for i, node in plan.nodes.items()}
"""
TRAIN = """
print(json.dumps(fingerprints(pathlib.Path(sys.argv[2]))))
assert "torch" not in sys.modules

import torch
import torch.nn.functional as F
from robust_transfer.data.tensors import PreparedData, TensorSplit
from robust_transfer.models import files
from robust_transfer.plan.specs import TUNABLE, CifarResNet, Recipe
from robust_transfer.signals import StopRequest
from robust_transfer.training.loop import train
from robust_transfer.training.objective import Objective

{test}
test_features_are_kept_short()
part = TensorSplit(torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8), torch.arange(12) % 3)
ends = []
for terms in (dict(), yaml.safe_load(sys.argv[1])["terms"]):
    torch.manual_seed(0)
    network = files.build(CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=4), channels=1, classes=3)
    recipe = Recipe(schedule=dict(iterations=6, batch_size=6, lr=0.1), terms=terms)
    train(network, PreparedData(part, part, part), recipe, "run", pathlib.Path("state"), math.inf, StopRequest())
    ends.append(network.features(part.images / 255).norm().item())
assert recipe.slug == "nat+short0_5" and recipe.canonical()["terms"] == dict(feature_norm=0.5)
assert "feature_norm" in TUNABLE and ends[1] < ends[0] / 2, ends
"""


def test_a_term_is_added_as_the_page_says(tmp_path):
    page = (ROOT / "docs" / "terms.md").read_text(encoding="utf-8")
    place = re.search(r"Write `(src/robust_transfer/terms/\w+\.py)`", page)[1]
    use = re.search(r"Use it: `(.*?)`", page)[1]
    term, test = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / place).write_text(term, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", FINGERPRINTS + TRAIN.replace("{test}", test), use, ROOT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "src")},
    )
    assert done.returncode == 0, done.stderr
    before: dict = {}
    exec(FINGERPRINTS, before)
    assert json.loads(done.stdout) == before["fingerprints"](ROOT), "every other node is what it was"


def test_the_page_lists_every_term():
    page = (ROOT / "docs" / "terms.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == set(Terms.forms)
