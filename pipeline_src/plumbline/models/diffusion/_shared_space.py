r"""Evaluating a denoiser in the space of another model.

If two models standardise samples differently, by scales that differ by one factor, their spaces are related
by an affine map z' = a z + b. Noise of the ratio rho in the one is noise of the ratio a rho in the other, so
that

    E[z | z + rho e] = ( E[z' | z' + a rho e] - b ) / a.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.linalg.checks import require
from plumbline.models import Denoising
from plumbline.models._spaces import Standardisation
from plumbline.models.diffusion._schedules import TrainedSchedule

# Relative difference between the scales of coordinates below which they count as equal.
ONE_SCALE = 1e-5


class SharedSpace(nn.Module):
    """The denoiser of a trained model, evaluated in the space and on the schedule of another model.

    Args:
        model: the trained model.
        name: its name, for error messages.
    """

    def __init__(self, model: Denoising, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def conditions(self, batch: dict[str, Tensor]) -> Mapping[str, object]:
        """The model's own keyword arguments for a batch."""
        return self.model.conditions(batch)

    def mean(
        self,
        space: Standardisation,
        schedule: TrainedSchedule,
        x_t: Float[Tensor, "B *S"],
        t: Tensor,
        **conditions: object,
    ) -> Float[Tensor, "B *S"]:
        """The posterior mean of samples z in `space`, given x_t = alpha_t z + sigma_t e.

        Args:
            space: the space of the other model.
            schedule: the schedule of the other model, with alpha_t and sigma_t.
            x_t: noisy samples.
            t: their times, (B,) or ().
            conditions: the result of `conditions` for the batch of the samples.

        Raises:
            ValueError: the scales of the spaces differ by more than one factor, or this model's space is not
                that of standardised data.
        """
        theirs = self.standardisation()
        scale, shift = space.scale / theirs.scale, (space.mean - theirs.mean) / theirs.scale
        require(
            scale.max() - scale.min() <= ONE_SCALE * scale.max(),
            lambda: ValueError(
                f"{self.name!r} scales coordinates in another way than the model that evaluates it: "
                "give both `scaling: global`."
            ),
            f"{self.name!r} scales coordinates as the model that evaluates it does",
        )
        alpha, sigma = schedule(t)
        along = (-1, *(1,) * (x_t.ndim - 1))
        own = self.model.denoiser.schedule
        time = own.time_of(scale.flatten()[0] * sigma / alpha).clamp(0, 1)
        noisy = own(time)[0].view(along) * (scale * x_t / alpha.view(along) + shift)
        mean = self.model.denoiser(noisy.to(x_t.dtype), time.to(x_t.dtype), **conditions).mean
        return (mean - shift) / scale

    def standardisation(self) -> Standardisation:
        """The space of the model.

        Raises:
            ValueError: the model does not work in standardised data.
        """
        space = self.model.space_of({})
        if not isinstance(space, Standardisation):
            raise ValueError(
                f"{self.name!r} does not work in standardised data, and cannot be evaluated there."
            )
        return space
