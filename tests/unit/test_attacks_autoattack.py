"""AutoAttack's members, the attack as one, and as nodes of a plan that are joined image by image."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from pyautoattack import AutoAttack as Theirs
from pydantic import TypeAdapter, ValidationError
from sklearn.datasets import load_digits
from torch import nn

from robust_transfer.attacks.budget import check_budget
from robust_transfer.attacks.craft import craft
from robust_transfer.attacks.perturb import perturb
from robust_transfer.errors import UserError
from robust_transfer.plan import build
from robust_transfer.plan.edges import misfits
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import AnyAttack, Apgd, AutoAttack, CifarResNet, Digits, FabT, Pgd, Recipe, Square
from robust_transfer.stages import craft as craft_stage
from robust_transfer.stages import worst as worst_stage
from robust_transfer.stages.node import KINDS

BUDGETS = {"l2": 0.8, "linf": 0.15}


def members(norm="linf", eps=None):
    """Small ones, in AutoAttack's order."""
    threat = {"norm": norm, "eps": BUDGETS[norm] if eps is None else eps}
    return {
        "apgd": Apgd(algorithm="apgd", steps=6, **threat),
        "apgd-t": Apgd(algorithm="apgd", steps=6, loss="dlr_targeted", **threat),
        "fab-t": FabT(algorithm="fab-t", steps=6, **threat),
        "square": Square(algorithm="square", queries=60, **threat),
    }


@pytest.fixture(scope="module")
def trained():
    """A small network that has seen noisy digits, and 50 others, of which it gets the first 40 right."""
    digits = load_digits()
    images, labels = torch.tensor(digits.images).float()[:, None] / 16, torch.tensor(digits.target)
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(), nn.Flatten()
    net = nn.Sequential(*layers, nn.Linear(256, 10))
    optimiser = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    for _ in range(15):
        for chosen in (torch.randperm(1000) + 797).split(100):
            optimiser.zero_grad()
            F.cross_entropy(net(images[chosen] + 0.2 * torch.randn(100, 1, 8, 8)), labels[chosen]).backward()
            optimiser.step()
    net.eval().zero_grad()
    right = net(images[:797]).argmax(1) == labels[:797]
    places = torch.cat([right.nonzero().flatten()[:40], (~right).nonzero().flatten()[:10]])
    clean = (images[places] * 255).round().to(torch.uint8)
    return net, clean, labels[places]


def robust(net, images, labels):
    return net(images).argmax(1) == labels


# ---- the members ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("name", ["apgd-t", "fab-t", "square"])
def test_members_keep_their_budget_and_fool_some_images(trained, norm, name):
    net, clean, labels = trained
    spec = members(norm)[name]
    images = clean.float() / 255
    found = perturb(net, images, labels, spec, generator_seed=0)
    offset = (found.double() - images.double()).flatten(1)
    assert ((offset.norm(dim=1) if norm == "l2" else offset.abs().amax(1)) <= spec.eps).all()
    assert found.min() >= 0 and found.max() <= 1 and found.dtype == torch.float32
    before, after = (robust(net, x, labels) for x in (images, found))
    assert not (after & ~before).any() and after.sum() < 0.8 * before.sum()
    stored = craft(net, clean, labels, spec, batch_size=30, seed=0)
    check_budget(stored, clean, spec)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("name", ["apgd-t", "fab-t", "square"])
def test_members_depend_on_their_seed_alone_and_leave_the_model_as_it_was(trained, norm, name):
    net, clean, labels = trained
    images, spec = clean[:30].float() / 255, members(norm)[name]
    torch.manual_seed(5)
    undisturbed = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (perturb(net, images, labels[:30], spec, generator_seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), undisturbed)
    assert torch.equal(one, same) and torch.equal(one, other) == (name == "fab-t")  # which draws nothing
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", ["apgd-t", "fab-t"])
def test_a_target_class_more_never_helps_the_model_and_there_are_no_more_than_other_classes(trained, name):
    net, clean, labels = trained
    images, labels = clean[:40].float() / 255, labels[:40]
    found = {}
    for targets in (1, 9, 20):
        spec = members()[name].model_copy(update={"targets": targets})
        found[targets] = perturb(net, images, labels, spec, generator_seed=0)
    left = {targets: robust(net, x, labels) for targets, x in found.items()}
    assert (left[9] <= left[1]).all() and not torch.equal(found[9], found[1])
    assert torch.equal(found[9], found[20])


