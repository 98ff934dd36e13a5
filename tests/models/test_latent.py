"""Latent constraints on an autoencoder whose latent space is known in closed form."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.linear_model import LinearRegression

from plumbline.distributions.independent_gaussian import IndependentGaussian
from plumbline.metrics import EvaluationContext
from plumbline.metrics.identity import IdentitySpec
from plumbline.metrics.label_accuracy import LabelAccuracySpec
from plumbline.metrics.level_violation import LevelViolationSpec
from plumbline.metrics.measured_labels import MeasuredLabelsSpec
from plumbline.models import BuildContext, LabelCriticising
from plumbline.models._label_specs import ListedLabelsSpec
from plumbline.models.latent._latent_critics import gradient_penalty
from plumbline.models.latent._space import LatentSpace
from plumbline.models.latent.aggregate_posterior import AggregatePosteriorSpec
from plumbline.models.latent.attribute_gaussian import AttributeGaussianSpec
from plumbline.models.latent.class_gaussian import ClassGaussianSpec
from plumbline.models.latent.latent_actor import LatentActorSpec
from plumbline.models.latent.latent_critics import LatentCriticsSpec
from plumbline.networks.perceptron import PerceptronSpec
from plumbline.samplers import SamplingTask
from plumbline.samplers.latent_descent import LatentDescentSpec
from plumbline.samplers.latent_edit import LatentEditSpec
from plumbline.samplers.latent_rejection import LatentRejectionSpec
from plumbline.samplers.latents import LatentsSpec
from plumbline.samplers.reconstruction import ReconstructionSpec
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

CENTRES = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0]])
SPREAD = 0.2
TRUNK = PerceptronSpec(width=64, layers=2, activation="relu")


class Identity(torch.nn.Module):
    """An autoencoder with a standard normal prior. Its latent vector is the sample plus noise of std .05."""

    latent = 2

    def posterior(self, batch):
        mean = batch["state"]
        return IndependentGaussian(mean, torch.full_like(mean, 0.05**2))

    def posterior_draws(self, batch):
        return self.posterior(batch).sample()

    def latent_draws(self, batch):
        return torch.randn(len(batch["state"]), 2)

    def decode(self, z, batch):
        return z


def example():
    return xr.Dataset({"state": (("sample", "component"), np.zeros((1, 2), np.float32))})


def data(count=600, seed=0):
    """Three classes, each a Gaussian of std .2 around its centre."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % 3
    state = CENTRES[label] + SPREAD * torch.randn(count, 2, generator=generator)
    return {"state": state, "label": label}


def built(spec, known=None):
    torch.manual_seed(0)
    model = spec.build(BuildContext(example(), models={"vae": Identity()}))
    model.prepare(known or data())
    return model


def trained(spec, steps, tmp_path, **keys):
    model = built(spec)
    recipe = TrainingSpec(
        steps=steps, batch=128, learning_rate=1e-3, beta1=0.0, beta2=0.9, decay="constant",
        ema=0.98, accelerator="cpu", **keys,
    )  # fmt: skip
    return train(model, InMemory(data()), recipe, seed=0, folder=tmp_path, identity="t").eval()


def nearest(x):
    return torch.cdist(x, CENTRES).argmin(1)


def task(count=600, seed=1):
    return SamplingTask(data(count, seed))


THREE = {"kind": "classes", "classes": 3}


@pytest.fixture(scope="module")
def critics(tmp_path_factory):
    spec = LatentCriticsSpec(autoencoder="vae", wanted=THREE, network=TRUNK, gradient_penalty=1.0)
    return trained(spec, 800, tmp_path_factory.mktemp("critics"))


def test_distances_are_in_deviations_of_the_posterior():
    space = LatentSpace(Identity())
    space.fit_blocks([data()])
    torch.testing.assert_close(space.std, torch.full((2,), 0.05))
    z, moved = torch.zeros(1, 2), torch.tensor([[0.1, 0.0]])
    assert float(space.distance(moved, z)) == pytest.approx(math.log(1.01) / 0.05**2 / 2, rel=1e-5)
    assert float(space.shift(moved, z)) == pytest.approx(0.1**2 / 0.05**2 / 2, rel=1e-5)


