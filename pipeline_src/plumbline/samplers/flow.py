r"""Runge-Kutta methods for the flow of the straight path between noise and data.

With y = x_t / (alpha + sigma) = (1 - tau) x + tau e and the clean estimate m, the flow is

    dy / dtau = v(y, tau) = E[e - x | y] = (y - m) / tau.

With `tau` running over the schedule's equal times, the methods are

- `euler`: y' = y + (tau' - tau) v(y, tau), which is DDIM;
- `midpoint`: v is evaluated half-way, at y + (tau_h - tau) v(y, tau);
- `heun`: the mean of v at the start and at the end of the Euler step.

On the schedule `rectified`, tau is the time itself. Heun's method there differs from `heun`, which averages
the estimated noise over the ratio sigma / alpha: from noise only, this ratio falls from 1000 to 60 in a step
of 1/64, and the average is off. The velocity changes little in such a step.

Source: Lipman et al. (2023), https://arxiv.org/abs/2210.02747; Liu et al. (2023),
https://arxiv.org/abs/2209.03003.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from plumbline.samplers import DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext

Method = Literal["euler", "midpoint", "heun"]


class FlowSpec(DenoisingSpec):
    """Euler's, the midpoint or Heun's method for the flow (Lipman et al. 2023, https://arxiv.org/abs/2210.02747).

    Euler's method takes one network evaluation per step, and the others take two.
    """

    kind: Literal["flow"] = "flow"
    steps: int = key(ge=1, default=64)
    """Number of time steps."""
    method: Method = "euler"
    """The Runge-Kutta method."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._stepped import SteppedSampler

        return SteppedSampler(denoiser, partial(flow_step, method=self.method), steps=self.steps)

    def is_deterministic(self) -> bool:
        return True


def flow_step(
    denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, *, method: Method, **conditions: object
) -> Tensor:
    """Takes one step from `x_t` (B, ...) at time t to time s."""

    def position(time: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = denoiser.schedule(time)
        return alpha + sigma, sigma / (alpha + sigma)

    def velocity(y: Tensor, time: Tensor) -> Tensor:
        scale, tau = position(time)
        return (y - denoiser(scale * y, time, **conditions).mean) / tau

    (scale_t, tau), (scale_s, later) = position(t), position(s)
    y = x_t / scale_t
    v = velocity(y, t)
    if method == "midpoint":
        half = (t + s) / 2
        v = velocity(y + (position(half)[1] - tau) * v, half)
    elif method == "heun":
        v = (v + velocity(y + (later - tau) * v, s)) / 2
    return scale_s * (y + (later - tau) * v)
