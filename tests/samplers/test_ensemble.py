"""Ensembles: the moments and densities of a mixture."""

import math

import torch

from plumbline.samplers._ensemble import Ensemble


class FixedGaussian:
    """A member that predicts a Gaussian of fixed mean and std."""

    def __init__(self, mean: float, std: float) -> None:
        self.distribution = torch.distributions.Normal(mean, std)

    def predict(self, batch):
        state = batch["state"]
        return {
            "state": self.distribution.sample(state.shape),
            "predicted_mean": torch.full_like(state, float(self.distribution.mean)),
            "predicted_std": torch.full_like(state, float(self.distribution.stddev)),
            "log_likelihood": self.distribution.log_prob(state).sum(-1),
        }


def test_the_mixture_has_the_moments_and_density_of_its_members():
    """Moments of 40,000 samples: z-tests at 5 standard errors."""
    members = [FixedGaussian(-1.0, 0.5), FixedGaussian(2.0, 1.0), FixedGaussian(0.5, 0.1)]
    batch = {"state": torch.randn(40_000, 1)}
    predictions = Ensemble(members).predict(batch)
    mean, std = float(predictions["predicted_mean"][0, 0]), float(predictions["predicted_std"][0, 0])
    assert math.isclose(mean, 0.5, rel_tol=1e-6)
    assert math.isclose(std**2, (0.25 + 1.0 + 0.01 + 1.0 + 4.0 + 0.25) / 3 - 0.25, rel_tol=1e-5)
    drawn = predictions["state"]
    assert abs(float(drawn.mean()) - mean) < 5 * std / 200
    fourth = float((drawn - mean).pow(4).mean())
    assert abs(float(drawn.var()) - std**2) < 5 * ((fourth - std**4) / 40_000) ** 0.5
    density = sum(member.distribution.log_prob(batch["state"][:, 0]).exp() for member in members) / 3
    torch.testing.assert_close(predictions["log_likelihood"], density.log())
