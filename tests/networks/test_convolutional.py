"""Convolutional encoders and decoders: shapes, conditioning, the initial variance, autoencoders, errors."""

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.models import BuildContext
from plumbline.models.autoencoder.conditional_vae import ConditionalVAESpec
from plumbline.models.autoencoder.ladder_vae import LadderVAESpec
from plumbline.models.autoencoder.vae import VAESpec
from plumbline.networks import SampleShape
from plumbline.networks.convolutional import ConvolutionalSpec
from plumbline.networks.deconvolutional import DeconvolutionalSpec
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

ENCODER = ConvolutionalSpec(channels=(8, 16), kernels=(5, 3))
DECODER = DeconvolutionalSpec(channels=(16, 8), kernels=(3, 5))


@pytest.mark.parametrize("shape", [(8, 12), (3, 16, 8), (2, 3, 8, 8)])
@pytest.mark.parametrize("conditions", [0, 4])
def test_features_and_pictures_have_the_shapes_that_are_told(shape, conditions):
    sample = SampleShape(shape, (False, False))
    numbers = int(np.prod(shape))
    features = ENCODER.encoder(sample, conditions)(torch.randn(5, numbers + conditions))
    assert features.shape == (5, ENCODER.features_of(sample))
    mean, variance = DECODER.head(sample, 0.5, 0.1)(DECODER.decoder(7, sample)(torch.randn(5, 7)))
    assert mean.shape == variance.shape == (5, numbers)
    # The variance starts at the square of the requested std everywhere.
    torch.testing.assert_close(variance, torch.full_like(variance, 0.25))


def test_what_is_told_changes_the_features_and_a_shift_by_the_stride_moves_them():
    sample = SampleShape((16, 16), (False, False))
    encoder = ENCODER.encoder(sample, 2)
    x = torch.zeros(1, 16, 16)
    x[0, 6:9, 6:9] = torch.randn(3, 3)
    conditions = torch.tensor([[0.0, 0.0]])
    features = encoder(torch.cat([x.flatten(1), conditions], 1)).view(16, 4, 4)
    moved = encoder(torch.cat([x.roll(4, 2).flatten(1), conditions], 1)).view(16, 4, 4)
    assert torch.allclose(moved[:, 1:3, 2], features[:, 1:3, 1], atol=1e-6)
    assert not torch.allclose(features.flatten(), encoder(torch.cat([x.flatten(1), conditions + 1], 1))[0])


def bars(count: int) -> xr.Dataset:
    """8 x 8 images of a bar at one of four heights, which is the label, and of random strength."""
    generator = np.random.default_rng(0)
    label = generator.integers(0, 4, count)
    image = np.zeros((count, 8, 8), dtype=np.float32)
    for row in range(2):
        image[np.arange(count), 2 * label + row] = generator.uniform(0.5, 1.5, (count, 1))
    return xr.Dataset({"state": (("sample", "y", "x"), image), "label": ("sample", label)})


@pytest.mark.parametrize("kind", [VAESpec, ConditionalVAESpec])
def test_an_autoencoder_with_convolutions_learns_what_two_numbers_tell(kind, tmp_path):
    """Height and strength of the bar determine an image: two dimensions, or one in addition to the label."""
    torch.manual_seed(0)
    data = bars(1024)
    classes = {"wanted": {"kind": "classes", "classes": 4}} if kind is ConditionalVAESpec else {}
    spec = kind(
        latent=4, encoder=ENCODER, decoder=DECODER, likelihood={"kind": "independent"},
        objective={"kind": "likelihood"},
        scaling="global", initial_std=0.3, min_std=0.2, **classes,
    )  # fmt: skip
    model = spec.build(BuildContext(data, {}))
    batch = {"state": torch.as_tensor(data["state"].values), "label": torch.as_tensor(data["label"].values)}
    model.prepare(batch)
    training = TrainingSpec(steps=600, batch=64, learning_rate=3e-3, ema=0.98, accelerator="cpu")
    model = train(model, InMemory(batch), training, seed=0, folder=tmp_path, identity="test").eval()
    with torch.no_grad():
        read = [model.scaled(batch)]
        conditions = [torch.nn.functional.one_hot(batch["label"], 4).float()] if classes else []
        z = model.posterior_head(model.encoder(torch.cat([*read, *conditions], 1)))[0]
        error = (model.decode(z, batch) - batch["state"]).square().mean()
    assert error < 0.1 * batch["state"].var()


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ENCODER.encoder(SampleShape((6, 8), (False, False)), 0), "divisible by 4, found 6 x 8"),
        (lambda: DECODER.decoder(3, SampleShape((12,), ())), "use `mlp`"),
        (lambda: ConvolutionalSpec(channels=(8,), kernels=(4,)), "`kernels` must be odd, found 4"),
        (
            lambda: DeconvolutionalSpec(channels=(8, 8), kernels=(3,)),
            "must have the same length, found 2 and 1",
        ),
        (lambda: LadderVAESpec(encoder={"kind": "convolutional"}), "unknown kind 'convolutional'"),
        (lambda: VAESpec(encoder={"kind": "deconvolutional"}), "expected one of: convolutional, perceptron"),
    ],
)
def test_networks_that_do_not_fit_are_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()
