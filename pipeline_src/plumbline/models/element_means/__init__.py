"""The mean charge of each element, under the total of each framework: the baseline without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from plumbline.constraints import Constraint
from plumbline.distributions.laws import AnyLaw
from plumbline.models import ModelSpec, TrainingSpec

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.models.element_means.model import ElementMeans


class ElementMeansSpec(ModelSpec):
    """Mean and variance of the number of each element in the train split; a law puts each framework on its total."""

    kind: Literal["element_means"] = "element_means"
    training: TrainingSpec = TrainingSpec(steps=0)
    """Fitted in closed form: `steps` must stay zero."""
    law: AnyLaw
    """How means and variances become a distribution."""
    constraint: str
    """Name of the total, one of the study's `constraints`."""
    by_element: bool = True
    """Whether each element has its own mean; if not, all atoms share one."""

    @model_validator(mode="after")
    def _no_steps(self) -> ElementMeansSpec:
        if self.training.steps:
            raise ValueError("element means have a closed form: set `training.steps` to 0 or leave it out")
        return self

    def build(self, example: xr.Dataset, constraints: Mapping[str, Constraint]) -> ElementMeans:
        from plumbline.models.element_means.model import ElementMeans

        return ElementMeans(self, example.sizes["element"], constraints[self.constraint])

    def constraint_names(self) -> list[str]:
        return [self.constraint]

    def offers(self) -> tuple[str, ...]:
        return ("law",)
