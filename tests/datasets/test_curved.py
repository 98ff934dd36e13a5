"""Mixtures of Gaussians on curved surfaces, against rejection in thin tubes and closed forms."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from plumbline.constraints.quadratic import QuadraticSpec
from plumbline.constraints.sphere import SphereSpec
from plumbline.datasets._cells import Histogram
from plumbline.datasets._exact import Numbers
from plumbline.datasets.bent_mixture import NODES, BentMixtureSpec, bent_mixture
from plumbline.datasets.ellipse_mixture import EllipseMixtureSpec
from plumbline.datasets.sphere_mixture import SphereMixtureSpec, heights, log_integral
from plumbline.metrics import EvaluationContext
from plumbline.metrics.branch_fractions import BranchFractionsSpec

from .exact import SPLITS, assert_fractions, assert_moments, assert_same_distribution

QUADRATIC = QuadraticSpec(
    matrices="quadratic_matrices", vectors="quadratic_vectors", constants="quadratic_constants"
)
CASES = [
    (SphereMixtureSpec, {}),
    (EllipseMixtureSpec, {"distribution": "conditioning"}),
    (EllipseMixtureSpec, {"distribution": "restriction"}),
    (BentMixtureSpec, {"distribution": "conditioning"}),
    (BentMixtureSpec, {"distribution": "restriction"}),
]


def made(kind, keys):
    return kind(parts=1, splits=SPLITS, **keys)


def free_samples(spec, count, seed):
    return spec.unconstrained(Numbers(seed, np.arange(count)))


@pytest.mark.parametrize(("kind", "keys"), CASES)
def test_samples_are_on_the_surface_and_the_same_in_any_part(kind, keys):
    spec = made(kind, keys)
    data = spec.draw_part(0)
    constraint = (SphereSpec(radius="radius") if kind is SphereMixtureSpec else QUADRATIC).build(data)
    state = torch.as_tensor(data["state"].values)
    assert (constraint.violation(state)[40:] < 1e-6).all() and (constraint.violation(state)[:40] > 1e-6).all()
    assert constraint.residual(torch.as_tensor(spec.draw_exact(2000, 0))).abs().max() < 1e-13
    parts = [spec.model_copy(update={"parts": 3}).draw_part(i)["state"].values for i in range(3)]
    np.testing.assert_allclose(np.concatenate(parts), state, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("kind", "keys"), CASES)
def test_stored_moments_and_branches_are_those_of_exact_samples(kind, keys):
    """Of 40,000 samples, within 5 standard errors: false alarms, 3e-5."""
    spec = made(kind, keys)
    known, x = spec.known(), spec.draw_exact(40_000, 1)
    assert_moments(x, known["conditional_mean"].values, known["conditional_covariance"].values)
    samples = spec.draw_part(0).isel(sample=np.zeros(len(x), int))
    samples = samples.assign(state=(("sample", "coordinate"), x))
    found = BranchFractionsSpec().evaluate(samples, known.assign(state=samples["state"]), EvaluationContext())
    # The number of samples in a branch is Poisson if it is small; 3 of 40,000 are always allowed.
    assert_fractions(found["branch_fraction"].values * len(x), known["branch_fractions"].values)


def test_on_the_sphere_it_is_the_mixture_in_a_thin_shell():
    """False alarms: 1e-4."""
    spec = SphereMixtureSpec(parts=1, splits=SPLITS)
    x = free_samples(spec, 1_000_000, 5)
    norm = np.linalg.norm(x, axis=1)
    near = np.abs(norm - spec.radius) < 0.01
    assert near.sum() > 5000
    shell = spec.radius * x[near] / norm[near, None]
    assert_same_distribution(shell, spec.draw_exact(20_000, 0))


@pytest.mark.parametrize("distribution", ["conditioning", "restriction"])
def test_on_the_ellipse_it_is_the_mixture_in_a_thin_tube(distribution):
    """|h| < .01 for conditioning, and a distance below .006 for restriction. False alarms: 1e-4.

    The other distribution fails the same test.
    """
    spec = EllipseMixtureSpec(parts=1, splits=SPLITS, distribution=distribution)
    a, b = spec.semi_axes
    x = free_samples(spec, 2_000_000, 5)
    h = (x[:, 0] / a) ** 2 + (x[:, 1] / b) ** 2 - 1
    distance = np.abs(h) / np.hypot(2 * x[:, 0] / a**2, 2 * x[:, 1] / b**2)
    near = np.abs(h) < 0.01 if distribution == "conditioning" else distance < 0.006
    assert near.sum() > 5000

    def angles(points):
        return np.arctan2(points[:, 1] / b, points[:, 0] / a)[:, None]

    assert_same_distribution(angles(x[near]), angles(spec.draw_exact(20_000, 0)))
    other = "restriction" if distribution == "conditioning" else "conditioning"
    wrong = EllipseMixtureSpec(parts=1, splits=SPLITS, distribution=other)
    with pytest.raises(AssertionError, match="coordinate"):
        assert_same_distribution(angles(x[near]), angles(wrong.draw_exact(20_000, 0)))


@pytest.mark.parametrize("distribution", ["conditioning", "restriction"])
def test_on_the_bent_surface_it_is_the_mixture_in_a_thin_tube(distribution):
    """Both |h| < .15, or both first-order offsets along the surface's normals; false alarms: 1e-4."""
    spec = BentMixtureSpec(parts=1, splits=SPLITS, distribution=distribution)
    surface = spec.surface()
    x = free_samples(spec, 1_200_000, 5)
    h = 0.5 * np.einsum("bi,mij,bj->bm", x, surface.matrices, x) + x @ surface.vectors.T + surface.constants
    if distribution == "conditioning":
        near = np.abs(h).max(1) < 0.15
    else:
        # The offset J^T (J J^T)^{-1} h is at most .08 long: a tube of constant width.
        some = np.flatnonzero(np.abs(h).max(1) < 0.5)
        jacobian = x[some] @ surface.matrices + surface.vectors[:, None]
        gram = np.einsum("ami,bmi->mab", jacobian, jacobian)
        squared = np.einsum("ma,ma->m", h[some], np.linalg.solve(gram, h[some][..., None])[..., 0])
        near = some[squared < 0.08**2]
    tube = x[near]
    assert len(tube) > 300
    assert_same_distribution(tube, spec.draw_exact(20_000, 0))


