"""The exact denoiser of a mixture of Gaussians, against quadrature, closed forms and the fitted Gaussian."""

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.datasets.gaussian import GaussianSpec
from plumbline.datasets.mixture import MixtureSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.fitted._exact_mixture import Mixture, covariance_of_mixture
from plumbline.models.fitted.exact_mixture import ExactMixtureSpec
from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec
from plumbline.samplers import HeunSpec, SamplingTask
from plumbline.storage.store import select_split

LEVELS = [1e-3, 0.02, 0.3, 1.0, 10.0, 80.0]


def dataset(state, weights, means, **variables) -> xr.Dataset:
    """Samples with a stored mixture: full covariances, factors (component, factor, ...) or variances."""
    names = {
        "component_weights": (("component",), np.asarray(weights)),
        "component_means": (("component", "coordinate"), np.asarray(means)),
        "state": (("sample", "coordinate"), np.asarray(state)),
    }
    dims = {
        "component_covariances": ("component", "coordinate", "other"),
        "component_factors": ("component", "factor", "coordinate"),
        "component_variances": ("component",),
    }
    return xr.Dataset(names | {name: (dims[name], np.asarray(v)) for name, v in variables.items()})


def built(data, **keys):
    model = ExactMixtureSpec(**keys).build(BuildContext(data.isel(sample=[0])))
    model.prepare(batch_of(data))
    return model.eval().requires_grad_(False)


def at_ratio(model, z, ratio):
    """The denoiser at x_t = alpha (z + ratio e), given alpha times z + ratio e."""
    t = model.denoiser.schedule.time_of(torch.tensor(ratio, dtype=torch.float64))
    alpha, _ = model.denoiser.schedule(t)
    return model.denoiser((alpha * z), t).mean


MIXTURE = {
    "weights": [0.2, 0.5, 0.3],
    "means": [[-2.0, 0.5], [1.0, 1.0], [0.0, -2.0]],
    "component_covariances": [
        [[0.5, 0.3], [0.3, 0.4]],
        [[0.1, 0.0], [0.0, 1.5]],
        [[0.02, 0.01], [0.01, 0.3]],
    ],
}


@pytest.mark.parametrize("ratio", [0.05, 0.3, 1.0, 10.0])
@pytest.mark.parametrize("schedule", ["edm", "vp", "rectified"])
@pytest.mark.parametrize("scaling", ["global", "none"])
def test_it_is_the_posterior_mean_by_quadrature(ratio, schedule, scaling):
    """E[x | x_t] as a sum over a fine grid of the plane, for 6 states."""
    rng = np.random.default_rng(0)
    state = rng.standard_normal((50, 2)) * 3 + 1
    model = built(dataset(state, **MIXTURE), schedule={"kind": schedule}, scaling=scaling)
    scale, shift = float(model.space.scale.double()), float(model.space.mean.double())
    side = np.linspace(-9, 9, 901)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    density = np.zeros(len(grid))
    for w, m, c in zip(*MIXTURE.values(), strict=True):
        from_mean = grid - m
        inverse = np.linalg.inv(c)
        power = np.einsum("ni,ij,nj->n", from_mean, inverse, from_mean)
        density += w * np.sqrt(np.linalg.det(inverse)) * np.exp(-power / 2)
    noisy = rng.standard_normal((6, 2)) * 2
    encoded = torch.as_tensor((noisy - shift) / scale)
    found = at_ratio(model, encoded, ratio).numpy() * scale + shift
    for x, mean in zip(noisy, found, strict=True):
        weight = density * np.exp(-((x - grid) ** 2).sum(1) / (2 * (ratio * scale) ** 2))
        np.testing.assert_allclose(mean, weight @ grid / weight.sum(), atol=2e-6)


