r"""Residual corrections (CoCoGen): steps down the gradient of the squared residual, late in the sampling.

With the residual r of a constraint, a correction of a sample x is

    x <- x - eps g,    g = grad |r(x)|^2,

in the data's units. The last N steps (`last_steps`) of another sampler are corrected, and its finished
samples M times more (`corrections`). Within the steps, what is corrected is

- the *state* after the step, x_s / alpha_s, as published; or
- the *estimate*: each denoised estimate at the noise levels of the last N steps and in the last evaluation,
  with which the sampler then continues. This is the variant of Bastek, Sun, Kochmann.

The step length eps depends on the scale of the residual, so that it is given in one of three ways:

- `gradient`, as published: eps = step / max_i |g_i|. The coordinate with the largest gradient moves by
  `step`, however near the sample is. The residual therefore stays of the size that such a move causes.
- `curvature`: eps = step |g|^2 / (2 |J g|^2), with the Jacobian J of r, which takes one more product with J.
  For linear r, |g|^2 and 2 |J g|^2 are the slope and the second derivative of |r|^2 along g. `step` therefore
  has no unit: one is steepest descent with an exact line search, and all values below two reduce a linear
  residual. With kappa the ratio of the largest to the smallest nonzero eigenvalue of J J^T, a correction with
  the step one multiplies |r|^2 by at most ((kappa - 1) / (kappa + 1))^2.
- `none`: eps = step. A linear residual A x - k becomes (I - 2 eps A A^T)^M (A x - k).

The published code, which corrects Darcy flow, differs from `gradient`: it takes the largest entry of the
gradient instead of the largest absolute value, and of the gradient only the terms in which a residual depends
on the value at its own grid point. The code of Bastek, Sun, Kochmann has the whole gradient, and
eps = 10^-6 / max_ij J_ij. Like `curvature`, this follows the second derivative of |r|^2, but it has a unit
and takes the whole Jacobian. Both codes move the pressure only, of two fields: see `channels`.

A correction counts as a solve with the constraint. None differentiates the network, unlike in `guided`. The
corrected samples are not feasible: wrap the sampler in `final_projection` for that.

Sources: Jacobsen, Zhuang, Duraisamy (CoCoGen), https://arxiv.org/abs/2312.10527; Bastek, Sun, Kochmann (ICLR
2025), https://arxiv.org/abs/2403.14404. The line search: Nocedal, Wright, Numerical Optimization, 2nd
edition, theorem 3.3, https://doi.org/10.1007/978-0-387-40065-5.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from plumbline.samplers import ConstrainedSpec, Samples, SamplingTask
from plumbline.spec import key

if TYPE_CHECKING:
    from collections.abc import Callable

    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.constraints import Constraint
    from plumbline.samplers._denoising import DenoisingContext

Scaling = Literal["gradient", "curvature", "none"]
"""What the step length of a correction is divided by."""


class ResidualCorrectionSpec(ConstrainedSpec):
    """CoCoGen: the last steps of a sampler, and its samples, move down the gradient of the squared residual.

    Source: Jacobsen, Zhuang, Duraisamy (2023), https://arxiv.org/abs/2312.10527. The defaults are those of
    the published code, for a pressure with the standard deviation .08.
    """

    kind: Literal["residual_correction"] = "residual_correction"
    corrected: Literal["state", "estimate"] = key(default="state")
    """What is corrected within the last steps: the state after each, or the denoised estimates."""
    last_steps: int = key(ge=0, default=50)
    """N: number of the last steps of `base` that are corrected, or all steps where it has fewer (published:
    50 of 2,000)."""
    corrections: int = key(ge=0, default=10)
    """M: number of corrections of the finished samples."""
    scaled_by: Scaling = key(default="gradient")
    """What a step length is divided by: the largest entry of the gradient, the second derivative along the
    gradient, or nothing."""
    step: float = key("data's unit, none for `curvature`", gt=0, default=2e-3)
    """Step within the last steps: the largest move of a value with `gradient`, a fraction of the exact line
    search with `curvature`."""
    final_step: float = key("data's unit, none for `curvature`", gt=0, default=2e-4)
    """The same for the finished samples."""
    channels: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Entries of the first axis of a sample that are corrected, counted from 0; null for all (published: the
    pressure, and not the permeability)."""

    @model_validator(mode="after")
    def _something_is_corrected(self) -> ResidualCorrectionSpec:
        if not (self.last_steps or self.corrections):
            raise ValueError("`last_steps` and `corrections` are both 0: nothing would be corrected")
        return self

    def tradeoff_parameter(self) -> str | None:
        return "step"

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        base = self.denoising_base().build(denoiser, context)
        if not self.last_steps:
            return base
        times = base.timesteps
        first = times[max(0, len(times) - 1 - self.last_steps)]
        correct = partial(self._corrected_point, context)
        if self.corrected == "estimate":
            from plumbline.samplers._denoising import CorrectedDenoiser

            mean = partial(corrected_mean, correct=correct, first=first)
            return self.denoising_base().build(CorrectedDenoiser(denoiser, mean), context)
        from plumbline.samplers._stepped import SteppedSampler, require_single_steps

        require_single_steps(base, self)
        return SteppedSampler(
            base.denoiser,
            partial(corrected_step, base=base, correct=correct, first=first),
            steps=base.steps,
            start=base.start,
            stop=base.stop,
            times=lambda _: base.timesteps,
            begin=base.begin if isinstance(base, SteppedSampler) else None,
        )

    def finish(self, drawn: Samples, task: SamplingTask) -> Samples:
        finished = super().finish(drawn, task)
        x = finished.state
        for _ in range(self.corrections):
            finished.costs.projection_solves += 1
            x = self._correction(task, x, self.final_step)
        return replace(finished, state=x)

    def _corrected_point(self, context: DenoisingContext, z: Tensor) -> Tensor:
        """Points z (B, *Z) of the model's space after a correction."""
        context.costs.projection_solves += 1
        return context.space.encode(self._correction(context.task, context.decode(z.detach()), self.step))

    def _correction(self, task: SamplingTask, x: Tensor, step: float) -> Tensor:
        """The samples (B, *S) after a correction.

        Raises:
            ValueError: `channels` names an entry that a sample does not have.
        """
        if self.channels is not None:
            there = x.shape[1]
            absent = [channel for channel in self.channels if not 0 <= channel < there]
            if absent:
                raise ValueError(
                    f"`channels` of `{self.kind}`: the first axis of a sample has the entries 0 to "
                    f"{there - 1}, found {', '.join(map(str, absent))}."
                )
        constraint = task.constraints[self.constraint]
        return corrected(x, constraint, step=step, scaled_by=self.scaled_by, channels=self.channels)


