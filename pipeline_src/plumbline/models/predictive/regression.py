"""Probabilistic regression under a linear equality: the state given the condition, as a law on the feasible set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext
from plumbline.models._output_specs import FeasibleModelSpec
from plumbline.networks import AnyRegressor

if TYPE_CHECKING:
    from plumbline.models.predictive._regression import Regression


class RegressionSpec(FeasibleModelSpec):
    """A network gives a mean and a variance a coordinate; a law puts them on the feasible set."""

    kind: Literal["regression"] = "regression"
    network: AnyRegressor
    """The network, from the standardised condition to features."""

    def build(self, on: BuildContext) -> Regression:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.predictive._regression import Regression

        return Regression(
            sample_shape(on.example),
            network=self.network.build,
            features=self.network.features(),
            by=self.supervision(),
            scaling=self.scaling,
            constraint=on.constraint(self.constraint),
            initial_std=self.initial_std,
            min_std=self.min_std,
        )
