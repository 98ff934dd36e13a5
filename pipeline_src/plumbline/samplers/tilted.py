r"""Importance resampling of a pretrained model so that mean rewards reach their levels.

This gives the optimum of an alignment without training. The distribution closest to q under E_p[r_i] >= b_i
is the tilted distribution q(x) exp(sum_i lambda_i r_i(x)) / Z, with the multipliers that maximise the dual
function

    g(lambda) = lambda^T b - log E_q[exp(lambda^T r)],    lambda >= 0.

Its maximum on a pool of samples from q is found by convex optimisation, and samples are drawn from the pool
with weights proportional to exp(lambda^T r). This is exact in the limit of a large pool. As the tilt grows, a
few samples carry all the weight, and the result contains duplicates.

Source: Khalafi, Hounie, Ding, Ribeiro (NeurIPS 2025), section 4, https://arxiv.org/abs/2508.19104.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers import (
    AnyDenoisingSampler,
    Costs,
    DenoisingSpec,
    Rewarding,
    SamplerSpec,
    Samples,
    SamplingTask,
)
from plumbline.spec import key

if TYPE_CHECKING:
    import numpy as np


class TiltedSpec(SamplerSpec):
    """Samples of the pretrained model of an alignment, resampled so that mean rewards reach their levels.

    Source: Khalafi, Hounie, Ding, Ribeiro (NeurIPS 2025, https://arxiv.org/abs/2508.19104), section 4.
    """

    kind: Literal["tilted"] = "tilted"
    base: AnyDenoisingSampler
    """Sampler of the pretrained model."""
    pool: int = key("samples", ge=2, default=16)
    """Samples of the pretrained model per returned sample."""

    def draw(self, model: Rewarding, task: SamplingTask) -> Samples:
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
        multiplier_of = {
            f"multiplier_{name}": torch.full((count,), float(value), device=draws.device)
            for name, value in zip(model.attributes, multipliers, strict=True)
        }
        effective = 1 / float(fractions.square().sum()) / len(draws)
        details = {
            "effective_fraction": torch.full((count,), effective, device=draws.device),
            **multiplier_of,
        }
        return Samples(draws[chosen], details, costs)

    def requires_of_model(self) -> type:
        return Rewarding


def tilt(rewards: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes multipliers and sample weights for which the weighted mean rewards reach their levels.

    Args:
        rewards: rewards (N, m) of the samples.
        levels: lower bounds (m,) on the weighted mean rewards.

    Returns:
        The multipliers (m,), and the weights (N,), which sum to one.

    Raises:
        ValueError: no weights of these samples reach the levels.
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
            f"no weights of {len(rewards)} samples reach the levels {levels.tolist()}; the largest remaining "
            f"violation is {missing.max():.3g}: raise `pool`, or lower the levels."
        )
    return found.x, weights