def test_the_penalty_of_a_critic_of_slope_two_is_one():
    slope = torch.tensor([[1.2], [1.6]])
    z, other = torch.randn(8, 2), torch.randn(8, 2)
    assert float(gradient_penalty(lambda x, y: x @ slope, z, other, torch.zeros(8, 0))) == pytest.approx(
        1.0, rel=1e-5
    )


def test_the_gaussians_are_those_of_the_classes():
    """200 samples per class and 20,000 draws: means within 4 times .2 / sqrt(200), stds within a fifth."""
    model = built(ClassGaussianSpec(autoencoder="vae", wanted=THREE))
    batch = data(60_000)
    z = model.latent_draws(batch)
    for label in range(3):
        own = z[batch["label"] == label]
        torch.testing.assert_close(own.mean(0), CENTRES[label], atol=4 * SPREAD / math.sqrt(200), rtol=0)
        torch.testing.assert_close(own.std(0), torch.full((2,), SPREAD), atol=0, rtol=0.2)


def test_the_gaussians_are_those_of_combinations_of_labels():
    """Four Gaussians with equal means and different covariances, from 2,000 samples and 20,000 draws each.

    Variances and covariances agree within five standard errors, sqrt(2 / 2,000) of a variance each.
    """
    generator = torch.Generator().manual_seed(4)
    attributes = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    truth = torch.tensor(
        [
            [[0.25, 0.0], [0.0, 1.0]],
            [[0.25, 0.0], [0.0, 0.25]],
            [[1.0, 0.9], [0.9, 1.0]],
            [[1.0, -0.9], [-0.9, 1.0]],
        ]
    )
    state = torch.randn(4, 2000, 2, generator=generator) @ torch.linalg.cholesky(truth).mT
    known = {"state": state.flatten(0, 1), "attributes": attributes.repeat_interleave(2000, 0)}
    listed = example().assign(attributes=(("sample", "attribute"), np.zeros((1, 2), np.int64)))
    listed = listed.assign_coords(attribute=["steep", "long"])
    model = ClassGaussianSpec(autoencoder="vae", wanted={"kind": "listed"}).build(
        BuildContext(listed, models={"vae": Identity()})
    )
    model.prepare(known)
    asked = attributes.repeat_interleave(20_000, 0)
    z = model.latent_draws({"state": torch.zeros(80_000, 2), "attributes": asked}).reshape(4, 20_000, 2)
    noise = 0.05**2 * torch.eye(2)
    for own, covariance in zip(z, truth, strict=True):
        scale = torch.outer(covariance.diag().sqrt(), covariance.diag().sqrt())
        assert ((own.T.cov() - covariance - noise).abs() < 5 * math.sqrt(2 / 2000) * scale).all()
    few = {name: x[:4001] for name, x in known.items()}
    with pytest.raises(ValueError, match="has 1 samples of wanted_steep 1, wanted_long 0; two are needed"):
        model.prepare(few)


def test_a_gaussian_each_takes_so_many_combinations():
    listed = example().assign(attributes=(("sample", "attribute"), np.zeros((1, 40), np.int64)))
    listed = listed.assign_coords(attribute=[f"a{i}" for i in range(40)])
    spec = ClassGaussianSpec(autoencoder="vae", wanted={"kind": "listed"})
    with pytest.raises(
        ValueError, match="256 classes or combinations of labels at most; take `attribute_gaussian`"
    ):
        spec.build(BuildContext(listed, models={"vae": Identity()}))


