"""Each term of the objectives against its formula on small tensors, and their sum in a step of training."""

import math

import pytest
import torch
import torch.nn.functional as F

from robust_transfer.attacks.perturb import perturb
from robust_transfer.attacks.ready import attack_ready
from robust_transfer.models import files
from robust_transfer.models.classifier import freeze_but, modules_in_eval
from robust_transfer.plan.specs import CifarResNet, Free, Last, Pgd, Recipe, Terms
from robust_transfer.terms.feature_distance import scaled_distance
from robust_transfer.terms.feature_distillation import stage_distance
from robust_transfer.terms.head_penalty import squared_length
from robust_transfer.terms.similarity import mean_distance
from robust_transfer.terms.start_distance import squared_distance
from robust_transfer.training.objective import Objective

NETWORK = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1], width=4)
PGD = Pgd(algorithm="pgd", eps=0.2, steps=2, step_size="eps/2", random_start=False)


def network(seed):
    torch.manual_seed(seed)
    return files.build(NETWORK, 1, 3)


def batch():
    torch.manual_seed(5)
    return torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([7, 3, 4, 0, 9, 1])


def objective(student, teacher=None, features=None, **recipe):
    recipe = Recipe(schedule={"epochs": 1, "batch_size": 6, "lr": 0.1}, **recipe)
    frozen = freeze_but(student, recipe.trainable, recipe.affine == "train")
    in_eval = modules_in_eval(student, frozen, recipe.frozen_statistics, recipe.trained_statistics)
    return Objective(student, recipe, in_eval, teacher, features)


def cross_entropy(student, images, labels):
    return F.cross_entropy(student.train()(images), labels)


def test_feature_distillation_is_the_sum_of_the_stages_mean_squares():
    a = [torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]]), torch.tensor([[[[0.0]]], [[[2.0]]]])]
    b = [torch.tensor([[[[1.0, 0.0]]], [[[0.0, 4.0]]]]), torch.tensor([[[[1.0]]], [[[5.0]]]])]
    # Two images: the first stage has n_l = 2 elements, the second 1.
    by_hand = ((0 + 4) / 2 + (9 + 0) / 2) / 2 + (1 + 9) / 2
    assert stage_distance(a, b).item() == pytest.approx(by_hand)


def test_networks_with_other_stages_are_refused():
    with pytest.raises(ValueError, match="stages"):
        stage_distance([torch.zeros(1, 2, 1, 1)], [torch.zeros(1, 1, 1, 1)])


def test_start_distance_is_the_squared_length_without_the_head():
    student, start = network(1), network(2)
    theta = {name: p.detach() for name, p in start.named_parameters() if not name.startswith("head.")}
    moved = dict(student.named_parameters())
    by_hand = sum(((moved[name] - p) ** 2).sum().item() for name, p in theta.items())
    assert squared_distance(student, theta).item() == pytest.approx(by_hand, rel=1e-5)
    assert "head.weight" in moved and "head.weight" not in theta


def test_head_penalty_counts_weights_and_biases():
    head = torch.nn.Linear(2, 1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 2.0]]))
        head.bias.fill_(3.0)
    assert squared_length(head).item() == 14


def test_all_terms_are_weighed_and_summed():
    student, teacher = network(1), network(2).eval()
    images, labels, places = batch()
    weights = {"feature_distillation": 0.7, "start_distance": 0.3, "head_penalty": 0.01}
    loss = objective(student, teacher, terms=weights)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(0.1)  # away from the start, which was noted when the objective was made
    found = loss(images, labels, places).item()
    with torch.no_grad():
        seen, wanted = student.train().observe(images), teacher.observe(images)
        moving = sum(p.numel() for name, p in student.named_parameters() if not name.startswith("head."))
        by_hand = (
            F.cross_entropy(seen.logits, labels)
            + 0.7 * sum(((a - b) ** 2).mean() for a, b in zip(seen.stages, wanted.stages, strict=True))
            + 0.3 * moving * 0.1**2
            + 0.01 * ((student.head.weight**2).sum() + (student.head.bias**2).sum())
        )
    assert found == pytest.approx(by_hand.item(), rel=1e-4)


