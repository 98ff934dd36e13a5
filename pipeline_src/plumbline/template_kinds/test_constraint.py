"""A projection is feasible, and a second one changes nothing."""

import torch
from example import Example


def test_projections_are_feasible():
    constraint = Example(0.5)
    x = torch.randn(8, 3, 4, dtype=torch.float64)
    feasible = constraint.project(x)
    assert constraint.residual(feasible).abs().max() < 1e-12
    torch.testing.assert_close(constraint.project(feasible), feasible)