def test_the_gaussian_of_several_labels_is_a_regression():
    """Agrees with scikit-learn's least squares for mutually exclusive labels; stds within a tenth."""
    known = data()
    model = built(AttributeGaussianSpec(autoencoder="vae", wanted=THREE), known)
    y = model.wanted.of(known)
    truth = LinearRegression().fit(y, known["state"])
    batch = data(60_000)
    z = model.latent_draws(batch)
    for label in range(3):
        own = z[batch["label"] == label]
        mean = torch.as_tensor(truth.predict(np.eye(3)[[label]])[0], dtype=torch.float32)
        torch.testing.assert_close(own.mean(0), mean, atol=0.01, rtol=0)
        torch.testing.assert_close(own.std(0), torch.full((2,), SPREAD), atol=0, rtol=0.1)


def test_the_aggregate_posterior_is_the_data_with_the_posteriors_noise():
    """For one sample, 20,000 draws have the moments of the posterior.

    For many, each drawn twice, they have those of data plus noise, within four standard errors.
    """
    batch = data(20_000)
    error = 4 * 0.05 / math.sqrt(20_000)
    one = {name: x[:1] for name, x in data().items()}
    z = built(AggregatePosteriorSpec(autoencoder="vae", components=3), one).latent_draws(batch)
    torch.testing.assert_close(z.mean(0), one["state"][0], atol=error, rtol=0)
    torch.testing.assert_close(z.std(0), torch.full((2,), 0.05), atol=0, rtol=0.02)
    known = data(10_000)
    z = built(AggregatePosteriorSpec(autoencoder="vae", components=10_000), known).latent_draws(batch)
    torch.testing.assert_close(z.mean(0), known["state"].mean(0), atol=error, rtol=0)
    # The noise correlates with the data by chance only: within twice the data's std times the noise's mean.
    covariance = known["state"].T.cov(correction=0) + 0.05**2 * torch.eye(2)
    within = 2 * float(covariance.diag().max().sqrt()) * error
    torch.testing.assert_close(z.T.cov(), covariance, atol=within, rtol=0)


def test_listed_labels_are_those_of_the_dataset():
    listed = example().assign(attributes=(("sample", "attribute"), np.array([[1, 0]])))
    listed = listed.assign_coords(attribute=["Smiling", "Young"])
    labels = ListedLabelsSpec().build(BuildContext(listed))
    y = labels.of({"attributes": torch.tensor([[1, 0], [0, 0]])})
    assert y.tolist() == [[1, 0], [0, 0]]
    assert labels.changed(y).tolist() == [[0, 0], [1, 0]]
    recorded = labels.by_name(y)
    assert {name: one.tolist() for name, one in recorded.items()} == {
        "wanted_Smiling": [1, 0],
        "wanted_Young": [0, 0],
    }
    with pytest.raises(ValueError, match="the dataset lists no `attributes`"):
        ListedLabelsSpec().build(BuildContext(example()))


def test_a_class_without_samples_is_named():
    with pytest.raises(ValueError, match="`wanted`: the training data has 0 samples of wanted 3"):
        built(ClassGaussianSpec(autoencoder="vae", wanted={"kind": "classes", "classes": 4}))


def test_critics_tell_data_from_the_prior_and_its_classes(critics):
    known = data(300, seed=2)
    prior = torch.randn(300, 2)
    far = prior[torch.cdist(prior, CENTRES).min(1).values > 1.0]
    with torch.no_grad():
        assert float(critics.unrealistic(known["state"]).mean()) < 0.6
        assert float(critics.unrealistic(far).mean()) > 1.2
    y = critics.wanted.of(known)
    assert float(critics.has_labels(known["state"], y).mean()) > 0.97
    assert float(critics.has_labels(known["state"], critics.wanted.changed(y)).mean()) < 0.01
    assert float(critics.mislabelled(known["state"], y).detach().mean()) < 0.2