def test_the_first_target_is_the_likeliest_other_class():
    class Three(nn.Module):
        """Logits of three pixels, and of a class that never wins."""

        def forward(self, x):
            return torch.cat([x.flatten(1), torch.full((len(x), 1), -9.0)], 1)

    image, label = torch.tensor([0.5, 0.3, 0.2]).view(1, 1, 1, 3), torch.tensor([0])
    spec = Apgd(algorithm="apgd", steps=10, loss="dlr_targeted", targets=1, eps=0.05)  # too little to reach any class
    (found,) = perturb(Three(), image, label, spec, generator_seed=0).flatten(1)
    assert found[0] == pytest.approx(0.45) and found[1] == pytest.approx(0.35)


def test_the_dlr_loss_needs_enough_classes():
    images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])

    def classes(n):
        return nn.Sequential(nn.Flatten(), nn.Linear(16, n))

    for loss, fewest in (("dlr", 3), ("dlr_targeted", 4)):
        spec = Apgd(algorithm="apgd", steps=2, loss=loss, eps=0.1)
        perturb(classes(fewest), images, labels, spec)
        few = classes(fewest - 1)
        with pytest.raises(UserError, match=f"needs {fewest} classes, and there are {fewest - 1}"):
            perturb(few, images, few(images).argmax(1), spec)


@pytest.mark.parametrize("name", ["apgd", "apgd-t", "fab-t", "square"])
def test_what_is_no_number_is_an_error(name):
    class Breaks(nn.Module):
        """Right on clean images; from the second call on, gradients or (for Square, which takes none) logits break."""

        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            logits = 1 + x.flatten(1)[:, :4]
            if name == "square":
                return logits * (float("nan") if self.calls > 3 else 1)
            return logits + 0 * torch.sqrt(logits * 0) if x.requires_grad else logits

    images = torch.tensor([0.9, 0.1, 0.0, 0.3] * 4).view(1, 1, 4, 4)
    with pytest.raises(FloatingPointError, match="not finite"):
        perturb(Breaks(), images, torch.tensor([0]), members(eps=0.1)[name], generator_seed=0)


@pytest.mark.parametrize("side", range(3, 33))
def test_square_under_l2_starts_on_images_that_its_tiles_fit_and_refuses_others(side):
    net = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 4))
    images = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))
    spec = Square(algorithm="square", norm="l2", eps=1e-3, queries=2)
    if side in (3, 4, 12, 14, 18, 19, 24):
        with pytest.raises(UserError, match=f"{side} x {side} pixels; write linf"):
            perturb(net, images, net(images).argmax(1), spec)
    else:
        perturb(net, images, net(images).argmax(1), spec)


# ---- the attack as one ---------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """AutoAttack with members that take a second, not a minute."""
    monkeypatch.setattr(AutoAttack, "members", lambda self: list(members(self.norm, self.eps).values()))


def test_it_is_its_members_and_what_the_library_calls_standard():
    spec = AutoAttack(algorithm="autoattack", eps="8/255")
    first, second, third, last = spec.members()
    assert {(m.norm, m.eps) for m in spec.members()} == {("linf", 8 / 255)}
    library = Theirs(nn.Flatten(), norm="Linf", eps=8 / 255)
    assert library.attacks_to_run == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert (first.steps, first.restarts, first.rho) == (library.apgd.n_iter, library.apgd.n_restarts, 0.75)
    targeted = library.apgd_targeted
    assert (second.loss, second.steps, second.restarts) == ("dlr_targeted", targeted.n_iter, targeted.n_restarts)
    assert (second.targets, third.targets) == (targeted.n_target_classes, library.fab.n_target_classes)
    assert third.steps == library.fab.n_iter
    assert (last.queries, last.p_init) == (library.square.n_queries, library.square.p_init)
    assert not library.square.rescale_schedule and library.square.n_restarts == library.fab.n_restarts == 1


