r"""Denoisers from networks that predict the noise, the velocity or the score.

With x_t = alpha x + sigma e, and dots for derivatives in t, a prediction gives the posterior mean of x by

    noise e:                     (x_t - sigma e) / alpha
    velocity v = x' alpha + e sigma':   (sigma' x_t - sigma v) / (alpha sigma' - alpha' sigma)
    score s = -e / sigma:        (x_t + sigma^2 s) / alpha

which are the same function of the same network, since the conditional expectation is linear in x and e. See
Kingma and Gao (2023), https://arxiv.org/abs/2303.00848.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable

import torch
from azula.denoise import Denoiser, DiracPosterior, Posterior
from azula.noise import Schedule
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models._data_covariance import DataCovariance
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models._spaces import Scaling, Standardisation
from plumbline.networks import SampleShape


class ExternalDenoiserError(ValueError):
    """A user's function did not return what the study says that it predicts."""


def sample_from_sample(schedule: Schedule, x_t: Tensor, t: Tensor, prediction: Tensor) -> Tensor:
    """The prediction itself."""
    return prediction


def sample_from_noise(
    schedule: Schedule, x_t: Float[Tensor, "B *S"], t: Float[Tensor, " B"], prediction: Float[Tensor, "B *S"]
) -> Float[Tensor, "B *S"]:
    """The clean sample from the noise e."""
    alpha, sigma = (_like(value, x_t) for value in schedule(t))
    return (x_t - sigma * prediction) / alpha


def sample_from_velocity(
    schedule: Schedule, x_t: Float[Tensor, "B *S"], t: Float[Tensor, " B"], prediction: Float[Tensor, "B *S"]
) -> Float[Tensor, "B *S"]:
    """The clean sample from the velocity dx_t/dt."""
    values, derivatives = torch.func.jvp(schedule, (t,), (torch.ones_like(t),))[:2]
    alpha, sigma, alpha_dot, sigma_dot = (_like(value, x_t) for value in (*values, *derivatives))
    return (sigma_dot * x_t - sigma * prediction) / (alpha * sigma_dot - alpha_dot * sigma)


def sample_from_score(
    schedule: Schedule, x_t: Float[Tensor, "B *S"], t: Float[Tensor, " B"], prediction: Float[Tensor, "B *S"]
) -> Float[Tensor, "B *S"]:
    """The clean sample from the score of x_t."""
    alpha, sigma = (_like(value, x_t) for value in schedule(t))
    return (x_t + sigma**2 * prediction) / alpha


CONVERSIONS: dict[str, Callable[[Schedule, Tensor, Tensor, Tensor], Tensor]] = {
    "sample": sample_from_sample,
    "noise": sample_from_noise,
    "velocity": sample_from_velocity,
    "score": sample_from_score,
}
"""The clean sample (B, *S) from schedule, x_t, times (B,) and prediction, by what is predicted."""


class PredictionDenoiser(Denoiser):
    """The denoiser of a network that predicts x, e, v or s.

    Args:
        network: `(x_t, t) -> (B, *S)`, with x_t (B, *S) and t (B,); takes the keyword `condition` (B, C) or
            does not.
        schedule: the noise schedule that the network was trained with.
        predicts: `sample`, `noise`, `velocity` or `score`.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, *, predicts: str) -> None:
        super().__init__()
        self.network, self.schedule, self.predicts = network, schedule, predicts

    def forward(self, x_t: Float[Tensor, "B *S"], t: Tensor, **conditions: Tensor) -> Posterior:
        """The posterior mean of x."""
        times = t.expand(len(x_t)).contiguous()  # forward derivatives need memory of their own
        prediction = self.network(x_t, times, **conditions)
        return DiracPosterior(CONVERSIONS[self.predicts](self.schedule, x_t, times, prediction))


class ExternalModel(PreparedInBlocks, nn.Module):
    """A denoiser that was not trained here.

    Args:
        sample: the shape of samples.
        denoiser: the denoiser.
        scaling: the space that it works in.
    """

    def __init__(self, sample: SampleShape, *, denoiser: Denoiser, scaling: Scaling = "none") -> None:
        super().__init__()
        covariance = DataCovariance(math.prod(sample.shape))
        self.space = Standardisation(sample.shape, scaling, covariance=covariance)
        self.denoiser = denoiser
        inner = denoiser.network.forward if isinstance(denoiser, PredictionDenoiser) else denoiser.forward
        self.takes_condition = (
            bool(sample.condition or sample.field) and "condition" in inspect.signature(inner).parameters
        )

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the standardisation to the training data."""
        self.space.fit_blocks(block["state"] for block in blocks)
        self.space.fit_covariance(block["state"] for block in blocks)

    def space_of(self, batch: dict[str, Tensor]) -> Standardisation:
        """The space that the denoiser works in."""
        return self.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`condition` (B, C), or the field (B, *F), in the dataset's units, if the denoiser takes it."""
        if not self.takes_condition:
            return {}
        return {"condition": batch["condition"].to(torch.get_default_dtype())}


def denoiser_of(built: object, predicts: str, schedule: Schedule, function: str) -> Denoiser:
    """The denoiser of what a user's function returned.

    Args:
        built: what it returned.
        predicts: what the study says that it predicts.
        schedule: the schedule of a network.
        function: the function, for messages.

    Raises:
        ExternalDenoiserError: it is not what the study says.
    """
    if predicts == "denoiser":
        if not isinstance(built, Denoiser):
            raise ExternalDenoiserError(
                f"`function`: {function} returned a {type(built).__name__}, expected an azula `Denoiser`: "
                f"return one, or say what the network predicts (`predicts`)"
            )
        return built
    if not isinstance(built, nn.Module) or isinstance(built, Denoiser):
        raise ExternalDenoiserError(
            f"`function`: {function} returned a {type(built).__name__}, expected a network "
            f"(`torch.nn.Module`) that predicts the {predicts}"
        )
    return PredictionDenoiser(built, schedule, predicts=predicts)


def _like(value: Tensor, x: Tensor) -> Tensor:
    """A value (B,) per sample with the dimensions of samples (B, *S)."""
    return value.reshape(-1, *(1 for _ in x.shape[1:]))
