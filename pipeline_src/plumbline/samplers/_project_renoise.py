r"""Project and renoise: each clean estimate is projected onto the constraint, and noise is added to it again.

With x_t = alpha_t x + sigma_t e and the denoiser m, one evaluation corrects the estimate and returns to a
noise level s, with some noise e':

    x1 = P(m(x_t)),        x_s = alpha_s x1 + sigma_s e'.

P is the projection, or one step of the Gauss-Newton method. At each level, `repeats` evaluations return to
the same level, s = t, and one more goes to the next. The published methods differ in the noise e':

- `held`: the noise of the first state, drawn again every `resample_every` evaluations (ECI, PCFM);
- `fresh`: new noise (repeats of PPR);
- `implied`: that of the state, (x_t - alpha_t x1) / sigma_t, as in deterministic sampling (steps of PPR).

The publications move along the straight path x_t = (1 - t) x + t e at equal steps of t. What a state reveals
depends only on its noise-to-signal ratio sigma_t / alpha_t, so a model with any schedule can follow this
grid: the levels are the times of its schedule with the ratios (N - k) / k for k = 0, ..., N, within the range
of the schedule. The last level has no noise, so the result is x1 itself.

None of these methods draws the distribution given the constraint, even with an exact denoiser. With noise
held, the spread grows with the number of steps: for a Gaussian of variance c, the noise enters the result
with the factor Gamma(2/3) (3 c)^(2/3) / 3 N^(1/3) for large N.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from plumbline.constraints import LinearEqualityConstraint
from plumbline.samplers import DenoisingSpec, EnforcingSpec, Transporting
from plumbline.spec import key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azula.denoise import Denoiser
    from azula.noise import Schedule
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext

Noise = Literal["held", "fresh", "implied"]
"""The noise that is added to a corrected estimate."""

Grid = Literal["straight", "schedule"]
"""The noise levels: equal steps of the straight path's time, or of the schedule's time."""


@dataclass(frozen=True)
class Relaxation:
    """The relaxed correction of PCFM, by gradient descent. See `plumbline.samplers.pcfm`.

    Attributes:
        weight: lambda, the weight of the squared residual.
        steps: number of gradient steps.
        step_size: length of a step.
    """

    weight: float
    steps: int
    step_size: float


@dataclass(frozen=True)
class Renoising:
    """What distinguishes the members of the family.

    Attributes:
        repeats: evaluations at each noise level before the step to the next.
        repeat_noise: the noise of repeats.
        step_noise: the noise of steps.
        resample_every: number of evaluations after which held noise is drawn again; None for never.
        newton: whether the correction is one Gauss-Newton step instead of the projection.
        longest_step: largest length of a Gauss-Newton or gradient step, in the model's space; None for any.
        relaxation: the relaxed correction after each step; None for none.
    """

    repeats: int = 0
    repeat_noise: Noise = "held"
    step_noise: Noise = "held"
    resample_every: int | None = None
    newton: bool = False
    longest_step: float | None = None
    relaxation: Relaxation | None = None


class RenoisingSpec(EnforcingSpec, DenoisingSpec):
    """Base of the kinds that project each clean estimate and add noise to it again."""

    steps: int = key(ge=1, default=100)
    """Number of noise levels."""
    grid: Grid = key(default="straight")
    """Noise levels: `straight` for equal steps along the straight path between noise and data, as published;
    `schedule` for equal steps of the time of the model's schedule."""

    def renoising(self) -> Renoising:
        """The settings of this member of the family."""
        raise NotImplementedError

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._stepped import SteppedSampler

        settings = self.renoising()
        if settings.newton or settings.relaxation:
            require_smooth(self, context)
        held = HeldNoise(denoiser.schedule, settings.resample_every)
        step = partial(
            renoising_step, settings=settings, held=held, constraint=self.constraint, context=context
        )
        return SteppedSampler(
            denoiser,
            step,
            steps=self.steps,
            times=straight_times if self.grid == "straight" else None,
            begin=held.begin,
        )

    def requires_of_model(self) -> type:
        return Transporting

    def last(self, sampler: Sampler, z: Tensor, conditions: Mapping[str, object]) -> Tensor:
        import torch

        alpha, _ = sampler.denoiser.schedule(torch.full((), sampler.stop, dtype=z.dtype, device=z.device))
        return z / alpha


def require_smooth(spec: EnforcingSpec, context: DenoisingContext) -> None:
    """Raises a ValueError unless the constraint of a sampler is a smooth equation."""
    constraint = context.task.constraints[spec.constraint]
    if not constraint.smooth:
        raise ValueError(
            f"`{spec.kind}` requires equations with a smooth residual; {spec.constraint!r} is a "
            f"{type(constraint).__name__}: use `eci` or `ppr`, which need a projection only."
        )


