r"""Time integrators for stiff semi-linear systems, batched and in Fourier space.

A pseudo-spectral discretisation of a dissipative partial differential equation reads

    du/dt = L u + N(u),

with a diagonal, real L (viscosity, drag) and a nonlinear term N (advection, forcing). Exponential
integrators solve the linear part exactly, so that all of the error comes from N. With z = h L, a step of
length h combines values of N with the functions

    phi_0(z) = exp(z),    phi_{j+1}(z) = (phi_j(z) - 1/j!) / z.

`etdrk4` is the fourth-order Runge-Kutta scheme of Cox and Matthews (Journal of Computational Physics
176, 2002, eqs. 26 to 29, https://doi.org/10.1006/jcph.2002.6995), with four evaluations of N per step:

    a      = phi_0(z/2) u + (h/2) phi_1(z/2) N(u)
    b      = phi_0(z/2) u + (h/2) phi_1(z/2) N(a)
    c      = phi_0(z/2) a + (h/2) phi_1(z/2) (2 N(b) - N(u))
    u_next = phi_0(z) u + h (phi_1 - 3 phi_2 + 4 phi_3) N(u)
                        + h (2 phi_2 - 4 phi_3) (N(a) + N(b)) + h (4 phi_3 - phi_2) N(c)

`etdab4` is the four-step Adams-Bashforth scheme (ibid., section 2.1), with one evaluation per step.
Interpolating N at the last four equidistant times by Newton's backward differences gives

    u_next = phi_0 u + h sum_j g_j (backward difference)^j N,
    g_0 = phi_1,  g_1 = phi_2,  g_2 = phi_3 + phi_2 / 2,  g_3 = phi_4 + phi_3 + phi_2 / 3,

also of fourth order. Its first three steps are ETDRK4 steps, which preserves the order.

`cnrk4` treats L by Crank-Nicolson inside the five stages of Carpenter and Kennedy's low-storage
Runge-Kutta scheme (NASA TM-109112, 1994), which is common in the literature on learned solvers. It is
of second order in L and of fourth order in N.

Multiplying by a decay exp(z) close to one in single precision repeats a rounding error of the same sign at
every step. Steps therefore add (exp(z) - 1) u to u: the weight exp(z) - 1 is small and is rounded relative to
its own size.

The quotients in phi_j suffer from cancellation near z = 0. They are evaluated as means over a circle around z
in the complex plane (Kassam and Trefethen, SIAM Journal on Scientific Computing 26, 2005,
https://doi.org/10.1137/S1064827502410633), in float64, and then cast to the dtype of the state.

States are real tensors: the real and imaginary parts of the retained Fourier modes, interleaved along
the last axis. Every operation of a step is then a real multiply-add, and every step is differentiable. A
system may store several trajectories in one row of its state; its `select` then extracts single trajectories.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

CONTOUR_POINTS = 32
HIGHEST_REFINEMENT = 12

Scheme = Literal["etdrk4", "etdab4", "cnrk4"]
Nonlinear = Callable[[Tensor], Tensor]

# The largest h |k u| of an advected mode at which each scheme is stable (the extent of its stability region
# along the imaginary axis), with a margin of about a quarter.
STABILITY_LIMIT: dict[Scheme, float] = {"etdrk4": 2.1, "etdab4": 0.32, "cnrk4": 2.1}

# Carpenter and Kennedy's five stages: times, fraction of the previous stage that is carried over, weight.
STAGE_INSTANTS = (0.0, 0.1496590219993, 0.3704009573644, 0.6222557631345, 0.9582821306748, 1.0)
STAGE_CARRY = (0.0, -0.4178904745, -1.192151694643, -1.697784692471, -1.514183444257)
STAGE_WEIGHTS = (0.1496590219993, 0.3792103129999, 0.8229550293869, 0.6994504559488, 0.1530572479681)


class UnstableSolutionError(RuntimeError):
    """The solution is not finite, even at the finest time step allowed."""


def phi_functions(z: Float[Tensor, "*K"], highest: int) -> list[Float[Tensor, "*K"]]:
    """phi_0(z), ..., phi_highest(z) for real z, in float64, as means over a unit circle around z.

    The circle is symmetric about the real axis, so that the real part over its upper half suffices.
    """
    z = z.double()
    angles = (torch.arange(CONTOUR_POINTS, dtype=torch.float64, device=z.device) + 0.5) / CONTOUR_POINTS
    points = z[..., None] + torch.exp(1j * math.pi * angles)
    value = torch.exp(points)
    functions = [torch.exp(z)]
    for j in range(highest):
        value = (value - 1.0 / math.factorial(j)) / points
        functions.append(value.mean(-1).real)
    return functions


class RungeKuttaWeights(NamedTuple):
    """Weights of one ETDRK4 step, each of the shape of a state without its batch.

    `half` and `full` are exp(z/2) - 1 and exp(z) - 1.
    """

    half: Tensor
    half_input: Tensor
    twice_half_input: Tensor
    full: Tensor
    first: Tensor
    middle: Tensor
    last: Tensor


class AdamsBashforthWeights(NamedTuple):
    """Weights of one ETDAB4 step: exp(z) - 1, and the weights of N now and one, two and three steps ago."""

    full: Tensor
    now: Tensor
    one: Tensor
    two: Tensor
    three: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class System(ABC):
    """A semi-linear system du/dt = L u + N(u) on Fourier modes.

    Attributes:
        linear: L in 1/time, float64.
        step_limit: a function from states to the step of each trajectory at which h |k u| is one. Multiplied
            by the stability limit of a scheme, it gives the longest stable step.
        to_grid: a function from states to the trajectories' fields on the grid.
        select: a function from a state and a mask (B,) to the state of the selected trajectories.
    """

    linear: Tensor
    step_limit: Callable[[Tensor], Tensor]
    to_grid: Callable[[Tensor], Tensor]
    select: Callable[[Tensor, Tensor], Tensor] = operator.getitem

    @abstractmethod
    def advanced(
        self, scheme: Scheme, u: Tensor, past: tuple[Tensor, ...], step: float, steps: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The state after `steps` steps of length `step` (time) from the state u.

        `past` holds N at up to three steps before u, the latest first. It is used by `etdab4` alone, whose
        new `past` is returned beside the state.
        """

    @lru_cache(maxsize=32)  # noqa: B019 - at most 32 sets of weights stay in memory
    def runge_kutta(self, step: float, dtype: torch.dtype) -> RungeKuttaWeights:
        """The weights of ETDRK4 for this step (time)."""
        _, half_1 = phi_functions(self.linear * (step / 2), 1)
        _, phi_1, phi_2, phi_3 = phi_functions(self.linear * step, 3)
        weights = (
            torch.expm1(self.linear * (step / 2)),
            step / 2 * half_1,
            step * half_1,
            torch.expm1(self.linear * step),
            step * (phi_1 - 3 * phi_2 + 4 * phi_3),
            step * (2 * phi_2 - 4 * phi_3),
            step * (4 * phi_3 - phi_2),
        )
        return RungeKuttaWeights(*(weight.to(dtype) for weight in weights))

    @lru_cache(maxsize=32)  # noqa: B019
    def adams_bashforth(self, step: float, dtype: torch.dtype) -> AdamsBashforthWeights:
        """The weights of ETDAB4 for this step (time), from the backward differences g_j."""
        _, phi_1, phi_2, phi_3, phi_4 = phi_functions(self.linear * step, 4)
        g_0, g_1, g_2, g_3 = phi_1, phi_2, phi_3 + phi_2 / 2, phi_4 + phi_3 + phi_2 / 3
        now, one, two, three = g_0 + g_1 + g_2 + g_3, -(g_1 + 2 * g_2 + 3 * g_3), g_2 + 3 * g_3, -g_3
        weights = (torch.expm1(self.linear * step), step * now, step * one, step * two, step * three)
        return AdamsBashforthWeights(*(weight.to(dtype) for weight in weights))

    @lru_cache(maxsize=32)  # noqa: B019
    def crank_nicolson(self, step: float, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
        """The weights of each stage of CN-RK4 for this step (time).

        With mu = half of the stage's length, they are (1 + mu L) / (1 - mu L) - 1 for u, and the weight of N.
        """
        weights = []
        for start, end, weight in zip(STAGE_INSTANTS, STAGE_INSTANTS[1:], STAGE_WEIGHTS, strict=False):
            shift = step / 2 * (end - start) * self.linear
            weights.append(((2 * shift / (1 - shift)).to(dtype), (step * weight / (1 - shift)).to(dtype)))
        return weights


@dataclass(frozen=True, eq=False, kw_only=True)
class TorchSystem(System):
    """A system whose nonlinear term is a function in torch: on any device, and differentiable.

    Modes are interleaved, and `linear` has the shape of a state without its batch.

    Attributes:
        nonlinear: N, a function from states to states.
    """

    nonlinear: Nonlinear

    def advanced(
        self, scheme: Scheme, u: Tensor, past: tuple[Tensor, ...], step: float, steps: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        for _ in range(steps):
            if scheme == "cnrk4":
                u = crank_nicolson_step(self, u, step)
            elif scheme == "etdab4" and len(past) == 3:
                u, n_u = adams_bashforth_step(self, u, step, past)
                past = (n_u, *past[:2])
            else:
                u, n_u = runge_kutta_step(self, u, step)
                past = (n_u, *past)[:3] if scheme == "etdab4" else ()
        return u, past


def runge_kutta_step(system: TorchSystem, u: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """One ETDRK4 step. Returns the new state, and N(u), which a multistep scheme stores."""
    w = system.runge_kutta(step, u.dtype)
    n_u = system.nonlinear(u)
    decayed = torch.addcmul(u, w.half, u)
    a = torch.addcmul(decayed, w.half_input, n_u)
    n_a = system.nonlinear(a)
    n_b = system.nonlinear(torch.addcmul(decayed, w.half_input, n_a))
    # (h/2) phi_1 (2 N(b) - N(u)) with one pass less: double the weight and halve N(u).
    n_c = system.nonlinear(
        torch.addcmul(torch.addcmul(a, w.half, a), w.twice_half_input, torch.sub(n_b, n_u, alpha=0.5))
    )
    following = torch.addcmul(torch.addcmul(u, w.full, u), w.first, n_u)
    following = torch.addcmul(following, w.middle, n_a + n_b)
    return torch.addcmul(following, w.last, n_c), n_u


def adams_bashforth_step(
    system: TorchSystem, u: Tensor, step: float, past: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """One ETDAB4 step from u, and N one, two and three steps ago. Returns the new state and N(u)."""
    w = system.adams_bashforth(step, u.dtype)
    n_u = system.nonlinear(u)
    following = torch.addcmul(torch.addcmul(u, w.full, u), w.now, n_u)
    for weight, value in zip((w.one, w.two, w.three), past, strict=True):
        following = torch.addcmul(following, weight, value)
    return following, n_u


def crank_nicolson_step(system: TorchSystem, u: Tensor, step: float) -> Tensor:
    """One step of Crank-Nicolson for L and Carpenter and Kennedy's Runge-Kutta scheme for N."""
    carried: Tensor | None = None
    for carry, (decay, weight) in zip(STAGE_CARRY, system.crank_nicolson(step, u.dtype), strict=True):
        n_u = system.nonlinear(u)
        carried = n_u if carried is None else torch.add(n_u, carried, alpha=carry)
        u = torch.addcmul(torch.addcmul(u, decay, u), weight, carried)
    return u


def integrate(
    system: System,
    state: Tensor,
    members: Int[Tensor, " B"],
    times: Float[Tensor, " T"],
    *,
    courant: float,
    max_step: float | None,
    scheme: Scheme | None,
) -> Float[Tensor, "B T *X"]:
    """Integrates from `state` at time zero and returns the fields on the grid at `times`.

    Trajectories with equal steps are integrated together, as a front. The step is `max_step` (or the whole
    interval between two times), halved until h |k u| is below the limit. Each trajectory chooses its own
    step, so that its solution does not depend on the rest of the batch. The limit is checked again at the end
    of every interval: a trajectory that exceeds it, or is no longer finite, repeats the interval with a finer
    step.

    Args:
        system: the system to integrate.
        state: the state at time zero.
        members: the index in the output of each trajectory of the state, in the state's order.
        times: output times, increasing, at least zero.
        courant: the largest h |k u| of a step where `max_step` is None, for accuracy.
        max_step: the longest step allowed (time).
        scheme: `etdrk4`, `etdab4` or `cnrk4`. None selects `etdrk4` if `max_step` is given, since it is
            stable at six times the step, and `etdab4` otherwise (docs/benchmarks.md has the work-precision
            curves).

    Returns:
        The fields (B, T, *X) of all trajectories at all times.

    Raises:
        ValueError: the times decrease or are negative, the step is not positive, or the state is not finite.
        UnstableSolutionError: a state is not finite even at the finest step allowed.
    """
    instants = _checked_times(times)
    if max_step is not None and not max_step > 0:
        raise ValueError(f"max_step must be positive, found {max_step}.")
    if not torch.isfinite(state).all():
        raise ValueError("the initial state is not finite: check it for NaN or infinite values.")
    scheme = scheme or ("etdrk4" if max_step else "etdab4")
    limit = STABILITY_LIMIT[scheme] if max_step else min(courant, STABILITY_LIMIT[scheme])
    durations = [end - start for start, end in zip([0.0, *instants], instants, strict=False)]

    def halvings(front: Front, interval: int) -> Tensor:
        longest = limit * system.step_limit(front.state.detach())[: len(front.members)]
        base = durations[interval] / _steps(durations[interval], max_step)
        needed = torch.ceil(torch.log2(base / longest)).clamp(min=0)
        return torch.where(torch.isfinite(longest), needed, HIGHEST_REFINEMENT + 1.0).long()

    start = Front(members, state, interval=0, refinement=0)
    grid = system.to_grid(state).shape[1:]
    output = state.new_zeros(len(members), len(instants), *grid)

    def record(front: Front, interval: int) -> None:
        output[front.members, interval] = system.to_grid(front.state)[: len(front.members)]

    moving = [i for i, duration in enumerate(durations) if duration > 0]
    fronts = start.split(system, halvings(start, moving[0])) if moving else [start]
    while fronts:
        front = fronts.pop()
        if front.interval == len(instants):
            continue
        if durations[front.interval] == 0.0:
            record(front, front.interval)
            fronts.append(replace(front, interval=front.interval + 1))
            continue
        if front.refinement > HIGHEST_REFINEMENT:
            raise UnstableSolutionError(
                f"{len(front.members)} trajectories are unstable between times "
                f"{instants[front.interval] - durations[front.interval]:g} and {instants[front.interval]:g}, "
                f"even at the finest step: raise the resolution, or lower max_step."
            )
        steps = _steps(durations[front.interval], max_step) * 2**front.refinement
        arrived = front.advanced(system, scheme, durations[front.interval] / steps, steps)
        needed = halvings(arrived, front.interval)
        # A state that is not finite does not determine the step it needs: try the next finer one.
        needed = torch.where(needed > HIGHEST_REFINEMENT, front.refinement + 1, needed)
        settled = needed <= front.refinement
        if bool(settled.all()):
            record(arrived, front.interval)
            fronts.append(arrived)
            continue
        if bool(settled.any()):
            kept = arrived.select(system, settled)
            record(kept, front.interval)
            fronts.append(kept)
        fronts.extend(front.select(system, ~settled).split(system, needed[~settled]))
    return output


@dataclass(frozen=True)
class Front:
    """Trajectories that are integrated with the same step.

    Attributes:
        members: the index in the output of each trajectory.
        state: their state at the start of an interval.
        interval: the index of that interval.
        refinement: the number of halvings of the step.
        past: N at the last steps of length `past_step`, the latest first, for `etdab4`.
        past_step: the length of the last steps (time).
    """

    members: Tensor
    state: Tensor
    interval: int
    refinement: int
    past: tuple[Tensor, ...] = ()
    past_step: float = 0.0

    def select(self, system: System, mask: Tensor) -> Front:
        """The front of the members selected by `mask` (members,)."""
        past = tuple(system.select(value, mask) for value in self.past)
        state = system.select(self.state, mask)
        return replace(self, members=self.members[mask], state=state, past=past)

    def split(self, system: System, refinement: Tensor) -> list[Front]:
        """One front for each distinct value of `refinement` (members,)."""
        levels = refinement.unique().tolist()
        if len(levels) == 1:
            return [replace(self, refinement=levels[0], past=())]
        return [replace(self.select(system, refinement == k), refinement=k, past=()) for k in levels]

    def advanced(self, system: System, scheme: Scheme, step: float, steps: int) -> Front:
        """The front after `steps` steps, at the end of its interval."""
        continues = bool(self.past) and math.isclose(step, self.past_step, rel_tol=1e-9)
        past = self.past if continues else ()
        # Equal intervals differ by rounding: using the same step for all of them reuses the cached weights.
        step = self.past_step if self.past_step and math.isclose(step, self.past_step, rel_tol=1e-9) else step
        u, past = system.advanced(scheme, self.state, past, step, steps)
        return Front(self.members, u, self.interval + 1, self.refinement, past, step)


def _steps(duration: float, max_step: float | None) -> int:
    return max(1, math.ceil(duration / max_step * (1 - 1e-9))) if max_step else 1


def _checked_times(times: Tensor) -> list[float]:
    instants = [float(t) for t in times]
    if not instants:
        raise ValueError("times is empty: give at least one time.")
    if instants[0] < 0 or any(b < a for a, b in pairwise(instants)):
        raise ValueError(f"times must be at least zero and increase, found {instants}.")
    return instants
