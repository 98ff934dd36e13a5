"""Autoencoders: likelihoods by quadrature, bounds, divergences in a constrained latent space, feasibility."""

import math

import pytest
import torch

from plumbline.constraints.sum import SumSpec
from plumbline.datasets.digits import DigitsSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.autoencoder.ladder_vae import LadderVAESpec
from plumbline.models.autoencoder.vae import VAESpec

SMALL = {"kind": "perceptron", "width": 12, "layers": 1}
BRIGHTNESS = 19.5
LAWS = ["independent", "projected", "completed", "conditioned"]


@pytest.fixture(scope="module")
def data():
    return DigitsSpec(
        brightness=BRIGHTNESS, parts=1, splits={"train": 20, "validation": 2, "test": 2}
    ).draw_part(0)


def built(data, spec_class, likelihood="conditioned", objective="likelihood", **values):
    torch.manual_seed(1)
    spec = spec_class(
        encoder=SMALL, decoder=SMALL, likelihood={"kind": likelihood}, objective={"kind": objective},
        scaling="global",
        constraint="brightness", initial_std=0.7, **values,
    )  # fmt: skip
    model = spec.build(BuildContext(data, {"brightness": SumSpec(total=BRIGHTNESS).build(data)}))
    model.prepare(batch_of(data))
    return model


@pytest.mark.parametrize("distribution", ["independent", "conditioned"])
def test_the_importance_sampled_likelihood_is_that_of_quadrature(data, distribution):
    """One latent dimension: log p(x) by the trapezoidal rule.

    4,000 samples leave an error of some hundredths.
    """
    model = built(data, VAESpec, distribution, latent=1, importance_samples=4000)
    batch = {name: tensor[:3] for name, tensor in batch_of(data).items()}
    suffix = "" if distribution == "conditioned" else "_free"
    with torch.no_grad():
        results = model.draw(batch)
        grid = torch.linspace(-6, 6, 2001)
        repeated = {name: t.repeat(len(grid), *(1,) * (t.ndim - 1)) for name, t in batch.items()}
        z = grid.repeat_interleave(3)[:, None]
        density = model.output.predict(*model.decoded(z), repeated)[f"log_likelihood{suffix}"].view(-1, 3)
        prior = -0.5 * grid**2 - 0.5 * math.log(2 * math.pi)
        exact = torch.logsumexp(density + prior[:, None], 0) + math.log(12 / 2000)
    torch.testing.assert_close(results[f"log_likelihood{suffix}"].double(), exact.double(), rtol=0, atol=0.1)
    assert (results[f"elbo{suffix}"] < exact + 0.1).all()


@pytest.mark.parametrize("spec_class", [VAESpec, LadderVAESpec])
@pytest.mark.parametrize("distribution", LAWS)
def test_draws_and_reconstructions_are_as_feasible_as_their_law(data, spec_class, distribution):
    model = built(data, spec_class, distribution, "squared_error", latent=4, importance_samples=3)
    batch = batch_of(data)
    loss, terms = model.loss(batch)
    loss.backward()
    assert torch.isfinite(loss) and terms["divergence"] >= 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        results = model.draw(batch)
    constraint = SumSpec(total=BRIGHTNESS).build(data)
    for name in ("state", "reconstruction"):
        assert results[name].shape == batch["state"].shape
        assert bool((constraint.violation(results[name]) < 1e-12).all()) == (distribution != "independent")


def test_the_bound_is_under_the_likelihood(data):
    """By Jensen, the importance-sampled value is the larger on average, at an equal number of samples."""
    for spec_class in (VAESpec, LadderVAESpec):
        model = built(data, spec_class, latent=4, importance_samples=200)
        with torch.no_grad():
            results = model.draw(batch_of(data))
        assert results["elbo"].mean() < results["log_likelihood"].mean()


def test_a_constrained_latent_vector_has_its_sum(data):
    model = built(data, VAESpec, "independent", latent=5, latent_total=2.5)
    with torch.no_grad():
        z = model.prior_draw(50, next(model.parameters()))
        posterior, _, divergence = model.posterior_draw(model.scaled(batch_of(data)), 7)
    torch.testing.assert_close(z.sum(-1), torch.full((50,), 2.5))
    torch.testing.assert_close(posterior.sum(-1), torch.full(posterior.shape[:-1], 2.5))
    assert (divergence >= -1e-5).all()


def test_the_constrained_divergence_counts_the_free_directions_only(data):
    """A posterior and a prior that differ only along the fixed direction are equal given the sum."""
    model = built(data, VAESpec, "independent", latent=4, latent_total=1.0)
    mean = torch.full((1, 4), 3.0)
    q, p = (
        model._distribution(mean, torch.ones(1, 4)),
        model._distribution(torch.zeros(1, 4), torch.ones(1, 4)),
    )
    assert float(torch.distributions.kl_divergence(q, p)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", ["marginal_expectation", "straight_through", "projection", "score_function"])
def test_every_estimator_trains_decoder_and_encoder(data, kind):
    model = built(data, VAESpec, "independent", latent=4, latent_total=1.0, estimator={"kind": kind})
    model.loss(batch_of(data))[0].backward()
    for part in (model.encoder, model.decoder, model.posterior_head.mean):
        assert all(p.grad.abs().max() > 0 for p in part.parameters())
