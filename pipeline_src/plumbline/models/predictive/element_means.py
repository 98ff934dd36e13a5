"""The mean value of each element, under the total of each framework: a baseline without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import LinearEqualityConstraint
from plumbline.distributions.likelihoods import AnyLikelihood
from plumbline.models import BuildContext, FittedModelSpec, Predictive

if TYPE_CHECKING:
    from plumbline.models.predictive._element_means import ElementMeans


class ElementMeansSpec(FittedModelSpec):
    """Mean and variance per element in the train split; a likelihood may enforce the frameworks' totals."""

    kind: Literal["element_means"] = "element_means"
    likelihood: AnyLikelihood
    """How means and variances become a distribution."""
    constraint: str
    """Name of the total, one of the study's `constraints`."""
    by_element: bool = True
    """Whether each element has its own mean; if not, all atoms share one."""

    def build(self, on: BuildContext) -> ElementMeans:
        from plumbline.datasets._graphs import elements_of
        from plumbline.models.predictive._element_means import ElementMeans

        return ElementMeans(
            elements_of(on.example),
            likelihood=self.likelihood,
            constraint=on.linear(self.constraint),
            by_element=self.by_element,
        )

    def constraint_names(self) -> list[str]:
        return [self.constraint]

    def requires(self) -> tuple[type, ...]:
        return (LinearEqualityConstraint,)

    def provides(self) -> tuple[type, ...]:
        return (Predictive,)
