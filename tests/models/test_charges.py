"""Charges of frameworks: ragged batches, message passing, a distribution per framework."""

import numpy as np
import pytest
import torch
from torch_geometric.nn import GatedGraphConv

from plumbline.constraints.sum import SumSpec
from plumbline.datasets.random_frameworks import COUPLING, ELECTRONEGATIVITY, HARDNESS, RandomFrameworksSpec
from plumbline.distributions.constrained_gaussian import ConstrainedGaussian
from plumbline.linalg.covariance import Diagonal
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.predictive._node_regression import ragged
from plumbline.models.predictive.element_means import ElementMeansSpec
from plumbline.models.predictive.node_regression import NodeRegressionSpec
from plumbline.networks.gated_graph import GatedGraphSpec

NETWORK = {"kind": "gated_graph", "element_features": 4, "hidden": 8, "layers": 2, "radial": 4}


@pytest.fixture(scope="module")
def data():
    return RandomFrameworksSpec(parts=1, splits={"train": 20, "validation": 2, "test": 2}).draw_part(0)


def neutrality(data, total=0.0):
    return SumSpec(total=total).build(data)


def test_charges_are_neutral_and_equalise_electronegativity(data):
    spec = RandomFrameworksSpec(parts=1, disorder=0.0, splits={"train": 3, "validation": 2, "test": 2})
    for i in range(3):
        one = spec.framework(np.random.default_rng([0, i]))
        assert abs(one.charges.sum()) < 1e-12
        chi = ELECTRONEGATIVITY[one.species] + HARDNESS[one.species] * one.charges
        for a, b in one.bonds:
            chi[a] += COUPLING * one.charges[b]
            chi[b] += COUPLING * one.charges[a]
        np.testing.assert_allclose(chi, chi[0], atol=1e-10)
    assert np.abs(data["state"].values.sum(1)).max() < 1e-6


def test_a_ragged_batch_holds_what_the_padded_one_does(data):
    batch = batch_of(data)
    graphs = ragged(batch)
    torch.testing.assert_close(graphs.scatter(graphs.gather(batch["state"])), batch["state"])
    first = 0
    for i in range(len(batch["state"])):
        n = int(batch["present"][i].sum())
        bonds = batch["bonds"][i][batch["bonds"][i][:, 0] >= 0].long()
        own = (graphs.graph[graphs.bonds[0]] == i).nonzero().squeeze(1)
        assert torch.equal(graphs.bonds[:, own].mT - first, bonds)
        assert torch.equal(graphs.graph[first : first + n], torch.full((n,), i))
        first += n


def test_message_passing_is_that_of_pytorch_geometric(data):
    """Without bond lengths it equals its GatedGraphConv with the same weights."""
    graphs = ragged(batch_of(data))
    ours = GatedGraphSpec(element_features=4, hidden=8, layers=3).build(6)
    theirs = GatedGraphConv(8, 3)
    theirs.weight.data = torch.stack([linear.weight.mT for linear in ours.weights])
    theirs.rnn.load_state_dict(ours.update.state_dict())
    h = torch.nn.functional.pad(ours.embedding(graphs.species).sigmoid(), (0, 4))
    edges = torch.cat([graphs.bonds, graphs.bonds.flip(0)], 1)
    torch.testing.assert_close(ours(graphs.species, graphs.bonds, graphs.lengths), theirs(h, edges).relu())


@pytest.mark.parametrize("distribution", ["independent", "projected", "completed", "conditioned"])
@pytest.mark.parametrize("objective", ["absolute_error", "expected_absolute_error", "likelihood"])
def test_frameworks_are_neutral_and_everything_is_trained(data, distribution, objective):
    torch.manual_seed(0)
    model = NodeRegressionSpec(
        network=NETWORK,
        likelihood={"kind": distribution},
        objective={"kind": objective},
        constraint="neutrality",
    ).build(BuildContext(data, {"neutrality": neutrality(data)}))
    batch = batch_of(data)
    loss, _ = model.loss(batch)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() > 0, name
    with torch.no_grad():
        predictions = model.predict(batch)
    for name in ("state", "predicted_mean"):
        assert (predictions[name][~batch["present"]] == 0).all()
        feasible = neutrality(data).violation(predictions[name].float()) < 1e-6
        assert feasible.all() == (distribution != "independent")


def test_the_likelihood_of_each_framework_is_that_of_its_own_gaussian(data):
    """Agrees with the Gaussian given its sum, framework by framework."""
    total = 0.0
    model = ElementMeansSpec(likelihood={"kind": "conditioned"}, constraint="neutrality").build(
        BuildContext(data, {"neutrality": neutrality(data, total)})
    )
    batch = batch_of(data)
    model.prepare(batch)
    predictions = model.predict(batch)
    for i in range(5):
        here = batch["present"][i]
        species = batch["species"][i][here].long()
        own = SumSpec(total=total).build(data.isel(sample=[i], atom=np.flatnonzero(here.numpy())))
        distribution = ConstrainedGaussian(
            model.mean[species], Diagonal(model.variance[species]), own, validate_args=False
        )
        expected = distribution.log_prob(batch["state"][i][here].double())
        torch.testing.assert_close(predictions["log_likelihood"][i], expected)
        torch.testing.assert_close(predictions["predicted_mean"][i][here], distribution.mean)


def test_element_means_are_those_of_the_data(data):
    model = ElementMeansSpec(likelihood={"kind": "projected"}, constraint="neutrality").build(
        BuildContext(data, {"neutrality": neutrality(data)})
    )
    model.prepare(batch_of(data))
    species, charges = data["species"].values, data["state"].values.astype(float)
    for element in np.unique(species[species >= 0]):
        chosen = charges[species == element]
        assert float(model.mean[element]) == pytest.approx(chosen.mean(), abs=1e-7)
        assert float(model.variance[element]) == pytest.approx(
            max(chosen.var(), 1e-4 * charges[species >= 0].var()), rel=1e-4
        )


@pytest.mark.rejects
def test_another_constraint_is_refused(data):
    with pytest.raises(ValueError, match="kind `sum`"):
        ragged(batch_of(data)).totals(SumSpec(total=[0.0, 0.0], blocks=2).build(data.isel(atom=slice(0, 40))))