@pytest.mark.parametrize("schedule", ["edm", "vp", "vp_sde", "rectified"])
def test_one_gaussian_is_the_fitted_one(schedule):
    """With the moments of the training data, both denoisers agree, at every time of every schedule."""
    rng = np.random.default_rng(0)
    state = rng.standard_normal((500, 4)) @ rng.standard_normal((4, 4)) + 5.0
    moments = {"means": state.mean(0)[None], "component_covariances": np.cov(state.T, bias=True)[None]}
    data = dataset(state, weights=[1.0], **moments)
    exact = built(data, schedule={"kind": schedule})
    fitted = FittedGaussianSpec(schedule={"kind": schedule}).build(BuildContext(data.isel(sample=[0])))
    fitted.prepare(batch_of(data))
    fitted = fitted.double()
    x = torch.randn(64, 4, dtype=torch.float64)
    for t in torch.linspace(0, 1, 9, dtype=torch.float64):
        expected = fitted.denoiser(x, t).mean
        # The fitted one keeps its moments in single precision.
        torch.testing.assert_close(exact.denoiser(x, t).mean, expected, atol=2e-5, rtol=2e-5)


def test_all_forms_of_a_covariance_agree():
    """Full matrices; the same as factors; factors and a variance; rank 1 and a variance; isotropic."""
    rng = np.random.default_rng(0)
    means, weights, state = rng.standard_normal((3, 5)), [1.0, 2.0, 3.0], rng.standard_normal((40, 5))
    factors, variances = rng.standard_normal((3, 2, 5)), np.array([0.1, 0.5, 0.02])
    eye = np.eye(5)
    full = np.einsum("kri,krj->kij", factors, factors) + variances[:, None, None] * eye
    some = dataset(state, weights, means, component_factors=factors, component_variances=variances)
    whole = dataset(state, weights, means, component_covariances=full)
    round_ = dataset(state, weights, means, component_variances=variances)
    round_full = dataset(state, weights, means, component_covariances=variances[:, None, None] * eye)
    singular = dataset(state, weights, means, component_factors=factors)
    limit = dataset(state, weights, means, component_factors=factors, component_variances=[1e-15] * 3)
    x = torch.as_tensor(rng.standard_normal((30, 5)))
    for one, other in ((some, whole), (round_, round_full), (singular, limit)):
        for ratio in LEVELS[1:]:
            expected = at_ratio(built(other), x, ratio)
            torch.testing.assert_close(at_ratio(built(one), x, ratio), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("ratio", [1e-9, 1e-3, 1.0, 80.0, 1e6])
def test_points_far_from_all_components_and_any_noise_give_finite_means(ratio):
    """Two point masses: the mean is m tanh(m x / sigma^2) between them, at any noise level."""
    data = dataset([[-1.0], [1.0]], [1.0, 1.0], [[-1.0], [1.0]], component_variances=[0.0, 0.0])
    denoiser = built(data, scaling="none").denoiser
    x = torch.tensor([[-1e4], [-1.0], [-1e-3], [0.0], [0.2], [1.0], [1e4]], dtype=torch.float64)
    level = torch.full((len(x), 1), ratio, dtype=torch.float64)
    found = denoiser.mean(x, torch.ones_like(level), level)
    torch.testing.assert_close(found, torch.tanh(x / ratio**2), atol=1e-12, rtol=1e-9)


def test_without_signal_it_is_the_mean_and_without_noise_the_state():
    model = built(dataset(np.random.default_rng(0).standard_normal((50, 2)), **MIXTURE), scaling="none")
    x, one, zero = torch.randn(8, 2).double(), torch.ones(8, 1).double(), torch.zeros(8, 1).double()
    mean = torch.tensor(MIXTURE["weights"]).double() @ torch.tensor(MIXTURE["means"]).double()
    torch.testing.assert_close(model.denoiser.mean(x, zero, one), mean.expand(8, 2))
    torch.testing.assert_close(model.denoiser.mean(x, one, zero), x)


def test_its_score_is_the_gradient_of_the_log_density():
    """Tweedie: (E[x | x_t] - x_t) / sigma^2 = grad log p(x_t), by automatic differentiation."""
    model = built(dataset(np.random.default_rng(0).standard_normal((50, 2)), **MIXTURE), scaling="none")
    x = torch.randn(20, 2, dtype=torch.float64, requires_grad=True)
    parts = []
    for w, m, c in zip(*MIXTURE.values(), strict=True):
        covariance = torch.tensor(c).double() + 0.7**2 * torch.eye(2)
        normal = torch.distributions.MultivariateNormal(torch.tensor(m).double(), covariance.double())
        parts.append(normal.log_prob(x) + np.log(w))
    (score,) = torch.autograd.grad(torch.stack(parts).logsumexp(0).sum(), x)
    torch.testing.assert_close((at_ratio(model, x, 0.7) - x) / 0.7**2, score, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("form", ["full", "factors", "isotropic"])
def test_its_covariance_is_that_of_the_mixture(form):
    """Whatever the training samples are, in the space of the model."""
    rng = np.random.default_rng(0)
    means, weights = rng.standard_normal((3, 5)), np.array([1.0, 2.0, 3.0])
    factors, variances = rng.standard_normal((3, 2, 5)), np.array([0.1, 0.5, 0.02])
    eye = variances[:, None, None] * np.eye(5)
    variables, own = {
        "full": ({"component_covariances": eye + 1.0}, eye + 1.0),
        "factors": (
            {"component_factors": factors, "component_variances": variances},
            np.einsum("kri,krj->kij", factors, factors) + eye,
        ),
        "isotropic": ({"component_variances": variances}, eye),
    }[form]
    model = built(dataset(rng.standard_normal((6, 5)) + 3.0, weights, means, **variables))
    share = weights / weights.sum()
    between = means - share @ means
    expected = np.einsum("k,kij->ij", share, own + between[:, :, None] * between[:, None, :])
    found = model.space.covariance.matmul(torch.eye(5, dtype=torch.float64)).numpy()
    scale = float(model.space.scale.double())
    np.testing.assert_allclose(found * scale**2, expected, rtol=1e-5, atol=1e-5)


def test_few_eigenvectors_hold_the_covariance_of_few_factors():
    """Rank 3 + 2 - 1, with an isotropic rest, in 60 coordinates."""
    rng = np.random.default_rng(0)
    as_tensor = lambda *shape: torch.as_tensor(rng.standard_normal(shape))  # noqa: E731
    mixture = Mixture(
        weights=torch.tensor([1.0, 3.0]).double(),
        means=as_tensor(2, 60),
        factors=torch.cat([as_tensor(1, 3, 60)] * 2),
        variances=torch.tensor([0.2, 0.6]).double(),
    )
    found = covariance_of_mixture(mixture, rank=4)
    assert found.values.shape == (4,) and float(found.rest) == pytest.approx(0.5, abs=1e-4)
    whole = covariance_of_mixture(mixture, rank=60).matmul(torch.eye(60).double())
    torch.testing.assert_close(found.matmul(torch.eye(60).double()), whole, rtol=0, atol=1e-3)


def test_chunks_and_times_of_their_own_change_nothing(monkeypatch):
    model = built(dataset(np.random.default_rng(0).standard_normal((50, 2)), **MIXTURE))
    x, t = torch.randn(33, 2), torch.rand(33)
    whole = model.denoiser(x, t).mean
    assert whole.dtype == torch.float32
    monkeypatch.setattr("plumbline.models.fitted._exact_mixture.CHUNK", 40)
    torch.testing.assert_close(model.denoiser(x, t).mean, whole)
    alone = [model.denoiser(x[i : i + 1], t[i]).mean for i in range(33)]
    torch.testing.assert_close(torch.cat(alone), whole)


def test_heun_draws_the_mixture():
    """Fractions of three components, and a weighted mean, of 4,000 samples: within 4.5 standard errors.

    False alarms: 2 in 100,000. Heun's own error with 64 steps is below a tenth of a standard error.
    """
    truth = dataset(np.random.default_rng(0).standard_normal((500, 2)) * 2, **MIXTURE)
    model = built(truth)
    torch.manual_seed(0)
    batch = {"state": torch.zeros(4000, 2, dtype=torch.float64)}
    x = HeunSpec(steps=64).sample(model, SamplingTask(batch)).state.numpy()
    means = np.array(MIXTURE["means"])
    exact = np.array(MIXTURE["weights"]) @ means
    second = sum(
        w * (np.diag(c) + m**2)
        for w, m, c in zip(MIXTURE["weights"], means, MIXTURE["component_covariances"], strict=True)
    )
    assert (np.abs(x.mean(0) - exact) < 4.5 * np.sqrt((second - exact**2) / 4000)).all()
    near = np.linalg.norm(x[:, None] - means, axis=2).argmin(1)
    other = np.random.default_rng(1)
    label = other.choice(3, 200_000, p=MIXTURE["weights"])
    roots = np.linalg.cholesky(MIXTURE["component_covariances"])
    drawn = means[label] + np.einsum("nij,nj->ni", roots[label], other.standard_normal((200_000, 2)))
    expected = np.bincount(np.linalg.norm(drawn[:, None] - means, axis=2).argmin(1)) / 200_000
    error = np.sqrt(expected * (1 - expected) * (1 / 4000 + 1 / 200_000))
    assert (np.abs(np.bincount(near) / 4000 - expected) < 4.5 * error).all()


def test_the_dataset_gaussian_stores_its_own():
    splits = {"train": 40_000, "validation": 2, "test": 2}
    data = GaussianSpec(dimension=5, parts=1, splits=splits).draw_part(0)
    train = select_split(data, "train")
    exact, fitted = built(train), FittedGaussianSpec().build(BuildContext(data))
    fitted.prepare(batch_of(train))
    x = torch.randn(200, 5)
    for t in torch.linspace(0, 1, 5):
        # The fitted moments have the sampling error of 40,000 samples.
        torch.testing.assert_close(
            exact.denoiser(x, t).mean, fitted.denoiser(x, t).mean, atol=0.06, rtol=0.06
        )


def test_the_dataset_mixture_stores_its_own():
    """Tweedie's formula for its density with more noise."""
    keys = {"means": ((-1.0, 0.0), (1.0, 0.5)), "weights": (1.0, 3.0), "parts": 1}
    splits = {"train": 8, "validation": 2, "test": 2}
    spec = MixtureSpec(stds=(0.3, 0.5), splits=splits, **keys)
    model = built(spec.draw_part(0), scaling="none")
    noisier = MixtureSpec(stds=(np.hypot(0.3, 0.4), np.hypot(0.5, 0.4)), splits=splits, **keys)
    x, small = np.random.default_rng(0).standard_normal((20, 2)), 1e-5
    score = np.stack(
        [(noisier.log_density(x + d) - noisier.log_density(x - d)) / (2 * small) for d in small * np.eye(2)],
        1,
    )
    found = at_ratio(model, torch.as_tensor(x), 0.4).numpy()
    np.testing.assert_allclose(found, x + 0.4**2 * score, atol=1e-8)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_vars("component_weights"), "the dataset has no `component_weights`"),
        (lambda d: d.drop_vars("component_covariances"), "but none of `component_covariances`"),
        (
            lambda d: d.assign(component_means=(("a", "b"), np.ones((3, 3)))),
            "`component_means` has the shape",
        ),
    ],
)
def test_a_dataset_without_a_mixture_is_refused(change, message):
    data = change(dataset(np.ones((2, 2)), **MIXTURE))
    with pytest.raises(ValueError, match=message):
        ExactMixtureSpec().build(BuildContext(data))
