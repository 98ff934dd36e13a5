"""Attributes of images and vectors, tested on images with known attributes."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.attributes.class_score import ClassScoreSpec
from plumbline.attributes.forms import LinearSpec, NearnessSpec
from plumbline.attributes.images import AreaSpec, InkSpec, SlantSpec, SymmetrySpec, ThicknessSpec


def example(*shape):
    dims = ("sample", *"abc"[: len(shape)])
    return xr.Dataset({"state": (dims, np.zeros((1, *shape), np.float32))})


def sheared(shear, height=41, width=81):
    """A soft upright stroke, sheared sideways by `shear` columns per row."""
    down = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    right = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    across = right + shear * down
    return torch.exp(-across.square() / 8 - down.square() / 20)[None]


@pytest.mark.parametrize("shear", [-0.6, 0.0, 0.35])
def test_slant_is_the_shear_of_a_stroke(shear):
    slant = SlantSpec().build(example(41, 81), {})
    assert float(slant.value(sheared(shear))) == pytest.approx(shear, abs=1e-4)
    # Neither position nor brightness matters.
    moved = 3 * sheared(shear).roll((4, -9), dims=(1, 2))
    assert float(slant.value(moved)) == pytest.approx(shear, abs=2e-3)


def test_a_black_picture_has_no_slant_and_a_finite_gradient():
    x = torch.zeros(1, 8, 8, requires_grad=True)
    value = SlantSpec().build(example(8, 8), {}).value(x)
    value.sum().backward()
    assert float(value.detach()) == 0
    assert bool(torch.isfinite(x.grad).all())


def test_symmetry_is_that_of_left_and_right():
    symmetry = SymmetrySpec().build(example(4, 4), {})
    x = torch.zeros(2, 4, 4)
    x[0, 1] = torch.tensor([1.0, 2.0, 2.0, 1.0])
    x[1, 1] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(symmetry.value(x), torch.tensor([0.0, -2 / 16]))


def test_ink_is_the_mean():
    x = torch.rand(3, 2, 4, 4)
    torch.testing.assert_close(InkSpec().build(example(2, 4, 4), {}).value(x), x.mean((1, 2, 3)))


def bar(width, length=40, size=64):
    """An upright bar of full brightness."""
    x = torch.zeros(1, size, size)
    x[0, 10 : 10 + length, 20 : 20 + width] = 1.0
    return x


@pytest.mark.parametrize("width", [1, 3, 6])
def test_thickness_is_the_width_of_a_bar(width):
    """2 w l over the perimeter 2 (w + l), except that each corner counts 2 - sqrt(2) less."""
    thickness = ThicknessSpec().build(example(64, 64), {})
    expected = 2 * width * 40 / (2 * (width + 40) - (2 - math.sqrt(2)))
    assert float(thickness.value(bar(width))) == pytest.approx(expected, rel=0.01)
    # Brightness does not matter.
    torch.testing.assert_close(
        thickness.value(0.5 * bar(width)), thickness.value(bar(width)), rtol=1e-3, atol=0
    )


def test_area_is_the_share_that_is_bright():
    area = AreaSpec().build(example(64, 64), {})
    assert float(area.value(bar(6))) == pytest.approx(6 * 40 / 64**2 + math.exp(-5), rel=0.05)
    x = torch.rand(2, 5, 5, dtype=torch.float64, requires_grad=True)
    for spec in (AreaSpec(), ThicknessSpec()):
        assert torch.autograd.gradcheck(spec.build(example(5, 5), {}).value, x)


def test_forms():
    x = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    linear = LinearSpec(weights=[2.0, -1.0]).build(example(2), {})
    torch.testing.assert_close(linear.value(x), torch.tensor([0.0, 1.0]))
    near = NearnessSpec(centre=[1.0, 0.0]).build(example(2), {})
    torch.testing.assert_close(near.value(x), torch.tensor([-4.0, -2.0]))


@pytest.mark.parametrize("spec", [SlantSpec(), SymmetrySpec(), ThicknessSpec()])
def test_pictures_are_asked_for(spec):
    with pytest.raises(ValueError, match="needs images, and samples are vectors"):
        spec.build(example(5), {})


class PixelClassifier:
    """A classifier of three classes whose logits are the first three pixels."""

    def log_probabilities(self, x):
        return x.flatten(1)[:, :3].log_softmax(1)


def test_the_class_score_is_the_logarithm_of_a_probability():
    score = ClassScoreSpec(classifier="c", classes=[0, 2], floor=0.01).build(
        example(2, 2), {"c": PixelClassifier()}
    )
    x = torch.tensor([[[0.0, 0.0], [0.0, 9.0]], [[-50.0, 50.0], [-50.0, 9.0]]])
    torch.testing.assert_close(score.value(x), torch.tensor([2 / 3 + 0.01, 0.01]).log())


@pytest.mark.parametrize("spec", [SlantSpec(), SymmetrySpec(), ThicknessSpec()])
def test_columns_before_rows_are_refused(spec):
    turned = xr.Dataset({"state": (("sample", "x", "y"), np.zeros((1, 5, 5)))})
    with pytest.raises(
        ValueError, match=r"rows of an image before its columns, .* set `dataset.dimensions` to \[y, x\]"
    ):
        spec.build(turned, {})