def test_no_member_is_stronger_than_the_whole(trained, small):
    net, clean, labels = trained
    images = clean.float() / 255
    spec = AutoAttack(algorithm="autoattack", eps=BUDGETS["linf"])
    whole = robust(net, perturb(net, images, labels, spec, generator_seed=1), labels)
    alone = [robust(net, perturb(net, images, labels, each, generator_seed=1), labels) for each in spec.members()]
    assert 0 < whole.sum() <= min(each.sum() for each in alone) < max(each.sum() for each in alone)
    pgd = Pgd(algorithm="pgd", eps=spec.eps, steps=20, step_size="eps/4", random_start=True)
    assert whole.sum() <= robust(net, perturb(net, images, labels, pgd, generator_seed=1), labels).sum()


def test_wrong_configurations_are_told_in_a_sentence():
    attack = TypeAdapter(AnyAttack)
    every = "'apgd', 'autoattack', 'fab-t', 'feature', 'fgsm', 'mi-fgsm', 'pgd', 'square'"
    with pytest.raises(ValidationError, match=every):
        attack.validate_python({"algorithm": "tickle", "eps": 0.1})
    with pytest.raises(ValidationError, match="goes by the true labels; leave the key out"):
        attack.validate_python({"algorithm": "autoattack", "eps": 0.1, "labels": "predicted"})
    with pytest.raises(ValidationError, match="Input should be 'standard'"):
        attack.validate_python({"algorithm": "autoattack", "eps": 0.1, "version": "plus"})


# ---- as nodes ------------------------------------------------------------------------------------------------------


def planned(attack, classes=None, black_box=False):
    plan = Plan({})
    data = build.prepare(plan, Digits(reader="sklearn-digits", classes=classes))
    recipe = {"network": CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1], width=4)}
    schedule = {"epochs": 1, "batch_size": 10, "lr": 0.1, "select": "last"}
    model = build.pretrain(plan, data, Recipe(schedule=schedule, **recipe))
    other = build.pretrain(plan, data, Recipe(schedule=schedule | {"epochs": 2}, **recipe)) if black_box else None
    return plan, model, data, build.attacked(plan, model, data, attack, seed=0, surrogate=other), other


def test_of_a_plain_attack_the_nodes_are_what_they_were():
    attack = members()["apgd"]
    plan, model, data, outcomes, _ = planned(attack)
    assert outcomes == build.evaluate(plan, model, data, build.craft(plan, model, data, attack, 0))
    assert [n.kind for n in plan.nodes.values()] == ["prepare", "pretrain", "craft", "evaluate"]


def test_each_member_is_a_node_that_knows_what_the_former_beat():
    attack = AutoAttack(algorithm="autoattack", eps=0.25)
    plan, model, _, outcomes, _ = planned(attack)
    assert outcomes.kind == "worst" and outcomes.slug == f"{model.slug}.autoattack-linf-0.25"
    kinds = [n.kind for n in plan.nodes.values()]
    assert (kinds.count("craft"), kinds.count("evaluate"), kinds.count("worst")) == (4, 4, 1)
    found = [plan.nodes[outcomes.parents[f"member{place}"]] for place in range(4)]
    assert [n.slug.split(".", 3)[-1] for n in found] == [
        *("apgd100-linf-0.25", "apgdt100-linf-0.25", "fabt100-linf-0.25", "square5000-linf-0.25")
    ]
    crafts = [plan.nodes[n.parents["examples"]] for n in found]
    for place, node in enumerate(crafts):
        earlier = {f"beaten{i}": n.id for i, n in enumerate(found[:place])}
        assert {role: i for role, i in node.parents.items() if role.startswith("beaten")} == earlier


def test_in_a_black_box_the_examples_are_those_made_against_the_other_model():
    attack = AutoAttack(algorithm="autoattack", eps=0.25)
    plan, model, data, outcomes, other = planned(attack, black_box=True)
    assert outcomes.slug == f"{model.slug}.from-autoattack-linf-0.25"
    examples = [plan.nodes[plan.nodes[i].parents["examples"]] for i in outcomes.parents.values()]
    assert {node.parents["model"] for node in examples} == {other.id}
    before = len(plan.nodes)
    build.attacked(plan, other, data, attack, seed=0)  # its own robustness needs the last member's outcomes and a join
    assert len(plan.nodes) == before + 2


