r"""The cross-entropy E_q[-log p] of two distributions, from samples of q and the denoiser of p alone.

The excess of p's loss over that of a third distribution r (`divergence`) has the losses of q's own denoiser on both sides,
which cancel:

    int_s^inf rho^-3 E_q [ |x - m_p(x_rho)|^2 - |x - m_r(x_rho)|^2 ] d rho = E_q[ log r_s - log p_s ].

With the standard Gaussian as r, m_r(x_rho) = x_rho / (1 + rho^2), and E[-log r_s] of a point x under noise is
(n log 2 pi (1 + s^2) + (|x|^2 + n s^2) / (1 + s^2)) / 2 in n dimensions, so that no one needs to know q.
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models.diffusion.schedules import TrainedSchedule
from plumbline.models.spaces.standardisation import Standardisation


def gaussian_mean(
    schedule: TrainedSchedule, x_t: Float[Tensor, "B *S"], t: Float[Tensor, " B"]
) -> Float[Tensor, "B *S"]:
    """The posterior mean of a standard Gaussian x, given x_t = alpha_t x + sigma_t e."""
    alpha, sigma = (c.view(-1, *(1,) * (x_t.ndim - 1)) for c in schedule(t))
    return alpha * x_t / (alpha.square() + sigma.square())


class StandardGaussian(nn.Module):
    """The standard Gaussian of any space, in the place of a model that knows a set."""

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """None."""
        del batch
        return {}

    def mean(
        self, space: Standardisation, schedule: TrainedSchedule, x_t: Float[Tensor, "B *S"], t: Tensor
    ) -> Float[Tensor, "B *S"]:
        """The posterior mean, as `SharedSpace` gives it of a trained model."""
        del space
        return gaussian_mean(schedule, x_t, t)


def gaussian_cross_entropy(x: Float[Tensor, "B *S"], smoothing: float) -> Float[Tensor, " B"]:
    """The mean of -log r_s over the noise of the standard deviation s on samples x, in nats."""
    squares = x.flatten(1).square()
    variance = 1 + smoothing**2
    return 0.5 * (math.log(2 * math.pi * variance) + (squares + smoothing**2) / variance).sum(1)