def corrected_step(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    base: Sampler,
    correct: Callable[[Tensor], Tensor],
    first: Tensor,
    **conditions: object,
) -> Tensor:
    """Takes a step of `base` from x_t (B, ...), and corrects its result if it is one of the last steps.

    Args:
        denoiser: the denoiser.
        x_t: points (B, ...) at time t.
        t: the time before the step.
        s: the time after the step.
        base: the sampler that takes the step.
        correct: corrects points of the model's space.
        first: the time at which the first of the last steps starts.
        conditions: keyword arguments of the denoiser.

    Returns:
        Points at time s, with the shape of `x_t`.
    """
    x_s: Tensor = base.step(x_t, t, s, **conditions)
    if bool(t <= first.to(t)):
        alpha, _ = denoiser.schedule(s)
        return alpha * correct(x_s / alpha)
    return x_s


def corrected_mean(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    *,
    correct: Callable[[Tensor], Tensor],
    first: Tensor,
    **conditions: object,
) -> Tensor:
    """The denoised estimates of states x_t (B, ...), corrected from the time `first` on."""
    mean: Tensor = denoiser(x_t, t, **conditions).mean
    return correct(mean) if bool((t <= first.to(t)).any()) else mean


def corrected(
    x: Tensor,
    constraint: Constraint,
    *,
    step: float,
    scaled_by: Scaling,
    channels: tuple[int, ...] | None = None,
) -> Tensor:
    """The samples after a step down the gradient of their squared residuals.

    Args:
        x: samples (B, *S), in the data's units.
        constraint: the constraint, bound to the samples.
        step: the step, in the unit that `scaled_by` says.
        scaled_by: what the step length is divided by.
        channels: entries of the first axis of S that are corrected; None for all.

    Returns:
        Samples (B, *S), in the dtype of x.
    """
    import torch

    with torch.enable_grad():
        points = x.detach().clone().requires_grad_()
        residual = constraint.residual(points).flatten(1)
        (gradient,) = torch.autograd.grad(
            residual.square().sum(), points, retain_graph=scaled_by == "curvature"
        )
        if channels is not None:
            kept = torch.zeros_like(gradient)
            kept[:, list(channels)] = gradient[:, list(channels)]
            gradient = kept
        length = _length(gradient, residual, points, scaled_by)
    length = length.view(-1, *(1,) * (x.ndim - 1))
    return x.detach() - step * length * gradient


def _length(gradient: Tensor, residual: Tensor, points: Tensor, scaled_by: Scaling) -> Tensor:
    """The step length (B,) of one unit of `step`; zero where there is no gradient."""
    import torch

    flat = gradient.flatten(1)
    if scaled_by == "none":
        return torch.ones_like(flat[:, 0])
    smallest = torch.finfo(flat.dtype).tiny
    if scaled_by == "gradient":
        return 1 / flat.abs().amax(1).clamp(min=smallest)
    # J g by two backward passes: the map y -> J^T y is linear.
    cotangent = torch.zeros_like(residual, requires_grad=True)
    (image,) = torch.autograd.grad(residual, points, cotangent, create_graph=True)
    (along,) = torch.autograd.grad(image, cotangent, gradient)
    return flat.square().sum(1) / (2 * along.square().sum(1)).clamp(min=smallest)
