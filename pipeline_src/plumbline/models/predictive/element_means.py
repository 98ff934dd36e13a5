"""The mean charge of each element, under the total of each framework: the baseline without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.likelihoods import AnyLikelihood
from plumbline.models import BuildContext, FittedModelSpec

if TYPE_CHECKING:
    from plumbline.models.predictive._element_means import ElementMeans


class ElementMeansSpec(FittedModelSpec):
    """Mean and variance of the number of each element in the train split; a law puts each framework on its total."""

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
            constraint=on.constraint(self.constraint),
            by_element=self.by_element,
        )

    def constraint_names(self) -> list[str]:
        return [self.constraint]

    def requires(self) -> tuple[str, ...]:
        return ("condition",)

    def provides(self) -> tuple[str, ...]:
        return ("prediction",)
