r"""Ancestral steps of weighted particles: the proposal given a constraint, and the weight of a point.

In terms of u = x_t / alpha_t, for x | u ~ N(D, V), a step from the noise-to-signal ratio s to s' with
q = (s' / s)^2 is

    u' ~ N(D + q (u - D), K),    K = a I + b V,    a = s'^2 (1 - q),    b = (1 - q)^2.

Given a constraint, D' takes the place of D. For a linear equality A x = k, the covariance V' of x given u and
the constraint takes the place of V,

    V' = V - V A^T G^{-1} A V,    K' = a I + b V' = K - b V A^T G^{-1} A V,    G = A V A^T,

so that the proposal is exact for a Gaussian. By the Woodbury identity, with M = A (a V K^{-1}) A^T,

    K'^{-1} = K^{-1} + b K^{-1} V A^T M^{-1} A V K^{-1},    det K' / det K = det M / det G.

For other constraints K' = K: the covariance given the constraint is not formed for each particle.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints._conditioner import LinearConditioner
from plumbline.linalg.spectral import SpectralCovariance
from plumbline.samplers._posterior import ConditionedPosterior


class AncestralStep:
    """A step whose proposal has the covariance K.

    Args:
        covariance: K.
    """

    def __init__(self, covariance: SpectralCovariance) -> None:
        self.root = covariance.root()

    def draw(self, like: Float[Tensor, "N n"]) -> Float[Tensor, "N n"]:
        """Deviations of proposed points from their means, in double precision."""
        return self.root.matmul(torch.randn_like(like, dtype=torch.float64))

    def log_ratio(self, deviation: Float[Tensor, "N n"], moved: Float[Tensor, "N n"]) -> Float[Tensor, " N"]:
        """log N(u'; D + q (u - D), K) - log N(u'; D' + q (u - D'), K') of proposed points u'.

        Args:
            deviation: the deviations of the points from the means of their proposals.
            moved: (1 - q) (D' - D), the difference of the two means.
        """
        return self._log_density(deviation + moved) - self._log_density(deviation)

    def _log_density(self, deviation: Float[Tensor, "N n"]) -> Float[Tensor, " N"]:
        """log N(deviation; 0, K), up to a constant."""
        return -self.root.inverse(deviation).square().sum(1) / 2


class LinearStep(AncestralStep):
    """A step whose proposal has the covariance K' given a linear equality.

    Args:
        covariance: K.
        posterior: V.
        noise: a.
        fraction: 1 - q.
        conditioner: the equality.
    """

    def __init__(
        self,
        covariance: SpectralCovariance,
        posterior: SpectralCovariance,
        *,
        noise: Tensor,
        fraction: Tensor,
        conditioner: LinearConditioner,
    ) -> None:
        super().__init__(covariance)
        self.posterior, self.noise, self.fraction = posterior, noise, fraction
        self.rows = conditioner.equality.independent.to(posterior.directions)
        self.gram = conditioner.gram(posterior)
        # V K^{-1}, and M, which are functions of V.
        self.gain = posterior.mapped(lambda v: v / (noise + fraction**2 * v))
        self.inner = conditioner.gram(self.gain.mapped(lambda v: noise * v))

    def draw(self, like: Float[Tensor, "N n"]) -> Float[Tensor, "N n"]:
        drawn = self.posterior.draw(like.shape)
        solved = self.gram.solve(self.rows.apply(drawn))
        given = drawn - self.posterior.matmul(self.rows.adjoint(solved))
        return self.noise.sqrt() * torch.randn_like(like, dtype=torch.float64) + self.fraction * given

    def log_ratio(self, deviation: Float[Tensor, "N n"], moved: Float[Tensor, "N n"]) -> Float[Tensor, " N"]:
        along = self.fraction * self.rows.apply(self.gain.matmul(deviation))
        further = (along * self.inner.solve(along)).sum(1) - self.gram.logdet() + self.inner.logdet()
        return super().log_ratio(deviation, moved) + further / 2


def ancestral_step(posterior: ConditionedPosterior, ratio: Tensor, next_ratio: Tensor) -> AncestralStep:
    """The step of weighted particles from the noise-to-signal ratio s to s', given a constraint.

    Args:
        posterior: the Gaussian approximation of x given u, and the constraint.
        ratio: s.
        next_ratio: s'.
    """
    covariance = posterior.ancestral(ratio, next_ratio)
    if not isinstance(posterior.conditioner, LinearConditioner):
        return AncestralStep(covariance)
    s, after = ratio.double(), next_ratio.double()
    fraction = 1 - (after / s) ** 2
    return LinearStep(
        covariance,
        posterior.covariance.posterior(torch.ones_like(s), s),
        noise=after**2 * fraction,
        fraction=fraction,
        conditioner=posterior.conditioner,
    )