def test_descent_finds_the_class_and_realism_the_data(critics):
    asked = task()
    spec = LatentDescentSpec(realism_weight=1.0, steps=150)
    torch.manual_seed(0)
    drawn = spec.draw(critics, asked)
    found = drawn.by_name()
    assert float((nearest(found["state"]) == asked.batch["label"]).float().mean()) > 0.9
    assert drawn.costs.backward_passes == 150
    torch.testing.assert_close(found["wanted"], asked.batch["label"])
    alone = (
        LatentDescentSpec(realism_weight=1.0, attribute_weight=0.0, steps=150).draw(critics, task()).by_name()
    )
    gaps = [torch.cdist(x, CENTRES).min(1).values.median() for x in (alone["state"], torch.randn(600, 2))]
    assert float(gaps[0]) < 0.6 * float(gaps[1])


def test_descent_stops_where_the_critics_are_content(critics):
    torch.manual_seed(0)
    spec = LatentDescentSpec(realism_weight=1.0, steps=300, enough_realism=0.6, enough_labels=0.9)
    asked = task()
    found = spec.draw(critics, asked).by_name()
    with torch.no_grad():
        realism = (-critics.unrealistic(found["state"])).exp()
        labels = (-critics.mislabelled(found["state"], critics.wanted.of(asked.batch))).exp()
    content = (realism >= 0.6) & (labels >= 0.9)
    assert float(content.float().mean()) > 0.9
    # One step of .05 beyond the bounds, and no further.
    assert float(realism[content].median()) < 0.75
    with pytest.raises(ValueError, match="both zero: raise one, or no vector moves"):
        LatentDescentSpec(attribute_weight=0.0, realism_weight=0.0)


def test_distance_keeps_a_changed_sample_near(critics):
    torch.manual_seed(0)
    free, near = (
        LatentDescentSpec(start="posterior", distance_weight=w, steps=150).draw(critics, task()).by_name()
        for w in (0.0, 0.02)
    )
    assert float(near["latent_shift"].mean()) < 0.9 * float(free["latent_shift"].mean())
    torch.testing.assert_close(free["wanted"], (data()["label"] + 1) % 3)
    assert float((nearest(free["state"]) == free["wanted"]).float().mean()) > 0.9
    # The source is the test sample, up to the noise of the posterior.
    assert float((free["source"] - task().batch["state"]).std()) == pytest.approx(0.05, rel=0.1)


def test_rejection_draws_until_the_critic_is_content(critics):
    torch.manual_seed(0)
    found = LatentRejectionSpec(proposals=200).draw(critics, task()).by_name()
    assert float(found["accepted"].mean()) > 0.99
    assert float(critics.has_labels(found["state"], critics.wanted.of(data())).mean()) > 0.99
    few = LatentRejectionSpec(proposals=1).draw(critics, task()).by_name()
    assert float(few["accepted"].mean()) < 0.6


def test_the_actor_moves_draws_of_the_prior_to_their_classes(tmp_path):
    spec = LatentActorSpec(
        autoencoder="vae", wanted=THREE, network=TRUNK, distance=0.0, gradient_penalty=1.0, critic_steps=2
    )
    model = trained(spec, 1500, tmp_path, gradient_clip=0)
    asked = task()
    found = LatentsSpec().draw(model, asked).by_name()["state"]
    assert float((nearest(found) == asked.batch["label"]).float().mean()) > 0.95
    assert float(torch.cdist(found, CENTRES).min(1).values.mean()) < 0.6
    edited = LatentEditSpec().draw(model, task()).by_name()
    torch.testing.assert_close(edited["wanted"], (data()["label"] + 1) % 3)
    assert edited["latent_shift"].shape == (600,)


def test_the_actor_rests_at_steps_of_the_critic():
    model = built(LatentActorSpec(autoencoder="vae", wanted=THREE, network=TRUNK, critic_steps=3))
    moving = []
    for _ in range(4):
        model.zero_grad(set_to_none=True)
        loss, terms = model.loss(data(64))
        loss.backward()
        assert all(p.grad is not None for p in model.critic.parameters())
        moving.append(any(p.grad is not None for p in model.actor.parameters()))
        model.after_step(terms)
    assert moving == [True, False, False, True]


