"""Images, perturbations, answers and gradients."""

import numpy as np
import pandas as pd
import pytest
from test_figures_cells import ABOUT

from robust_transfer.figures.examples import RIGHT, WRONG, amplification, answers, examples
from robust_transfer.figures.gradients import gradients, visible

NONE = pd.DataFrame()


def images(n, channels, size=4):
    return np.linspace(0.1, 0.9, n * channels * size * size, dtype=np.float32).reshape(n, channels, size, size)


def tensors(channels=3, **more):
    clean = images(2, channels)
    shift = np.full_like(clean, 0.02)
    shift[..., 0] = -0.04
    return {
        "clean": clean,
        "adversarial": clean + shift,
        "label": np.array([0, 2]),
        "clean_prediction": np.array([0, 1]),
        "adversarial_prediction": np.array([2, 2]),
        **more,
    }


SPEC = {**ABOUT, "classes": ["cat", "dog", "ship"], "models": ["DELTA"]}


def grid(figure, rows):
    """The panels, as rows × columns."""
    return np.array(figure.axes).reshape(rows, -1)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_perturbations_and_adversarial_images_are_shown(channels):
    given = tensors(channels)
    panels = grid(examples(NONE, SPEC, given), 5)
    assert [axis.get_ylabel() for axis in panels[:, 0]] == ["clean", "", "perturbation\n× 12", "adversarial", ""]
    difference = 0.5 + 12 * (given["adversarial"].astype(float) - given["clean"])
    for row, expected in ((0, given["clean"]), (2, difference), (3, given["adversarial"])):
        for axis, image in zip(panels[row], expected, strict=True):
            shown = np.asarray(axis.images[0].get_array())
            assert shown == pytest.approx(image[0] if channels == 1 else image.transpose(1, 2, 0), abs=1e-6)
            assert channels == 3 or axis.images[0].get_clim() == (0, 1)


def written(axes):
    return [[(text.get_text(), text.get_color()) for text in axis.texts] for axis in axes]


def test_answers_are_green_where_right_and_red_where_wrong():
    panels = grid(examples(NONE, SPEC, tensors()), 5)
    assert [axis.get_title() for axis in panels[0]] == ["cat", "ship"]
    assert written(panels[1]) == [[("✓ cat", RIGHT)], [("✗ dog", WRONG)]]
    assert written(panels[4]) == [[("✗ ship", WRONG)], [("✓ ship", RIGHT)]]


def test_several_models_answer_by_name_and_classes_may_be_a_tensor():
    more = {"adversarial_prediction": np.array([[2, 2], [0, 1]]), "clean_prediction": np.array([[0, 2], [0, 2]])}
    given = tensors(**more, classes=np.array(["a", "b", "c"]))
    panels = grid(examples(NONE, {**ABOUT, "models": ["DELTA", "Renofeation"]}, given), 5)
    assert written(panels[4]) == [
        [("✗ DELTA: c", WRONG), ("✓ Renofeation: a", RIGHT)],
        [("✓ DELTA: c", RIGHT), ("✗ Renofeation: b", WRONG)],
    ]


def test_long_answers_go_over_several_lines_of_one_colour():
    ((*lines,),) = answers(np.array([[0]]), np.array([1]), ["soft-coated wheaten terrier", "cat"], ["DELTA"])
    assert len(lines) > 1 and {right for _, right in lines} == {False}
    assert " ".join(text for text, _ in lines) == "✗ soft-coated wheaten terrier"


def test_amplification_stays_within_the_grey_scale():
    assert amplification(np.array([0.04, -0.1])) == 5
    assert amplification(np.array([8 / 255])) == 15
    assert amplification(np.array([0.9])) == amplification(np.zeros(3)) == 1


def test_the_factor_can_be_told():
    panels = grid(examples(NONE, {**SPEC, "amplify": 3}, tensors()), 5)
    assert panels[2, 0].get_ylabel() == "perturbation\n× 3"
    assert np.asarray(panels[2, 0].images[0].get_array())[0, 0] == pytest.approx([0.38] * 3, abs=1e-6)


# ---- gradients -------------------------------------------------------------------------------------------------------


def test_gradients_are_clipped_at_three_deviations_of_their_own_image():
    gradient = np.random.default_rng(0).normal(size=(2, 3, 16, 16))
    gradient[0, 0, 0, :2] = 100, -100
    gradient[1] *= 1e-6
    seen = visible(gradient)
    reach = 3 * gradient.std(axis=(1, 2, 3))
    assert (seen[0, 0, 0, 0], seen[0, 0, 0, 1]) == (1, 0)
    assert seen[1, 0, 5, 5] == pytest.approx((gradient[1, 0, 5, 5] / reach[1] + 1) / 2)
    assert seen[0, 1, 2, 3] == pytest.approx((gradient[0, 1, 2, 3] / reach[0] + 1) / 2)
    assert (visible(np.zeros((1, 1, 2, 2))) == 0.5).all()


def test_the_images_stand_over_the_networks_gradients():
    given = {"images": images(3, 3), "robust": -images(3, 3) + 0.5, "natural": images(3, 3) - 0.3}
    networks = [{"tensor": "natural", "label": "natural source"}, {"tensor": "robust", "label": "robust source"}]
    panels = grid(gradients(NONE, {**ABOUT, "networks": networks}, given), 3)
    assert [axis.get_ylabel() for axis in panels[:, 0]] == ["images", "natural source", "robust source"]
    expected = [given["images"], visible(given["natural"]), visible(given["robust"])]
    for axes, row in zip(panels, expected, strict=True):
        for axis, image in zip(axes, row, strict=True):
            assert np.asarray(axis.images[0].get_array()) == pytest.approx(image.transpose(1, 2, 0))