def test_the_head_is_pulled_to_where_it_began_where_that_is_wanted():
    student = network(1)
    free = objective(student, terms={"start_distance": 0.3})
    pulled = objective(student, terms={"start_distance": {"weight": 0.3, "head": True}})
    with torch.no_grad():
        student.head.bias.add_(0.1)
    difference = pulled(*batch()).item() - free(*batch()).item()
    assert difference == pytest.approx(0.3 * len(student.head.bias) * 0.1**2, rel=1e-2)


def test_the_distance_from_the_start_is_written_as_its_weight_where_that_says_all():
    def written(value):
        return Terms(start_distance=value).canonical()["start_distance"]

    assert written({"weight": 0.3}) == written(0.3) == 0.3
    assert written({"weight": 0.3, "head": True}) == {"weight": 0.3, "head": True}
    changed = Terms(start_distance={"weight": 0.3, "head": True}).with_weights({"start_distance": 0.5})
    assert changed.canonical()["start_distance"] == {"weight": 0.5, "head": True}


def test_the_teacher_gets_no_gradient_and_keeps_its_statistics():
    student, teacher = network(1), network(2)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    objective(student, teacher, terms={"feature_distillation": 1})(*batch()).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(p.grad is not None for p in student.parameters())


def test_dropout_comes_after_the_stage_whose_output_is_compared():
    student = network(1).train()
    images, _, _ = batch()
    plain = student.observe(images).stages
    student.dropout = 0.5
    torch.manual_seed(0)
    dropped = student.observe(images).stages
    assert torch.equal(plain[0], dropped[0])
    assert not torch.equal(plain[1], dropped[1])


def test_either_draws_clean_or_adversarial_batches_by_its_weight():
    student = network(1)
    loss = objective(student, inputs={"attack": PGD, "mixing": "either", "clean_weight": 0.25})
    images, labels, places = batch()
    torch.manual_seed(0)
    losses = [loss(images, labels, places).item() for _ in range(60)]
    clean = cross_entropy(student, images, labels).item()
    of_clean = [math.isclose(value, clean, rel_tol=1e-4) for value in losses]
    assert 6 <= sum(of_clean) <= 26  # 15 expected; 99.9 % of all draws lie within
    assert all(value > clean for value, is_clean in zip(losses, of_clean, strict=True) if not is_clean)


def test_adversarial_examples_follow_the_weights():
    """The attack's copy of the network is refreshed: it must not stay with the weights it was made from."""
    images, labels, places = batch()
    student = network(1)
    loss = objective(student, inputs={"attack": PGD, "clean_weight": 0.0})
    loss(images, labels, places)
    other = network(9)
    student.load_state_dict(other.state_dict())
    fresh = objective(other, inputs={"attack": PGD, "clean_weight": 0.0})
    assert loss(images, labels, places).item() == pytest.approx(fresh(images, labels, places).item(), rel=1e-5)


# ---- learning without forgetting, feature distance, free adversarial training ----------------------------------------


def test_similarity_is_the_mean_norm_over_images():
    features, source = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert mean_distance(features, source, "l2").item() == (5 + 1) / 2
    assert mean_distance(features, source, "l1").item() == (7 + 1) / 2


def test_learning_without_forgetting_looks_up_each_image_by_its_place():
    student = network(1)
    images, labels, places = batch()
    stored = torch.randn(10, student.width)
    near = {"similarity": {"weight": 0.3, "norm": "l1"}}
    found = objective(student, features=stored, terms=near)(images, labels, places).item()
    with torch.no_grad():
        seen = student.train().observe(images)
        distance = (seen.features - stored[[7, 3, 4, 0, 9, 1]]).abs().sum(1).mean()
        by_hand = F.cross_entropy(seen.logits, labels) + 0.3 * distance
    assert found == pytest.approx(by_hand.item(), rel=1e-5)


def test_feature_distance_over_the_root_of_the_elements_summed_or_in_the_mean():
    clean = torch.zeros(2, 1, 2, 2)
    adversarial = torch.tensor([3.0, 0, 0, 4.0, 1, 1, 1, 1]).view(2, 1, 2, 2)
    assert scaled_distance(clean, adversarial, "sum").item() == pytest.approx((5 + 2) / math.sqrt(4))
    assert scaled_distance(clean, adversarial, "mean").item() == pytest.approx((5 + 2) / math.sqrt(4) / 2)