def test_the_critics_gradient_does_not_come_from_the_actor():
    """The critic's gradient is the same with and without the actor's loss."""
    model = built(LatentActorSpec(autoencoder="vae", wanted=THREE, network=TRUNK, critic_steps=2))
    gradients = []
    for steps in (0, 1):
        model.steps.fill_(steps)
        model.zero_grad(set_to_none=True)
        torch.manual_seed(3)
        model.loss(data(64))[0].backward()
        gradients.append([p.grad.clone() for p in model.critic.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


LINEAR = {"right": {"kind": "linear", "weights": [1.0, 0.0]}, "up": {"kind": "linear", "weights": [0.0, 1.0]}}


def test_measured_labels_are_sides_of_medians(critics):
    model = built(LatentCriticsSpec(autoencoder="vae", wanted={"kind": "measured", "attributes": LINEAR}))
    y = model.wanted.of(data())
    np.testing.assert_allclose(y.mean(0), 0.5, atol=0.01)
    torch.testing.assert_close(model.wanted.changed(y)[:, 0], 1 - y[:, 0])
    torch.testing.assert_close(model.wanted.changed(y)[:, 1], y[:, 1])
    recorded = model.wanted.by_name(y)
    samples = xr.Dataset(
        {"state": (("sample", "component"), data()["state"].numpy())}
        | {name: ("sample", one.numpy()) for name, one in recorded.items()}
    )
    found = MeasuredLabelsSpec(of="c").evaluate(samples, samples, EvaluationContext(models={"c": model}))
    assert float(found["has_all"]) == 1
    samples["wanted_up"] = 1 - samples["wanted_up"]
    found = MeasuredLabelsSpec(of="c").evaluate(samples, samples, EvaluationContext(models={"c": model}))
    assert (float(found["has_right"]), float(found["has_up"]), float(found["has_all"])) == (1, 0, 0)


def test_without_labels_beside_them_those_of_the_test_samples_are_asked_for():
    model = built(LatentCriticsSpec(autoencoder="vae", wanted={"kind": "measured", "attributes": LINEAR}))
    state = data(30)["state"].numpy()
    dataset = xr.Dataset(
        {"state": (("sample", "component"), state)}, coords={"split": ("sample", ["test"] * 30)}
    )
    samples = xr.Dataset(
        {"state": (("sample", "component"), state[::-1].copy()), "case": ("sample", np.arange(30)[::-1])}
    )
    by = EvaluationContext(models={"c": model})
    assert float(MeasuredLabelsSpec(of="c").evaluate(samples, dataset, by)["has_all"]) == 1


LEVELS = {"kind": "levels", "levels": {"right": {"attribute": LINEAR["right"], "level": 1.0}}}


def test_levels_are_reached_without_labels(tmp_path):
    """Zero-shot: one standard deviation to the right, by descent and by an actor."""
    critics = built(LatentCriticsSpec(autoencoder="vae", wanted=LEVELS, network=TRUNK))
    by = EvaluationContext(models={"c": critics})

    def evaluated(state):
        samples = xr.Dataset({"state": (("sample", "component"), state.numpy())})
        return LevelViolationSpec(of="c").evaluate(samples, samples, by)

    descent = LatentDescentSpec(realism_weight=0.0, steps=200)
    assert float(evaluated(descent.draw(critics, task()).by_name()["state"])["levels_reached"]) > 0.99
    before = evaluated(torch.randn(600, 2))
    # The data has std s = 1.64: a standard normal z exceeds one of these with P(z > 1.64 - .08).
    assert float(before["levels_reached"]) < 0.15
    spec = LatentActorSpec(
        autoencoder="vae", wanted=LEVELS, network=TRUNK, distance=0.0, critic_steps=1, level_weight=5.0
    )
    actor = trained(spec, 400, tmp_path)
    assert float(evaluated(LatentsSpec().draw(actor, task()).by_name()["state"])["levels_reached"]) > 0.8


def test_samples_of_the_prior_and_of_the_data_are_decoded():
    autoencoder = Identity()
    torch.manual_seed(0)
    assert abs(float(LatentsSpec().draw(autoencoder, task()).by_name()["state"].std()) - 1) < 0.1
    again = ReconstructionSpec().draw(autoencoder, task()).by_name()["state"]
    assert float((again - task().batch["state"]).std()) == pytest.approx(0.05, rel=0.1)


class Nearest(torch.nn.Module):
    """A classifier that predicts the class of the nearest centre with near certainty."""

    def log_probabilities(self, x):
        return (-100 * torch.cdist(x, CENTRES)).log_softmax(1)


def as_dataset(seed):
    known = data(600, seed)
    split = np.repeat(["validation", "test"], 300)
    return xr.Dataset(
        {
            "state": (("sample", "component"), known["state"].numpy()),
            "label": ("sample", known["label"].numpy()),
        },
        coords={"split": ("sample", split)},
    )


@pytest.mark.parametrize(("points", "collapsed"), [("spread", False), ("one", True)])
def test_more_accurate_than_real_data_without_its_variety_is_collapse(points, collapsed):
    """One in a hundred real samples is mislabelled.

    Generated samples are all right, either spread like the classes or at one point.
    """
    dataset = as_dataset(0)
    labels = dataset["label"].values
    labels[::100] = (labels[::100] + 1) % 3
    dataset["label"] = ("sample", labels)
    dataset = xr.concat([dataset, dataset.assign_coords(split=("sample", ["train"] * 600))], "sample")
    wanted = torch.arange(300) % 3
    noise = SPREAD * torch.randn(300, 2, generator=torch.Generator().manual_seed(5))
    state = CENTRES[wanted] + (noise if points == "spread" else 0 * noise)
    samples = xr.Dataset(
        {"state": (("sample", "component"), state.numpy()), "wanted": ("sample", wanted.numpy())}
    )
    found = LabelAccuracySpec(classifier="c").evaluate(
        samples, dataset, EvaluationContext(models={"c": Nearest()})
    )
    assert float(found["label_accuracy"]) == 1
    assert float(found["label_accuracy_over_real"]) == pytest.approx(0.01)
    assert bool(found["collapsed"]) is collapsed


def test_identity_is_told_of_what_was_changed():
    dataset = xr.Dataset(
        {"state": (("sample", "component"), np.array([[1.0, -1.0], [-1.0, 1.0]]))},
        coords={"split": ("sample", ["train", "train"])},
    )
    samples = xr.Dataset({"state": (("sample", "component"), np.array([[3.0, 0.0]]))})
    assert not IdentitySpec().evaluate(samples, dataset, EvaluationContext()).data_vars
    samples["source"] = (("sample", "component"), np.array([[0.0, 4.0]]))
    samples["latent_shift"] = ("sample", np.array([2.0]))
    found = IdentitySpec().evaluate(samples, dataset, EvaluationContext())
    assert float(found["distance_to_source"]) == pytest.approx(math.sqrt((9 + 16) / 2))
    assert float(found["latent_shift"]) == 2


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match=r"`wanted.classes`: .*the dataset has no `label`"):
        built(LatentCriticsSpec(autoencoder="vae", wanted=THREE), {"state": data()["state"]})
    two = {"kind": "classes", "classes": 2}
    with pytest.raises(ValueError, match=r"`wanted.classes`: expected a `label` .* from 0 to 1, found 2"):
        built(LatentCriticsSpec(autoencoder="vae", wanted=two))
    flat = {"state": torch.zeros(5, 2)}
    with pytest.raises(ValueError, match=r"`wanted.levels.right`: the attribute has the same value for all"):
        built(LatentCriticsSpec(autoencoder="vae", wanted=LEVELS), flat)
    assert LabelCriticising not in LatentCriticsSpec(autoencoder="vae", wanted=LEVELS).provides()
