"""The steps of tangent Langevin dynamics; see `tangent_langevin` for the theory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from azula.denoise import Denoiser
from azula.sample import Sampler
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints._linearisation import RIDGE, DenseLinearisation, log_volume
from plumbline.constraints._metric_projection import project_in_metric
from plumbline.constraints._nearest import is_large
from plumbline.samplers._denoising import DenoisingContext
from plumbline.samplers._noise_levels import time_at

# Newton steps back onto the constraint along the old normals, and the relative residual at which they stop.
NEWTON_STEPS, SOLVED = 12, 1e-9


class TangentLangevin(Sampler):
    """Runs another sampler, projects its samples, and moves them by Langevin steps along h(x) = 0.

    Args:
        denoiser: the denoiser.
        context: the task, the space of the model, and the costs; receives the acceptance rates.
        base: the other sampler.
        last: denoises its last points, as `DenoisingSpec.last`.
        constraint: name of the constraint.
        steps: number of Langevin steps.
        noise: noise-to-signal ratio of the steps.
        step_size: eta.
        restricted: whether the density is restricted to the feasible set, not conditioned on h(x) = 0.

    Raises:
        ValueError: the constraint has inequalities, or its Jacobian is too large.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        context: DenoisingContext,
        *,
        base: Sampler,
        last: Callable[..., Tensor],
        constraint: str,
        steps: int,
        noise: float,
        step_size: float,
        restricted: bool,
    ) -> None:
        super().__init__(start=base.start, stop=base.stop, steps=base.steps, silent=True)
        self.denoiser, self.context, self.base, self.finish_base = denoiser, context, base, last
        self.constraint = context.task.constraints[constraint]
        if not self.constraint.smooth:
            raise ValueError(
                f"`tangent_langevin` moves along equations, and {constraint!r} has inequalities: use "
                "`twisted_smc` or `conditioned`."
            )
        self.langevin_steps, self.eta, self.restricted = steps, step_size, restricted
        self.time = torch.tensor(time_at(denoiser.schedule, noise))
        alpha, sigma = denoiser.schedule(self.time)
        self.ratio = float(sigma / alpha)
        self.covariance = context.covariance
        self.root = self.covariance.mapped(lambda c: c + self.ratio**2).root()
        self.shift = context.shift
        self.scale = context.scale.double().expand(self.shift.shape)
        rows = self._residual(
            torch.zeros(1, self.shift.numel()).to(self.shift).expand(len(context.task.batch["state"]), -1)
        ).shape[1]
        if is_large(rows, self.shift.numel()):
            raise ValueError(
                f"`tangent_langevin` stores the Jacobian of {constraint!r}, and {rows} equations of "
                f"{self.shift.numel()} coordinates are too many: use `conditioned`."
            )

    @property
    def timesteps(self) -> Tensor:
        """The times of the sampler that is wrapped."""
        return self.base.timesteps

    @torch.no_grad()
    def __call__(self, x: Tensor, **conditions: object) -> Tensor:
        """Draws samples from noise `x` (B, ...) at the first time."""
        start = self.finish_base(self.base, self.base(x, **conditions), conditions)
        score = partial(self._score, like=x, conditions=conditions)
        y = self.root.inverse(self._projected(start.flatten(1)))
        here = self._point(y, score)
        accepted = torch.zeros_like(y[:, 0])
        for _ in range(self.langevin_steps):
            here, moved = self._stepped(here, score)
            accepted += moved / self.langevin_steps
        self.context.details["acceptance"] = accepted.to(x.dtype)
        mean = self._denoised(self.root.matmul(here.y), x, conditions)
        return self._projected(mean).view_as(x).to(x.dtype)

    def _stepped(self, here: Point, score: Callable[[Tensor], Tensor]) -> tuple[Point, Float[Tensor, " B"]]:
        """One Metropolis-Hastings step, and which samples accepted it."""
        eta = self.eta
        drift = eta * here.gradient
        v = here.linear.tangent(drift + (2 * eta) ** 0.5 * torch.randn_like(here.y))
        y, back = self._back(here, here.y + v)
        there = self._point(y, score)
        w = there.linear.tangent(here.y - y)
        forward = (v - here.linear.tangent(drift)).square().sum(1)
        backward = (w - there.linear.tangent(eta * there.gradient)).square().sum(1)
        gained = ((here.score + there.score) / 2 * (y - here.y)).sum(1) + there.volume - here.volume
        log_ratio = gained + (forward - backward) / (4 * eta)
        accept = back & (torch.rand_like(log_ratio).log() < log_ratio)
        return self._chosen(accept, there, here), accept.double()

    def _chosen(self, accept: Tensor, there: Point, here: Point) -> Point:
        """The points of `there` where `accept` (B,) is true, and those of `here` elsewhere."""
        y, score, gradient = (
            torch.where(accept[:, None], new, old)
            for new, old in (
                (there.y, here.y),
                (there.score, here.score),
                (there.gradient, here.gradient),
            )
        )
        volume = torch.where(accept, there.volume, here.volume)
        return Point(y, DenseLinearisation(self._residual, y), score, gradient, volume)

    def _back(self, here: Point, y: Tensor) -> tuple[Tensor, Tensor]:
        """Points on the constraint along the normals at `here`, and whether they were found (B,)."""
        normals = here.linear.jacobian
        for _ in range(NEWTON_STEPS):
            linear = DenseLinearisation(self._residual, y)
            size = (linear.residual / linear.lengths).norm(dim=1)
            found = size <= SOLVED * (1 + y.norm(dim=1))
            if bool(found.all()):
                break
            scale = linear.lengths[..., None]
            gram = (linear.jacobian / scale) @ normals.mT
            identity = torch.eye(gram.shape[1]).to(gram)
            weights = torch.linalg.solve(
                gram + RIDGE * identity, (linear.residual / linear.lengths)[..., None]
            ).squeeze(-1)
            step = (weights[:, None] @ normals).squeeze(1).nan_to_num(0.0, 0.0, 0.0)
            y = torch.where(found[:, None], y, y - step)
        return y, found

    def _point(self, y: Tensor, score: Callable[[Tensor], Tensor]) -> Point:
        linear = DenseLinearisation(self._residual, y)
        own = score(y)
        volume, slope = self._volume(y)
        return Point(y, linear, own, own + slope, volume)

    def _volume(self, y: Tensor) -> tuple[Float[Tensor, " B"], Float[Tensor, "B n"]]:
        """The further term of the log-density, and its gradient in y."""
        with torch.enable_grad():
            points = y.detach().requires_grad_()
            jacobian = _jacobian(self._residual, points)
            if not jacobian.requires_grad:
                return torch.zeros_like(y[:, 0]), torch.zeros_like(y)
            volume = -log_volume(jacobian)
            if self.restricted:
                # J = J_x M^{1/2}, hence J_x = J M^{-1/2}.
                volume = volume + log_volume(self.root.inverse(jacobian))
            (slope,) = torch.autograd.grad(volume.sum(), points)
        return volume.detach(), slope

    def _residual(self, y: Tensor) -> Tensor:
        z = self.root.matmul(y).view(len(y), *self.shift.shape)
        return self.constraint.residual(self.shift.to(z) + self.scale.to(z) * z).flatten(1)

    def _score(self, y: Tensor, *, like: Tensor, conditions: dict[str, object]) -> Tensor:
        """The score in y."""
        u = self.root.matmul(y)
        return self.root.matmul((self._denoised(u, like, conditions) - u) / self.ratio**2)

    def _denoised(self, u: Tensor, like: Tensor, conditions: dict[str, object]) -> Tensor:
        time = self.time.to(like)
        alpha, _ = self.denoiser.schedule(time)
        return (
            self.denoiser(alpha * u.view_as(like).to(like.dtype), time, **conditions).mean.flatten(1).double()
        )

    def _projected(self, z: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        self.context.costs.projection_solves += 1
        return project_in_metric(self.constraint, z, self.covariance, shift=self.shift, scale=self.scale)


@dataclass(frozen=True)
class Point:
    """A batch of points on the constraint.

    Attributes:
        y: the points.
        linear: h and J there.
        score: the score of the noised data.
        gradient: the gradient of the log-density on the feasible set.
        volume: the term of the log-density that depends on J.
    """

    y: Float[Tensor, "B n"]
    linear: DenseLinearisation
    score: Float[Tensor, "B n"]
    gradient: Float[Tensor, "B n"]
    volume: Float[Tensor, " B"]


def _jacobian(function: Callable[[Tensor], Tensor], points: Float[Tensor, "B n"]) -> Float[Tensor, "B m n"]:
    """The differentiable Jacobian of each point."""
    residual = function(points)
    rows = [
        torch.autograd.grad(residual[:, j].sum(), points, create_graph=True, materialize_grads=True)[0]
        for j in range(residual.shape[1])
    ]
    return torch.stack(rows, dim=1)
