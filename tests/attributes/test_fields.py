"""Attributes of fields, tested on sine waves with known modes."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.attributes.fields import BandEnergySpec, EnstrophySpec
from plumbline.attributes.minus import MinusSpec


def on_a_line(points=16, length=10.0, times=2):
    x = length / points * np.arange(points)
    return xr.Dataset(
        {"state": (("sample", "time", "x"), np.zeros((1, times, points), np.float32))},
        coords={"x": ("x", x, {"period": length})},
    )


def in_the_plane(points=16, components=2, length=2 * math.pi):
    grid = length / points * np.arange(points)
    dims = ("sample", "time", "component", "x", "y")
    return xr.Dataset(
        {"state": (dims, np.zeros((1, 1, components, points, points), np.float32))},
        coords={"x": ("x", grid, {"period": length}), "y": ("y", grid, {"period": length})},
    )


def waves(example, number):
    phase = 2 * math.pi * number * torch.arange(example.sizes["x"], dtype=torch.float64) / example.sizes["x"]
    return phase.sin()


def test_the_energy_of_a_sine_is_in_its_band():
    """2 sin(3 k x) has the energy 2^2 / 4 in wave 3.

    The mean over two states, one of them at rest, is half of that.
    """
    example = on_a_line()
    field = torch.stack([2 * waves(example, 3), torch.zeros(16)])[None]
    value = lambda low, high: float(  # noqa: E731
        BandEnergySpec(lowest=low, highest=high).build(example, {}).value(field)
    )
    assert value(3, 3) == pytest.approx(0.5)
    assert value(1, 8) == pytest.approx(0.5)
    assert value(1, 2) == pytest.approx(0, abs=1e-12)


def test_bands_add_up_to_half_the_mean_square():
    example = in_the_plane()
    field = torch.randn(3, 1, 2, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bands = [(0, 0), (1, 4), (5, 30)]
    total = sum(BandEnergySpec(lowest=a, highest=b).build(example, {}).value(field) for a, b in bands)
    torch.testing.assert_close(total, 0.5 * field.square().sum(2).mean((1, 2, 3)))


def test_the_steepness_of_a_sine():
    """sin(k x) has the mean square slope k^2 / 2, k = 2 pi 3 / 10."""
    example = on_a_line(times=1)
    found = EnstrophySpec().build(example, {}).value(waves(example, 3)[None, None])
    assert float(found) == pytest.approx((2 * math.pi * 3 / 10) ** 2 / 4)


def test_the_enstrophy_of_a_shear():
    """u = sin(2 y) has the vorticity -2 cos(2 y), of mean square 2."""
    example = in_the_plane()
    u = waves(example, 2).expand(16, 16)
    found = EnstrophySpec().build(example, {}).value(torch.stack([u, 0 * u])[None, None])
    assert float(found) == pytest.approx(1.0)


@pytest.mark.parametrize("spec", [EnstrophySpec(), BandEnergySpec(lowest=1, highest=3)])
@pytest.mark.parametrize("example", [on_a_line(), in_the_plane()], ids=["line", "plane"])
def test_gradients_are_those_of_differences(spec, example):
    attribute = spec.build(example, {})
    x = torch.randn(2, *example["state"].shape[1:], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attribute.value, x, fast_mode=True)


def test_minus_is_the_other_sign():
    example = on_a_line()
    x = torch.randn(3, 2, 16)
    plain, minus = (spec.build(example, {}) for spec in (EnstrophySpec(), MinusSpec(of=EnstrophySpec())))
    torch.testing.assert_close(minus.value(x), -plain.value(x))


def test_what_does_not_fit_is_said():
    vectors = xr.Dataset({"state": (("sample", "component"), np.zeros((1, 4)))})
    with pytest.raises(ValueError, match="`enstrophy` needs one or two periodic directions, found 0"):
        EnstrophySpec().build(vectors, {})
    with pytest.raises(ValueError, match="two components of a velocity, found 3"):
        EnstrophySpec().build(in_the_plane(components=3), {})
    with pytest.raises(ValueError, match="`lowest`: 9 waves do not fit on this grid, which holds 8"):
        BandEnergySpec(lowest=9, highest=12).build(on_a_line(), {})
    with pytest.raises(ValueError, match=r"`highest` \(1\) must be at least `lowest` \(2\)"):
        BandEnergySpec(lowest=2, highest=1)
