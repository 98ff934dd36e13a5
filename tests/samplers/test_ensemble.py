"""Ensembles: the moments and densities of a mixture."""

import math

import torch

from plumbline.samplers._ensemble import Ensemble


class Told:
    """A member that tells a Gaussian of fixed mean and deviation."""

    def __init__(self, mean: float, deviation: float) -> None:
        self.law = torch.distributions.Normal(mean, deviation)

    def predict(self, batch):
        state = batch["state"]
        return {
            "state": self.law.sample(state.shape),
            "predicted_mean": torch.full_like(state, float(self.law.mean)),
            "predicted_deviation": torch.full_like(state, float(self.law.stddev)),
            "log_likelihood": self.law.log_prob(state).sum(-1),
        }


def test_the_mixture_has_the_moments_and_density_of_its_members():
    """Moments of 40,000 draws: z-tests at 5 standard errors."""
    members = [Told(-1.0, 0.5), Told(2.0, 1.0), Told(0.5, 0.1)]
    batch = {"state": torch.randn(40_000, 1)}
    told = Ensemble(members).predict(batch)
    mean, deviation = float(told["predicted_mean"][0, 0]), float(told["predicted_deviation"][0, 0])
    assert math.isclose(mean, 0.5, rel_tol=1e-6)
    assert math.isclose(deviation**2, (0.25 + 1.0 + 0.01 + 1.0 + 4.0 + 0.25) / 3 - 0.25, rel_tol=1e-5)
    drawn = told["state"]
    assert abs(float(drawn.mean()) - mean) < 5 * deviation / 200
    fourth = float((drawn - mean).pow(4).mean())
    assert abs(float(drawn.var()) - deviation**2) < 5 * ((fourth - deviation**4) / 40_000) ** 0.5
    density = sum(member.law.log_prob(batch["state"][:, 0]).exp() for member in members) / 3
    torch.testing.assert_close(told["log_likelihood"], density.log())
