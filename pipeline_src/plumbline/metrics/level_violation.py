"""Whether samples reach the levels of attributes that were asked for without labels (zero-shot)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.metrics import EvaluationContext, MetricSpec, scalar

if TYPE_CHECKING:
    import xarray as xr

# A level reached but for this counts as reached: descent stops at the level itself.
TOLERANCE = 0.05


class LevelViolationSpec(MetricSpec):
    """Mean of each attribute, the mean shortfall, and the share of samples that reach all levels but for a twentieth of a
    deviation."""

    kind: Literal["level_violation"] = "level_violation"
    of: str
    """Name of the latent critics or actor whose `levels` are asked about, one of the study's `models`."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import torch
        import xarray as xr

        levels = by.models[self.of].wanted
        x = torch.as_tensor(samples["state"].values, dtype=torch.float32)
        with torch.no_grad():
            values, missing = levels.values(x), levels.violation(x)
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
            missing.mean(), "mean violation of levels", "lower", "standard deviations", floor=False
        )
        found["levels_reached"] = scalar(reached, "samples that reach all levels", "higher", floor=False)
        return xr.Dataset(found)

    def depends_on(self) -> dict[str, str]:
        return {self.of: "labels"}
