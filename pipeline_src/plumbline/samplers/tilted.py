r"""Importance resampling of a pretrained model to levels of rewards: the optimum of an alignment, without any training.

The distribution nearest to q under E_p[r_i] >= b_i is the tilted one, q(x) exp(sum_i lambda_i r_i(x)) / Z, with the multipliers
that maximise the dual function

    g(lambda) = lambda^T b - log E_q[exp(lambda^T r)],    lambda >= 0

(Khalafi, Hounie, Ding, Ribeiro 2025, section 4). On a pool of draws of q its maximum is found by convex optimisation, and samples are
drawn from the pool with the weights exp(lambda^T r). This is exact for a large pool and a small tilt; as the tilt grows, few draws have
all the weight, and samples repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import AnyDenoisingSampler, Costs, DenoisingSpec, SamplerSpec, Samples, SamplingTask
from plumbline.spec import key

if TYPE_CHECKING:
    import numpy as np


class TiltedSpec(SamplerSpec):
    """Draws of the pretrained model of an alignment, resampled so that its rewards reach their levels."""

    kind: Literal["tilted"] = "tilted"
    base: AnyDenoisingSampler
    """How the pretrained model is drawn from."""
    pool: int = key("draws a sample", ge=2, default=16)
    """Draws of the pretrained model for each sample that is returned."""

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        import torch

        from plumbline.samplers._denoising import denoise

        assert isinstance(self.base, DenoisingSpec)
        costs = Costs()
        with torch.no_grad():
            draws = torch.cat([denoise(model.reference, self.base, task, costs) for _ in range(self.pool)])
            rewards = model.rewards_of(draws.float())
        multipliers, weights = tilt(rewards.double().cpu().numpy(), model.levels.double().cpu().numpy())
        count = len(draws) // self.pool
        fractions = torch.as_tensor(weights, device=draws.device)
        chosen = torch.multinomial(fractions, count, replacement=True)
        told = {
            f"multiplier_{name}": torch.full((count,), float(value))
            for name, value in zip(model.attributes, multipliers, strict=True)
        }
        effective = 1 / float(fractions.square().sum()) / len(draws)
        return Samples(draws[chosen], {"effective_fraction": torch.full((count,), effective), **told}, costs)

    def needs(self) -> str:
        return "rewards"


def tilt(rewards: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The multipliers (m,) and the weights (N,) of draws with rewards (N, m), so that weighted means reach the levels (m,).

    Raises:
        ValueError: no weights of these draws reach the levels.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    above = rewards - levels

    def minus_dual(values: np.ndarray) -> tuple[float, np.ndarray]:
        exponents = above @ values
        return float(logsumexp(exponents) - np.log(len(above))), softmax(exponents) @ above

    found = minimize(
        minus_dual, np.zeros(len(levels)), jac=True, bounds=[(0, None)] * len(levels), method="L-BFGS-B"
    )
    weights = softmax(above @ found.x)
    missing = levels - weights @ rewards
    if missing.max() > 0.01 * max(1.0, float(np.abs(levels).max())):
        raise ValueError(
            f"no weights of {len(rewards)} draws reach the levels {levels.tolist()}; the nearest misses by {missing.max():.3g}: "
            "raise `pool`, or lower the levels."
        )
    return found.x, weights
