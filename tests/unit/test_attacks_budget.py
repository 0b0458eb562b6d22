"""The stored form of adversarial images and its budget."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from robust_transfer.attacks.budget import BudgetError, check_budget, quantise, to_float
from robust_transfer.plan.specs import Attack


def threat(norm="linf", eps=8 / 255):
    return Attack.model_construct(norm=norm, eps=eps)  # unchecked: some budgets are larger than users may write


def photos(n=4, side=6):
    """Random 8-bit images in which black and white pixels are common."""
    generator = torch.Generator().manual_seed(3)
    return torch.randint(-60, 316, (n, 3, side, side), generator=generator).clamp(0, 255).to(torch.uint8)


def moved(clean, offset):
    """Stored images: the clean ones plus integer offsets."""
    return (clean.to(torch.int32) * 257 + offset).to(torch.uint16)


def test_clean_images_are_stored_and_read_without_loss(tmp_path):
    values = torch.arange(256).to(torch.uint8).view(1, 1, 16, 16)
    stored = quantise(to_float(values), values, threat(eps=0.0))
    assert torch.equal(stored.to(torch.int32), values.to(torch.int32) * 257)
    assert torch.equal(to_float(stored), values.float() / 255)
    save_file({"images": stored}, tmp_path / "images.safetensors")
    read = load_file(tmp_path / "images.safetensors")["images"]
    assert read.dtype == torch.uint16 and torch.equal(read, stored)


def test_to_float_is_the_value_over_65535():
    stored = torch.tensor([0, 1, 257, 40000, 65535], dtype=torch.int32).to(torch.uint16)
    assert to_float(stored).tolist() == pytest.approx([0, 1 / 65535, 1 / 255, 40000 / 65535, 1], rel=1e-7)
    with pytest.raises(TypeError, match="int64"):
        to_float(torch.tensor([1]))


def test_quantising_rounds_to_the_nearest_unit():
    clean = torch.tensor([100, 100, 100, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    wanted = torch.tensor([[[[25700 + 10.3, 25700 - 10.7], [25700.4, 65535]]]])
    stored = quantise(wanted / 65535, clean, threat(eps=0.01))
    assert stored.flatten().tolist() == [25710, 25689, 25700, 65535]


def test_an_eps_of_k_over_255_is_257_k_units():
    clean = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    for k in range(1, 256):
        check_budget(moved(clean, 257 * k), clean, threat(eps=k / 255))
        if k < 255:
            with pytest.raises(BudgetError):
                check_budget(moved(clean, 257 * k + 1), clean, threat(eps=k / 255))
    check_budget(moved(clean, 2056), clean, threat(eps=0.0313725490196))


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.01, 8 / 255, 0.1, 1.0, 50.0])
def test_linf_budget_holds_in_integers(eps):
    clean = photos()
    sign = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1)).sign()
    pushed = (to_float(clean) + eps * sign).clamp(0, 1)
    stored = quantise(pushed, clean, threat(eps=eps))
    check_budget(stored, clean, threat(eps=eps))
    furthest = (stored.to(torch.int32) - clean.to(torch.int32) * 257).abs().max().item()
    assert furthest == min(math.floor(eps * 65535 + 1e-6), 65535)


@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.003, 0.5, 128 / 255, 3.0, 1e9])
def test_l2_budget_holds_in_integers_and_is_used(eps):
    clean = photos(16)
    direction = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    # Towards the middle of the pixel range, so that nothing is clipped.
    direction = direction.abs() * torch.where(clean > 127, -1, 1)
    direction = direction / torch.linalg.vector_norm(direction, dim=(1, 2, 3), keepdim=True)
    stored = quantise((to_float(clean) + min(eps, 3.0) * direction).clamp(0, 1), clean, threat("l2", eps))
    check_budget(stored, clean, threat("l2", eps))
    offset = stored.to(torch.int64) - clean.to(torch.int64) * 257
    squares = offset.square().sum((1, 2, 3))
    assert (squares <= (eps * 65535) ** 2 * (1 + 1e-12)).all()
    if 0.1 < eps < 3.0:
        # Mending costs no more than a few units of tens of thousands.
        assert (squares.double().sqrt() >= eps * 65535 - 5).all()


def test_l2_rounding_is_mended_where_it_broke_the_budget():
    # Each of 108 pixels rounds up from 0.6 units: the norm goes from 6.24 to 10.4.
    clean = torch.full((1, 3, 6, 6), 100, dtype=torch.uint8)
    eps = 0.6 * math.sqrt(108) / 65535
    stored = quantise(to_float(clean) + 0.6 / 65535, clean, threat("l2", eps))
    check_budget(stored, clean, threat("l2", eps))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_that_left_its_budget_is_refused_not_mended(norm):
    clean = photos()
    pushed = to_float(clean)
    pushed[2, 0, 0, 0] = (pushed[2, 0, 0, 0] - 0.3).abs()
    with pytest.raises(BudgetError, match="image 2 lies outside"):
        quantise(pushed, clean, threat(norm, 0.1))


def test_what_is_no_image_is_refused():
    clean = photos()
    broken = to_float(clean)
    broken[0, 0, 0, 0] = math.nan
    with pytest.raises(BudgetError, match="not finite"):
        quantise(broken, clean, threat())
    with pytest.raises(BudgetError, match="don't match"):
        quantise(to_float(clean)[:2], clean, threat())
    with pytest.raises(BudgetError, match="uint16"):
        check_budget(to_float(clean), clean, threat())
    with pytest.raises(BudgetError, match="don't match"):
        check_budget(moved(clean, 0)[:1], clean, threat())


def test_one_unit_too_far_is_found_and_named_linf():
    clean = torch.full((1500, 1, 2, 2), 100, dtype=torch.uint8)
    offset = torch.full(clean.shape, 2056, dtype=torch.int32)
    check_budget(moved(clean, offset), clean, threat())
    check_budget(moved(clean, -offset), clean, threat())
    for sign in (1, -1):
        worse = offset.clone()
        worse[1200, 0, 1, 0] = 2057
        worse[1300, 0, 0, 0] = 2059
        with pytest.raises(
            BudgetError, match=r"image 1200 .* 2057 units .* 1 more than the 2056 allowed; 1 more images"
        ):
            check_budget(moved(clean, sign * worse), clean, threat())


def test_one_unit_too_far_is_found_and_named_l2():
    # 3000, 4000 and 12000 units are 13000 together; the last of two images has one unit more.
    clean = torch.full((2, 1, 1, 3), 100, dtype=torch.uint8)
    offset = torch.tensor([3000, -4000, 12000], dtype=torch.int32).expand(2, 1, 1, 3).clone()
    eps = 13000 / 65535
    check_budget(moved(clean, offset), clean, threat("l2", eps))
    offset[1, 0, 0, 0] = 3001
    with pytest.raises(BudgetError, match=r"image 1 .* 13000\.23"):
        check_budget(moved(clean, offset), clean, threat("l2", eps))


def test_an_empty_set_is_fine():
    clean = photos()[:0]
    stored = quantise(to_float(clean), clean, threat("l2"))
    check_budget(stored, clean, threat())
    assert stored.dtype == torch.uint16 and stored.shape == clean.shape
