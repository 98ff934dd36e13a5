"""Images that repeat one tile."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline.constraints._tiling import Tiling
from plumbline.constraints.tiling import TilingSpec


def published(x: torch.Tensor) -> torch.Tensor:
    """The distance of Feng et al., written out for 2 x 2 tiles."""
    h, w = x.shape[-2] // 2, x.shape[-1] // 2
    quadrants = [x[..., i * h : (i + 1) * h, j * w : (j + 1) * w] for i in range(2) for j in range(2)]
    return sum((x - q.repeat(*(1,) * (x.ndim - 2), 2, 2)).abs().flatten(1).mean(1) for q in quadrants)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([(2, 2), (1, 3), (4, 2)]), st.booleans(), st.integers(0, 10**6))
def test_projection_is_nearest_feasible_and_idempotent(tiles, channels, seed):
    g = torch.Generator().manual_seed(seed)
    constraint = Tiling(*tiles, (8, 12))
    shape = (5, 3, 8, 12) if channels else (5, 8, 12)
    x = torch.randn(shape, generator=g, dtype=torch.float64)
    projected = constraint.project(x)
    assert constraint.violation(projected).max() < 1e-12
    assert constraint.distance(projected).max() < 1e-12
    torch.testing.assert_close(constraint.project(projected), projected)
    other = constraint.project(torch.randn(shape, generator=g, dtype=torch.float64))
    # No feasible point is nearer: the correction is orthogonal to the feasible set.
    assert abs(float(((x - projected) * (other - projected)).sum())) < 1e-10


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 2, 8, 8)], ids=str)
def test_the_distance_is_the_published_one(shape):
    torch.manual_seed(0)
    x = torch.rand(shape, dtype=torch.float64)
    torch.testing.assert_close(Tiling(2, 2, (8, 8)).distance(x), published(x))


def test_one_pixel_and_white_noise():
    """One pixel off by one in one of the tiles of 64 x 64 costs 6 / 4096.

    White noise of std s costs 6 s / sqrt(pi).
    """
    constraint = Tiling(2, 2, (64, 64))
    x = torch.zeros(1, 64, 64, dtype=torch.float64)
    x[0, 3, 5] = 1.0
    assert float(constraint.distance(x)) == pytest.approx(6 / 4096)
    torch.manual_seed(0)
    noise = torch.randn(64, 64, 64, dtype=torch.float64)
    # 262,144 values: five standard errors of the mean are 0.3%.
    assert float(constraint.distance(noise).mean()) == pytest.approx(6 / math.sqrt(math.pi), rel=5e-3)


def test_tiles_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="3 x 2 tiles do not divide a grid of 8 x 8"):
        Tiling(3, 2, (8, 8))


def test_vectors_have_no_tiles():
    vectors = xr.Dataset({"state": (("sample", "component"), np.zeros((4, 8)))})
    with pytest.raises(ValueError, match="`tiling` needs samples on a grid, found vectors of 8 values"):
        TilingSpec().build(vectors)