def test_too_few_classes_are_refused_at_planning():
    attack = AutoAttack(algorithm="autoattack", eps=0.25)
    few, enough = (list(misfits(planned(attack, classes=classes)[0], Path())) for classes in ([1, 2, 3], [1, 2, 3, 4]))
    assert [misfit.sentence for misfit in few] == ["apgdt100-linf-0.25 needs 4 classes, and there are 3; write pgd"]
    assert enough == []


def job(kind, spec, tmp_path, **tables):
    """A job whose parents of these roles are tables of outcomes (label, prediction, confidence)."""
    for role, rows in tables.items():
        frame = pd.DataFrame(rows, columns=["label", "prediction", "confidence"])
        frame.insert(0, "index", range(len(frame)))
        frame.to_parquet(tmp_path / role)
    parents = {role: SimpleNamespace(id=role) for role in tables}
    return SimpleNamespace(
        spec=KINDS[kind].parse(spec),
        parents=parents,
        parent=lambda role: tmp_path / role,
        output=tmp_path / "made",
        blaming=lambda _: nullcontext(),
        computed={},
    )


def test_an_image_is_wrong_if_a_member_made_it_wrong(tmp_path, small):
    withstood = (1, 1, 0.9)
    tables = {
        # withstands all; wrong from the start; beaten by the second; by the second and the last
        "member0": [withstood, (1, 2, 0.6), withstood, withstood],
        "member1": [(1, 1, 0.5), (1, 2, 0.7), (1, 3, 0.4), (1, 0, 0.3)],
        "member2": [(1, 1, 0.7), (1, 2, 0.7), withstood, withstood],
        "member3": [(1, 1, 0.8), (1, 2, 0.7), withstood, (1, 2, 0.2)],
    }
    spec = {"attack": {"algorithm": "autoattack", "eps": 0.15}}
    made = job("worst", spec, tmp_path, **tables)
    metrics = worst_stage.run(made)
    found = pd.read_parquet(made.output)
    assert list(found.columns) == ["index", "label", "prediction", "confidence", "member"]
    first, second = (attack.slug for attack in list(members().values())[:2])
    assert found.drop(columns="index").to_numpy().tolist() == [
        [1, 1, 0.5, ""],
        [1, 2, 0.6, first],
        [1, 3, 0.4, second],
        [1, 0, 0.3, second],
    ]
    assert metrics["accuracy"] == 25 and list(metrics["after"].values()) == [75, 25, 25, 25]


def test_outcomes_of_other_images_are_not_joined(tmp_path, small):
    spec = {"attack": {"algorithm": "autoattack", "eps": 0.15}}
    one, other = [(1, 1, 0.5)], [(2, 2, 0.5)]
    with pytest.raises(ValueError, match="member2 is of other images"):
        worst_stage.run(job("worst", spec, tmp_path, member0=one, member1=one, member2=other, member3=one))


def test_images_that_were_beaten_stay_clean_and_the_others_are_attacked(tmp_path, trained, monkeypatch):
    from safetensors.torch import load_file

    from robust_transfer.data import tensors
    from robust_transfer.models import files

    net, clean, labels = trained

    part = tensors.TensorSplit(clean[:6], labels[:6])
    monkeypatch.setattr(tensors, "load", lambda _, stream: SimpleNamespace(in_memory=lambda _: part))
    monkeypatch.setattr(files, "load", lambda _: (net, None))
    attack = members()["apgd"]
    right = [(int(label), int(label), 0.9) for label in labels[:6]]
    wrong = [(int(label), (int(label) + 1) % 10, 0.9) for label in labels[:6]]
    beaten = {"beaten0": [wrong[0], *right[1:]], "beaten1": [*right[:3], wrong[3], *right[4:]]}
    made = job("craft", {"attack": attack.canonical(), "split": "test", "seed": 0}, tmp_path, **beaten)
    made.devices = [torch.device("cpu")]
    assert craft_stage.run(made) == {"n": 6, "zero_gradients": 0, "attacked": 4}
    stored, left = load_file(made.output)["examples"], [1, 2, 4, 5]
    check_budget(stored, part.images, attack)
    stored = stored.int()
    assert torch.equal(stored[[0, 3]], 257 * clean[[0, 3]].int())
    assert torch.equal(stored[left], craft(net, clean[left], labels[left], attack, 250, 0).int())
