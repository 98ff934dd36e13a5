"""Whether samples reach the reward levels that a model was aligned to.

After Khalafi, Hounie, Ding, Ribeiro (2025, https://arxiv.org/abs/2508.19104).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.models import Rewarding

if TYPE_CHECKING:
    import xarray as xr


class RewardLevelsSpec(MetricSpec):
    """Mean rewards and the largest violation of a level, in standard deviations of the pretrained model."""

    kind: Literal["reward_levels"] = "reward_levels"
    of_every_draw: ClassVar[bool] = True
    aligned: str
    """Name of the aligned model that has the rewards and levels, one of the study's `models`."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import torch
        import xarray as xr

        aligned = by.model(self.aligned, Rewarding)
        with torch.no_grad():
            rewards = aligned.rewards(by.tensor(samples["state"].values, torch.float32))
        unit = "standard deviations"
        found = {
            f"reward_{name}": scalar(reward, f"mean {name} (level {float(level):g})", "neither", unit)
            for name, reward, level in zip(aligned.attributes, rewards, aligned.levels, strict=True)
        }
        violation = (aligned.levels - rewards).max()
        title = "largest violation of a level"
        found["largest_violation"] = scalar(violation, title, "lower", unit, floor=False)
        return xr.Dataset(found)

    def depends_on(self) -> dict[str, type]:
        return {self.aligned: Rewarding}
