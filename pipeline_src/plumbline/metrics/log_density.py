"""Mean log-density of samples under distributions whose density is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, StringConstraints

from plumbline.datasets.mixture import MixtureSpec
from plumbline.metrics import EvaluationContext, MetricSpec, scalar

if TYPE_CHECKING:
    import xarray as xr


class LogDensitySpec(MetricSpec):
    """Mean log-density of the samples under each of several mixtures, and the smallest mean."""

    kind: Literal["log_density"] = "log_density"
    of_every_draw: ClassVar[bool] = True
    under: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], MixtureSpec] = Field(
        min_length=1
    )
    """The mixtures by name."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        points = samples["state"].values.astype(np.float64)
        means = {name: float(mixture.log_density(points).mean()) for name, mixture in self.under.items()}
        found = {
            f"log_density_{name}": scalar(mean, f"mean log-density under {name}", "neither", "nats")
            for name, mean in means.items()
        }
        found["least_log_density"] = scalar(
            min(means.values()), "smallest mean log-density", "higher", "nats", floor=False
        )
        return xr.Dataset(found)