class HeldNoise:
    """Noise that is kept from the first state on, and drawn again every few evaluations.

    Args:
        schedule: the schedule of the states, which start at time one.
        resample_every: number of evaluations after which the noise is drawn again; None for never.
    """

    value: Tensor

    def __init__(self, schedule: Schedule, resample_every: int | None) -> None:
        self.schedule, self.resample_every, self.evaluations = schedule, resample_every, 0

    def begin(self, x: Tensor) -> None:
        """Keeps the noise of the first state (B, ...), which is noise up to the schedule's smallest alpha."""
        alpha, sigma = self.schedule(x.new_ones(()))
        self.value, self.evaluations = x / (alpha**2 + sigma**2).sqrt(), 0

    def at_evaluation(self) -> Tensor:
        """The noise (B, ...) at the next evaluation."""
        import torch

        self.evaluations += 1
        if self.resample_every and self.evaluations % self.resample_every == 0:
            self.value = torch.randn_like(self.value)
        return self.value


def straight_times(sampler: Sampler) -> Tensor:
    """The times (N + 1,) of the ratios (N - k) / k in the sampler's schedule, from its start to its stop."""
    import torch

    from plumbline.samplers._noise_levels import times_at

    k = torch.arange(1, sampler.steps, dtype=torch.float64, device=sampler.device)
    inner = times_at(sampler.denoiser.schedule, (sampler.steps - k) / k)
    inner = inner.clamp(sampler.stop, sampler.start)
    ends = inner.new_full((1,), sampler.start), inner.new_full((1,), sampler.stop)
    return torch.cat([ends[0], inner, ends[1]]).to(sampler.dtype or torch.get_default_dtype())


def renoising_step(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    settings: Renoising,
    held: HeldNoise,
    constraint: str,
    context: DenoisingContext,
    **conditions: object,
) -> Tensor:
    """Corrects and renoises at time t as often as `settings` say, then goes to time s.

    Args:
        denoiser: the denoiser.
        x_t: points (B, ...) at time t.
        t: the time before the step.
        s: the time after the step; zero stands for no noise.
        settings: the member of the family.
        held: the noise that is kept.
        constraint: name of the constraint.
        context: the task, the space of the model, and the costs.
        conditions: keyword arguments of the denoiser.

    Returns:
        Points at time s, with the shape of `x_t`.
    """
    import torch

    alpha_t, sigma_t = denoiser.schedule(t)
    alpha_s, sigma_s = denoiser.schedule(s)
    sigma_s = torch.where(s > 0, sigma_s, 0.0)
    for repeat in range(settings.repeats + 1):
        stays = repeat < settings.repeats
        kept = held.at_evaluation()
        mean = denoiser(x_t, t, **conditions).mean
        x1 = corrected(mean, settings, constraint=constraint, context=context)
        alpha, sigma = (alpha_t, sigma_t) if stays else (alpha_s, sigma_s)
        kind = settings.repeat_noise if stays else settings.step_noise
        if kind == "held":
            noise = kept
        elif kind == "fresh":
            noise = torch.randn_like(x_t)
        else:
            noise = (x_t - alpha_t * x1) / sigma_t
        if stays:
            x_t = alpha * x1 + sigma * noise
    x_s = alpha_s * x1 + sigma_s * noise
    if settings.relaxation is None or not bool(s > 0):
        return x_s
    velocity = mean - (x_t - alpha_t * mean) / sigma_t
    return relaxed(
        x_s / (alpha_s + sigma_s),
        sigma_s / (alpha_s + sigma_s) * velocity,
        settings,
        constraint=constraint,
        context=context,
    ) * (alpha_s + sigma_s)


def corrected(mean: Tensor, settings: Renoising, *, constraint: str, context: DenoisingContext) -> Tensor:
    """The projection of clean estimates (B, ...) of the model's space, or one Gauss-Newton step from them."""
    from plumbline.constraints._derivatives import newton_step

    if not settings.newton or isinstance(context.task.constraints[constraint], LinearEqualityConstraint):
        return context.projected(constraint, mean)
    context.costs.projection_solves += 1
    x = context.decode(mean)
    moved = context.space.encode(newton_step(context.task.constraints[constraint], x))
    return mean + shortened(moved - mean, settings.longest_step)


def relaxed(
    start: Tensor, ahead: Tensor, settings: Renoising, *, constraint: str, context: DenoisingContext
) -> Tensor:
    """Gradient descent from u = `start` on |u - start|^2 + lambda |h(u + ahead)|^2, for each sample.

    Args:
        start: points (B, ...) of the straight path, in the model's space.
        ahead: the displacement (B, ...) to the end of the path.
        settings: lambda, number and length of steps, as `relaxation`.
        constraint: name of the constraint h.
        context: the task, the space of the model, and the costs.
    """
    import torch

    assert settings.relaxation is not None
    context.costs.projection_solves += 1
    u = start.detach()
    for _ in range(settings.relaxation.steps):
        with torch.enable_grad():
            u = u.requires_grad_()
            h = context.task.constraints[constraint].residual(context.decode(u + ahead))
            loss = (u - start).square().sum() + settings.relaxation.weight * h.square().sum()
            (gradient,) = torch.autograd.grad(loss, u)
        u = u.detach() - shortened(settings.relaxation.step_size * gradient, settings.longest_step)
    return u


def shortened(step: Tensor, longest: float | None) -> Tensor:
    """Steps (B, ...) with lengths of at most `longest`; the steps themselves for None."""
    if longest is None:
        return step
    lengths = step.flatten(1).norm(dim=1).clamp(min=longest)
    return step * (longest / lengths).view(-1, *(1,) * (step.ndim - 1))
