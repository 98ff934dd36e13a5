r"""Physics-informed diffusion models: residuals as virtual observations with a variance.

An estimate x0 of the clean sample has the residuals r(x0), of which r = 0 is "observed" with the variance
Sigma_t / c. The loss adds the negative logarithm of this likelihood to the squared error of the mean,

    E [ min(SNR_t, 5) |m(x_t) - x|^2 + c min( r(x0)^2 / (2 Sigma_t), L ) ],

where norms and squares are means over coordinates and residuals, and SNR_t = alpha_t^2 / sigma_t^2. Sigma_t
is the posterior variance of one of N reverse steps, of the length 1 / N in time. From t to s = t - 1 / N,

    Sigma_t = sigma_s^2 (1 - (alpha_t sigma_s)^2 / (alpha_s sigma_t)^2),

in the squared unit of the model's space, which is 1 for standardised data. It would vanish at the last step,
which takes the value of the step before. The limit L is that of the published code for the circle; the one
for Darcy flow has none. Residuals of inequalities are zero where these hold, and are penalised where not.

The estimate is the denoiser's `mean`, or a `sample` of a few deterministic steps (`_estimates`), the last at
t = 1 / N. The mean m(x_t) = E[x | x_t] of data on a curved surface does not lie on the surface: a small
weight c leaves it where it is, a large one moves it onto the surface and distorts the distribution (Jensen's
gap). A sample has no such bias where the steps are exact.

Source: Bastek, Sun, Kochmann (ICLR 2025), https://arxiv.org/abs/2403.14404; the weight min(SNR, 5): Hang et
al. (2023), https://arxiv.org/abs/2303.09556. Published are discrete times, a cosine schedule, N = 100, and a
network that predicts x; here times are continuous, and schedule and parametrisation are those of the model.
"""

from __future__ import annotations

from typing import Literal

from azula.noise import Schedule
from jaxtyping import Float
from torch import Tensor

from plumbline.models.diffusion._estimates import NoisyBatch


class VirtualObservations:
    """The loss of denoising and of virtual observations r = 0.

    Args:
        weight: c.
        steps: N.
        snr_cap: the largest weight of the squared error of the mean, SNR below it; None for the weight of the
            model's own loss.
        estimate: what residuals are evaluated of.
        evaluations: network evaluations of an estimate by a sample.
        penalty_cap: L; None for no limit.
    """

    def __init__(
        self,
        *,
        weight: float,
        steps: int = 100,
        snr_cap: float | None = 5.0,
        estimate: Literal["mean", "sample"] = "mean",
        evaluations: int = 2,
        penalty_cap: float | None = None,
    ) -> None:
        self.weight, self.steps, self.snr_cap, self.penalty_cap = weight, steps, snr_cap, penalty_cap
        self.evaluations = 1 if estimate == "mean" else evaluations

    def loss(self, batch: NoisyBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (), and its terms: the weighted squared error and the mean absolute residual."""
        denoising, mean = batch.loss_and_mean()
        if self.snr_cap is not None:
            alpha, sigma = batch.levels(batch.t)
            weight = (alpha / sigma).square().clamp(max=self.snr_cap)
            denoising = (weight * (mean - batch.z).square()).mean()
        residual = batch.residual(batch.estimate(mean, self.times(batch.t))).flatten(1)
        variance = posterior_variance(batch.denoiser.schedule, batch.t, self.steps)
        penalty = residual.square() / (2 * variance.to(residual)[:, None])
        if self.penalty_cap is not None:
            penalty = penalty.clamp(max=self.penalty_cap)
        loss = denoising + self.weight * penalty.mean()
        return loss, {"denoising": denoising.detach(), "residual": residual.detach().abs().mean()}

    def times(self, t: Float[Tensor, " B"]) -> list[Float[Tensor, " B"]]:
        """The times of the network evaluations of an estimate: equal steps from t to 1 / N, if t is later."""
        last = t.clamp(max=1 / self.steps)
        parts = max(1, self.evaluations - 1)
        return [t + (last - t) * (k / parts) for k in range(self.evaluations)]

    def after_step(self) -> None:
        """Nothing: all steps are alike."""

    def go_to(self, step: int) -> None:
        """Nothing: all steps are alike."""


def posterior_variance(schedule: Schedule, t: Float[Tensor, " B"], steps: int) -> Float[Tensor, " B"]:
    """Sigma_t (B,) of a reverse step from t to t - 1 / N; the last step has that of the one before.

    Args:
        schedule: alpha_t and sigma_t.
        t: times (B,).
        steps: N, at least 2.
    """
    now = t.clamp(min=2 / steps)
    alpha, sigma = schedule(now)
    alpha_next, sigma_next = schedule(now - 1 / steps)
    return sigma_next**2 * (1 - (alpha * sigma_next / (alpha_next * sigma)) ** 2)
