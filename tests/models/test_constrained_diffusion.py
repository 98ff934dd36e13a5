"""Diffusion under an equality: feasible at all noise levels, exact on Gaussian data."""

import pytest
import torch

from plumbline.constraints.linear_equality import LinearEqualitySpec
from plumbline.constraints.sum import SumSpec
from plumbline.datasets.digits import DigitsSpec
from plumbline.datasets.sp500_returns import SP500ReturnsSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.constrained.constrained_diffusion import ConstrainedDiffusionSpec
from plumbline.models.constrained.null_space_diffusion import NullSpaceDiffusionSpec
from plumbline.samplers import SamplerSpec, SamplingTask
from plumbline.spec import of_kind

MLP = {"kind": "mlp", "width": 16, "blocks": 1, "embedding": 8}
UNET = {"kind": "unet", "channels": (4, 8), "blocks": (1, 1), "embedding": 8}
SPLITS = {"train": 40, "validation": 2, "test": 2}


def digits():
    data = DigitsSpec(brightness=19.5, parts=1, splits=SPLITS).draw_part(0)
    return data, SumSpec(total=19.5).build(data)


def returns():
    data = SP500ReturnsSpec(parts=1, splits=SPLITS).draw_part(0)
    return data, LinearEqualitySpec(matrix="portfolio_matrix", target="portfolio_target").build(data)


def built(spec_class, dataset, network=MLP, **values):
    data, constraint = dataset()
    torch.manual_seed(0)
    model = spec_class(network=network, constraint="equality", **values).build(
        BuildContext(data, {"equality": constraint})
    )
    model.prepare(batch_of(data))
    for parameter in model.parameters():  # an untrained network with nonzero output
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval(), data, constraint


@pytest.mark.parametrize("distribution", ["projected", "completed", "conditioned"])
@pytest.mark.parametrize(("dataset", "network"), [(digits, MLP), (digits, UNET), (returns, MLP)])
@pytest.mark.parametrize("objective", ["likelihood", "expected_squared_error", "squared_error"])
def test_the_denoised_estimate_is_feasible_at_every_noise(distribution, dataset, network, objective):
    model, data, constraint = built(
        ConstrainedDiffusionSpec,
        dataset,
        network,
        likelihood={"kind": distribution},
        objective={"kind": objective},
    )
    batch = batch_of(data)
    loss, _ = model.loss(batch)
    assert torch.isfinite(loss)
    with torch.no_grad():
        for t in (0.0, 0.3, 1.0):
            x_t = torch.randn_like(batch["state"])
            mean = model.denoiser(x_t, torch.tensor(t), **model.conditions(batch)).mean
            assert (constraint.violation(model.space_of(batch).decode(mean.double())) < 1e-6).all()


@pytest.mark.parametrize("sampler", ["heun", "ddim", "ddpm"])
@pytest.mark.parametrize("dataset", [digits, returns])
def test_samples_are_feasible_to_single_precision(sampler, dataset):
    """This holds for any weights, here for random ones."""
    values = {"likelihood": {"kind": "conditioned"}, "objective": {"kind": "likelihood"}}
    for spec_class, more in ((ConstrainedDiffusionSpec, values), (NullSpaceDiffusionSpec, {})):
        model, data, constraint = built(spec_class, dataset, **more)
        spec = of_kind(SamplerSpec, {"kind": sampler, "steps": 4})
        found = spec.sample(model, SamplingTask(batch_of(data))).state
        assert found.dtype == torch.float32
        assert (constraint.violation(found) < 1e-6).all()


def test_with_equal_variances_the_law_is_projection():
    """With a variance head of constant output, conditioning is Euclidean projection."""
    values = {"objective": {"kind": "likelihood"}}
    conditioned, data, _ = built(
        ConstrainedDiffusionSpec, digits, likelihood={"kind": "conditioned"}, **values
    )
    projected, *_ = built(ConstrainedDiffusionSpec, digits, likelihood={"kind": "projected"}, **values)
    projected.load_state_dict(conditioned.state_dict())
    batch = batch_of(data)
    x_t, t = torch.randn_like(batch["state"]), torch.tensor(0.4)

    def mean(model):
        with torch.no_grad():
            return model.denoiser(x_t, t, **model.conditions(batch)).mean

    assert (mean(conditioned) - mean(projected)).abs().max() > 1e-3
    exit_layer = conditioned.denoiser.backbone.exit[-1]
    for model in (conditioned, projected):
        exit_layer = model.denoiser.backbone.exit[-1]
        exit_layer.weight.data[64:], exit_layer.bias.data[64:] = 0.0, 0.3
    torch.testing.assert_close(mean(conditioned), mean(projected), rtol=1e-5, atol=1e-5)


def test_null_space_coordinates_lose_nothing():
    model, data, _ = built(NullSpaceDiffusionSpec, returns)
    batch = batch_of(data)
    space = model.space_of(batch)
    y = space.encode(batch["state"].double())
    assert y.shape == (len(batch["state"]), 20)
    torch.testing.assert_close(space.decode(y), batch["state"].double(), rtol=0, atol=1e-5)


def test_a_backbone_of_two_outputs_gives_both():
    from plumbline.networks import SampleShape
    from plumbline.networks.mlp import MLPSpec
    from plumbline.networks.unet import UNetSpec

    shape = SampleShape((2, 8, 8), (False, False), outputs=2)
    for spec in (MLPSpec(width=8, blocks=1, embedding=8), UNetSpec(channels=(4,), blocks=(1,), embedding=8)):
        assert spec.build(shape)(torch.randn(3, 2, 8, 8), torch.zeros(3)).shape == (3, 2, 2, 8, 8)
