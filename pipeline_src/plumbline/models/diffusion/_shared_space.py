r"""Asking a denoiser in the space of another model.

Two models that standardise samples differently, by one shift and one scale each, differ in their spaces by an affine map
z' = a z + b. Noise of the ratio rho in the one is noise of the ratio a rho in the other, so that

    E[z | z + rho e] = ( E[z' | z' + a rho e] - b ) / a.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models._spaces import Standardisation
from plumbline.models.diffusion._schedules import TrainedSchedule

# Scales of coordinates that differ by less than this are one scale.
ONE_SCALE = 1e-5


class SharedSpace(nn.Module):
    """The denoiser of a trained model, in the space and on the schedule of another.

    Raises:
        ValueError: the spaces do not differ by one scale.
    """

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The model's own keyword arguments for a batch."""
        return self.model.conditions(batch)

    def mean(
        self,
        space: Standardisation,
        schedule: TrainedSchedule,
        x_t: Float[Tensor, "B *S"],
        t: Tensor,
        **conditions: Tensor,
    ) -> Float[Tensor, "B *S"]:
        """The posterior mean of samples in `space`, given x_t = alpha_t z + sigma_t e of `schedule` at the times t (B,) or ().

        Args:
            space: the space of the model that asks.
            schedule: its schedule.
            x_t: noisy samples.
            t: their times.
            conditions: what `conditions` says of the samples' batch.
        """
        theirs = self._their_space()
        scale, shift = space.scale / theirs.scale, (space.mean - theirs.mean) / theirs.scale
        if float(scale.max() - scale.min()) > ONE_SCALE * float(scale.max()):
            raise ValueError(
                f"{self.name!r} scales coordinates in another way than the model that asks it: give both `scaling: global`."
            )
        alpha, sigma = schedule(t)
        along = (-1, *(1,) * (x_t.ndim - 1))
        own = self.model.denoiser.schedule
        time = own.time_of(scale.flatten()[0] * sigma / alpha).clamp(0, 1)
        asked = own(time)[0].view(along) * (scale * x_t / alpha.view(along) + shift)
        mean = self.model.denoiser(asked.to(x_t.dtype), time.to(x_t.dtype), **conditions).mean
        return (mean - shift) / scale

    def _their_space(self) -> Standardisation:
        space = self.model.space_of({})
        if not isinstance(space, Standardisation):
            raise ValueError(f"{self.name!r} does not work in standardised data, and cannot be asked there.")
        return space