@pytest.mark.parametrize("units", [1, 2])
def test_feature_distance_minimisation_compares_what_goes_into_the_last_units(units):
    student = network(1)
    images, labels, places = batch()
    distance = {"feature_distance": {"weight": 0.4, "units": units}}
    found = objective(student, inputs={"attack": PGD, "clean_weight": 0.0}, terms=distance)(images, labels, places)
    adversarial = perturb(attack_ready(network(1)), images, labels, PGD)
    reference = network(1).train()
    with torch.no_grad():
        pair = [reference.observe(x, unit=units) for x in (adversarial, images)]
        d = pair[0].unit_input[0].numel()
        norm = (pair[0].unit_input - pair[1].unit_input).flatten(1).norm(dim=1).sum() / math.sqrt(d)
        by_hand = F.cross_entropy(pair[0].logits, labels) + 0.4 * norm
    assert found.item() == pytest.approx(by_hand.item(), rel=1e-4)


FREE = Free(algorithm="free", eps=0.1, step_size=0.04, replay=2)


def test_the_free_perturbation_follows_the_sign_of_the_shared_backward_pass():
    student = network(1)
    images, labels, places = batch()
    loss = objective(student, inputs={"attack": FREE, "clean_weight": 0.0})
    reference = network(1).train()
    delta = torch.zeros_like(images)
    for _ in range(4):
        found = loss(images, labels, places)
        found.backward()
        loss.after_backward()
        delta.requires_grad_()
        expected = F.cross_entropy(reference((images + delta).clamp(0, 1)), labels)
        (gradient,) = torch.autograd.grad(expected, delta)
        delta = (delta.detach() + 0.04 * gradient.sign()).clamp(-0.1, 0.1)
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)
        assert torch.equal(loss.state()["delta"], delta)
    assert delta.abs().max() == pytest.approx(0.1), "three steps of 0.04 reach the budget's edge"


def test_the_free_perturbation_follows_the_gradient_of_a_network_that_is_sure():
    student, reference = network(1), network(1).train().double()
    for each in (student, reference):
        each.head.bias.data[0] += 25  # in single precision p_0 is rounded to 1
    images, _, places = batch()
    labels = torch.zeros(6, dtype=torch.int64)
    loss = objective(student, inputs={"attack": FREE, "clean_weight": 0.0})
    loss(images, labels, places).backward()
    loss.after_backward()
    pixels = images.double().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(reference(pixels), labels), pixels)
    assert (loss.state()["delta"].sign() == gradient.sign()).float().mean() > 0.99


def test_the_free_perturbation_stays_from_batch_to_batch_and_through_a_checkpoint():
    student = network(1)
    images, labels, places = batch()
    loss = objective(student, inputs={"attack": FREE, "clean_weight": 0.0})
    loss(images, labels, places).backward()
    loss.after_backward()
    again = objective(student, inputs={"attack": FREE, "clean_weight": 0.0})
    again.restore(loss.state())
    other = images.flip(0)
    assert loss(other, labels, places).item() == again(other, labels, places).item()
    fresh = objective(student, inputs={"attack": FREE, "clean_weight": 0.0})
    assert loss(other, labels, places).item() != fresh(other, labels, places).item()


# ---- what moves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frozen", "trained", "moved"),
    [
        ("freeze", "update", "trained"),
        ("update", "update", "all"),
        ("freeze", "freeze", "none"),
        ("update", "freeze", "frozen"),
    ],
)
def test_which_running_statistics_move(frozen, trained, moved):
    student = network(1)
    of = {"trainable": Last(last=1, of="stages"), "frozen_statistics": frozen, "trained_statistics": trained}
    before = {name: tensor.clone() for name, tensor in student.state_dict().items() if "running" in name}
    objective(student, **of)(*batch())
    changed = {n.split(".running")[0] for n, t in before.items() if not torch.equal(t, student.state_dict()[n])}
    frozen_norms = {n.split(".running")[0] for n in before if n.startswith(("stem", "stages.0"))}
    trained_norms = {n.split(".running")[0] for n in before} - frozen_norms
    wanted = {"trained": trained_norms, "all": trained_norms | frozen_norms, "none": set(), "frozen": frozen_norms}
    assert changed == wanted[moved]


def test_scale_and_shift_of_batch_norms_can_be_frozen_everywhere():
    student = network(1)
    objective(student, affine="freeze")
    live = {name for name, p in student.named_parameters() if p.requires_grad}
    assert live
    assert not any("bn" in name or name.startswith("stem.1") for name in live)
    assert "stages.1.0.conv1.weight" in live and "head.weight" in live
