"""Probabilistic regression of the state given the condition, under a linear equality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext
from plumbline.models._output_specs import FeasibleModelSpec
from plumbline.networks import AnyRegressor

if TYPE_CHECKING:
    from plumbline.models.predictive._regression import Regression


class RegressionSpec(FeasibleModelSpec):
    """A network gives a mean and a variance per coordinate; a likelihood may restrict the state."""

    kind: Literal["regression"] = "regression"
    network: AnyRegressor
    """Network from the standardised condition to features."""

    def build(self, on: BuildContext) -> Regression:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.predictive._regression import Regression

        return Regression(
            sample_shape(on.example),
            network=self.network.build,
            features=self.network.features(),
            by=self.supervision(),
            scaling=self.scaling,
            constraint=on.linear(self.constraint),
            initial_std=self.initial_std,
            min_std=self.min_std,
        )
