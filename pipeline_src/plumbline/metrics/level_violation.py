"""Whether samples reach the requested levels of attributes, without training labels (zero-shot)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.models import Labelled

if TYPE_CHECKING:
    import xarray as xr

# A level counts as reached up to this many standard deviations below it, since descent stops at the level
# itself.
TOLERANCE = 0.05


class LevelViolationSpec(MetricSpec):
    """Mean of each attribute, mean violation of the levels, and the fraction of samples that reach all levels
    up to 0.05 standard deviations."""

    kind: Literal["level_violation"] = "level_violation"
    of: str
    """Name of the latent critics or latent actor with `levels`, one of the study's `models`."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        """The means, the violation and the fraction.

        Raises:
            ValueError: the model was not trained for levels.
        """
        import torch
        import xarray as xr

        from plumbline.models._labels import Levels

        levels = by.model(self.of, Labelled).wanted
        if not isinstance(levels, Levels):
            raise ValueError(
                f"`of` of `{self.kind}`: `wanted` of the model {self.of!r} must be of the kind `levels`."
            )
        x = by.tensor(samples["state"].values, torch.float32)
        with torch.no_grad():
            values, violation = levels.values(x), levels.violation(x)
        reached = (values >= levels.levels - TOLERANCE).all(1).double().mean()
        found = {
            f"mean_{name}": scalar(
                values[:, i].mean(),
                f"mean {name} (level {float(levels.levels[i]):g})",
                "neither",
                "standard deviations",
            )
            for i, name in enumerate(levels.attributes)
        }
        found["level_violation"] = scalar(
            violation.mean(), "mean violation of levels", "lower", "standard deviations", floor=False
        )
        found["levels_reached"] = scalar(
            reached, "fraction of samples that reach all levels", "higher", floor=False
        )
        return xr.Dataset(found)

    def depends_on(self) -> dict[str, type]:
        return {self.of: Labelled}
