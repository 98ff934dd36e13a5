"""Probabilistic regression under a linear equality: the state given the condition, as a law on the feasible set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from plumbline.constraints import Constraint
from plumbline.models.outputs import FeasibleModelSpec
from plumbline.networks import AnyRegressor

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.models.regression.model import Regression


class RegressionSpec(FeasibleModelSpec):
    """A network gives a mean and a variance a coordinate; a law puts them on the feasible set."""

    kind: Literal["regression"] = "regression"
    network: AnyRegressor
    """The network, from the standardised condition to features."""

    def build(self, example: xr.Dataset, constraints: Mapping[str, Constraint]) -> Regression:
        from plumbline.models.regression.model import Regression
        from plumbline.models.spaces.example import sample_shape

        constraint = constraints[self.constraint] if self.constraint else None
        return Regression(self, sample_shape(example), constraint)