def test_the_histogram_is_above_the_density_and_the_quadrature_has_converged():
    """What rejection cuts off is below 1e-4 of the probability; a finer quadrature agrees to 1e-4."""
    for distribution in ("conditioning", "restriction"):
        surface = BentMixtureSpec(parts=1, splits=SPLITS, distribution=distribution).surface()
        uniform = np.random.default_rng(0).random((60_000, 5))
        places, height = surface.histogram.propose(uniform)
        ratio = surface.density(places) / height
        assert ratio.mean() > 0.2 and (ratio - 1).clip(min=0).sum() / ratio.sum() < 1e-4
    finer = surface.quadrature((22, 22, 13, 21))
    for found, expected in zip(surface.quadrature(NODES), finer, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_bent_mixture_is_the_bent_gaussians():
    """Against three Gaussians with c (x_1^2 - .7) added to x_4, by 100,000 samples each. False alarms: 1e-4.

    That test does not see the slices: the distributions of x_4 - c x_1^2 differ by less than .01.
    """
    rng = np.random.default_rng(3)
    centers = rng.normal(0, 0.8, (3, 6))
    factors = [np.tril(rng.normal(0, 0.35, (6, 6)), -1) + np.diag(rng.uniform(0.3, 0.7, 6)) for _ in range(3)]
    label, noise = rng.choice(3, 100_000, p=[0.5, 0.3, 0.2]), rng.standard_normal((100_000, 6))
    bent = centers[label] + np.einsum("bij,bj->bi", np.array(factors)[label], noise)
    bent[:, 3] += 0.6 * (bent[:, 0] ** 2 - 0.7)
    mixture = bent_mixture(3, 0.6)
    x, _ = mixture.draw(rng.random(100_000), rng.standard_normal((100_000, 6)))
    for y, z in ((x, bent), (x[:, 3] - 0.6 * x[:, 0] ** 2, bent[:, 3] - 0.6 * bent[:, 0] ** 2)):
        distance = max(
            stats.ks_2samp(one, other).statistic
            for one, other in zip(np.atleast_2d(y.T), np.atleast_2d(z.T), strict=True)
        )
        assert distance < 0.01 + 2.5 * np.sqrt(2 / 100_000)


@pytest.mark.parametrize("size", [2, 3, 6])
@pytest.mark.parametrize("concentration", [0.0, 0.5, 8.0, 300.0])
def test_heights_and_their_integral(size, concentration):
    """Quantiles against a closed form in three dimensions and a fine integral elsewhere."""
    angle = np.linspace(0, np.pi, 2_000_001)
    density = np.exp(concentration * (np.cos(angle) - 1)) * np.sin(angle) ** (size - 2)
    # The area of the sphere of one dimension less, times the integral over the angle.
    area = {2: 2.0, 3: 2 * np.pi, 6: 8 * np.pi**2 / 3}[size]
    integral = np.trapezoid(density, angle) * area
    found = log_integral(np.array([concentration]), size)[0]
    assert found - concentration == pytest.approx(np.log(integral), abs=1e-6)
    u = np.array([0.001, 0.3, 0.5, 0.9, 0.9999])
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    expected = np.cos(np.interp(u, cumulative / cumulative[-1], angle))
    np.testing.assert_allclose(heights(u, concentration, size), expected, atol=1e-6)


def test_a_uniform_sphere_and_the_mean_of_one_component():
    """A mean at the centre gives uniform directions; E w of N((2, 0, ...), I) has a closed form."""
    from scipy.special import iv

    shared = {"stds": (1.0,), "weights": (1.0,), "parts": 1, "splits": SPLITS}
    flat = SphereMixtureSpec(means=((0.0, 0, 0),), **shared).known()
    np.testing.assert_allclose(flat["conditional_mean"], 0, atol=1e-12)
    np.testing.assert_allclose(flat["conditional_covariance"], 1.5**2 / 3 * np.eye(3), atol=1e-9)
    one = SphereMixtureSpec(means=((2.0, 0, 0, 0, 0, 0),), **shared).known()
    assert float(one["conditional_mean"][0]) / 1.5 == pytest.approx(iv(3, 3.0) / iv(2, 3.0), rel=1e-10)
    assert round(float(one["conditional_mean"][0]) / 1.5, 4) == 0.4275


def test_a_histogram_draws_a_density_by_rejection():
    """A quadratic density on the square, by Kolmogorov-Smirnov: false alarms, 1e-4."""

    def density(x):
        return x[:, 0] ** 2

    histogram = Histogram.above(density, (4, 3), margin=1.6)
    uniform = np.random.default_rng(0).random((30_000, 4))
    places, height = histogram.propose(uniform[:, :3])
    kept = places[uniform[:, 3] * height <= density(places)]
    assert (density(places) <= height).all()
    other = np.random.default_rng(1).random((20_000, 2)) ** np.array([1 / 3, 1.0])
    assert_same_distribution(kept, other)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"stds": (1.0,)}, "`stds` has 1 entries, and `means` 3"),
        ({"means": ((1.0,), (2.0,), (3.0,))}, "two or more coordinates"),
    ],
)
def test_mixtures_that_do_not_fit_are_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        SphereMixtureSpec(parts=1, splits=SPLITS, **keys)
