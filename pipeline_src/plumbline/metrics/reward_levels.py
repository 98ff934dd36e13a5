"""Whether samples reach the levels of rewards that a model was aligned to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.metrics import EvaluationContext, MetricSpec, scalar

if TYPE_CHECKING:
    import xarray as xr


class RewardLevelsSpec(MetricSpec):
    """Mean rewards, in deviations of what the pretrained model draws, and by how much the worst misses its level."""

    kind: Literal["reward_levels"] = "reward_levels"
    of_every_draw: ClassVar[bool] = True
    aligned: str
    """Name of the aligned model whose rewards and levels are asked about, one of the study's `models`."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import torch
        import xarray as xr

        aligned = by.models[self.aligned]
        with torch.no_grad():
            rewards = aligned.rewards(torch.as_tensor(samples["state"].values, dtype=torch.float32))
        unit = "standard deviations"
        found = {
            f"reward_{name}": scalar(reward, f"mean {name} (level {float(level):g})", "neither", unit)
            for name, reward, level in zip(aligned.attributes, rewards, aligned.levels, strict=True)
        }
        violation = (aligned.levels - rewards).max()
        title = "largest violation of a level"
        found["largest_violation"] = scalar(violation, title, "lower", unit, floor=False)
        return xr.Dataset(found)

    def depends_on(self) -> dict[str, str]:
        return {self.aligned: "rewards"}
