"""Protocols that samplers require of models. `plumbline.models` re-exports them together with its own.

A batch is a mapping from variable names to tensors (B, ...): `state` in the data's unit, and the further
variables of the dataset. A sampler uses only the shape of `state`, except where a Protocol says that samples
of the batch are encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from torch import Tensor

    from plumbline.attributes import Attribute
    from plumbline.distributions import PredictiveDistribution


@runtime_checkable
class Space(Protocol):
    """A space that a denoiser works in.

    Three further members are optional. If the coordinates are those of the data, each shifted and scaled, the
    space has `scale`: the size of one unit of each coordinate in the data's unit, a tensor that broadcasts to
    the shape of a sample (*S). It may then have `covariance`: that of the training data in its coordinates,
    flattened, as a `SpectralCovariance`. If a network decodes, the space has `decoding_evaluations`, the
    number of network evaluations per call of `decode`.
    """

    def encode(self, x: Tensor) -> Tensor:
        """Maps samples (B, *S) in the data's unit to points (B, *Z) of the space."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Maps points (B, *Z) of the space to samples (B, *S) in the data's unit; differentiable."""
        ...


@runtime_checkable
class Transporting(Protocol):
    """A model that has a flow from noise to data, given by the clean estimate at each point.

    Its denoiser is the mean of the samples whose paths cross a point. Deterministic samplers draw from it.
    """

    @property
    def denoiser(self) -> Denoiser:
        """The azula denoiser of points (B, *Z) of the space."""
        ...

    def space_of(self, batch: dict[str, Tensor]) -> Space:
        """The space that the denoiser works in, for the samples of a batch."""
        ...

    def conditions(self, batch: dict[str, Tensor]) -> Mapping[str, object]:
        """The keyword arguments of the denoiser for the samples of a batch."""
        ...


@runtime_checkable
class Denoising(Transporting, Protocol):
    """A model that has a denoiser.

    It is the posterior mean of a sample given its sum with independent Gaussian noise.
    """


@runtime_checkable
class ConditionDropping(Denoising, Protocol):
    """A model that has a denoiser with and without its condition."""

    def null_conditions(self, batch: dict[str, Tensor]) -> Mapping[str, object]:
        """The keyword arguments of the denoiser for samples of a batch whose condition is not given."""
        ...


@runtime_checkable
class Predictive(Protocol):
    """A model that predicts the state from the other variables of a sample."""

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draws a state (B, *S) in the data's unit, returned as `state`.

        Further tensors (B, ...) may follow by name. Examples are `predicted_mean` and `predicted_std` (B, *S)
        in the data's unit, and `log_likelihood` (B,), the log-likelihood of the true state in nats.
        """
        ...


@runtime_checkable
class PriorSampling(Protocol):
    """A model that draws from its prior and evaluates the likelihood of samples."""

    def draw(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draws samples (B, *S) from the prior, in the data's unit, returned as `state`.

        Further tensors refer to the samples of the batch: `reconstruction` (B, *S) in the data's unit, `elbo`
        and `log_likelihood` (B,) in nats.
        """
        ...


@runtime_checkable
class LatentVariable(Protocol):
    """A model that draws and decodes latent vectors."""

    def latent_draws(self, batch: dict[str, Tensor]) -> Tensor:
        """Draws one latent vector (B, d) per sample of the batch, under the conditions of the batch."""
        ...

    def decode(self, z: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Decodes latent vectors (B, d) to samples (B, *S) in the data's unit; differentiable."""
        ...


@runtime_checkable
class PosteriorEncoding(LatentVariable, Protocol):
    """A model that encodes each sample as a posterior distribution of its latent vector."""

    @property
    def latent(self) -> int:
        """The dimension d of a latent vector."""
        ...

    def posterior(self, batch: dict[str, Tensor]) -> PredictiveDistribution:
        """The posterior distribution (B, d) of the latent vector of each sample of the batch."""
        ...

    def posterior_draws(self, batch: dict[str, Tensor]) -> Tensor:
        """Draws one latent vector (B, d) per sample of the batch from its posterior."""
        ...


@runtime_checkable
class WantedLabels(Protocol):
    """The labels requested of samples."""

    @property
    def count(self) -> int:
        """The number C of entries of a label vector; zero if levels are requested instead of labels."""
        ...

    def of(self, batch: dict[str, Tensor]) -> Tensor:
        """The labels (B, C) of the samples of a batch, each entry one or zero."""
        ...

    def changed(self, y: Tensor) -> Tensor:
        """Labels (B, C) that differ from y (B, C), for samples that are to be edited."""
        ...

    def by_name(self, y: Tensor) -> dict[str, Tensor]:
        """The labels y (B, C) as integers (B,) by name, to be stored with the samples."""
        ...


@runtime_checkable
class WantedLevels(WantedLabels, Protocol):
    """Levels requested of attributes of the decoded samples."""

    def violation(self, x: Tensor) -> Tensor:
        """The summed violation (B,) of the levels by samples (B, *S); differentiable.

        Its unit is the standard deviation of each attribute.
        """
        ...


@runtime_checkable
class LatentVectors(Protocol):
    """The latent space of an autoencoder, with measures of displacement."""

    def prior_draws(self, batch: dict[str, Tensor]) -> Tensor:
        """Draws one latent vector (B, d) per sample of the batch from the prior."""
        ...

    def posterior_draws(self, batch: dict[str, Tensor]) -> Tensor:
        """Draws one latent vector (B, d) per sample of the batch from its posterior."""
        ...

    def decode(self, z: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Decodes latent vectors (B, d) to samples (B, *S) in the data's unit; differentiable."""
        ...

    def distance(self, moved: Tensor, z: Tensor) -> Tensor:
        """The dimensionless cost (B,) of a displacement from z to `moved` (B, d); differentiable."""
        ...

    def shift(self, moved: Tensor, z: Tensor) -> Tensor:
        """The mean square (B,) of a displacement (B, d), in standard deviations of the posterior."""
        ...


@runtime_checkable
class LatentEditing(Protocol):
    """A model that moves latent vectors until their samples have the requested labels."""

    @property
    def wanted(self) -> WantedLabels:
        """The requested labels."""
        ...

    @property
    def space(self) -> LatentVectors:
        """The latent space."""
        ...

    def moved(self, z: Tensor, y: Tensor) -> Tensor:
        """Moves latent vectors z (B, d) towards the labels y (B, C)."""
        ...

    def decode(self, z: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Decodes latent vectors (B, d) to samples (B, *S) in the data's unit; differentiable."""
        ...


@runtime_checkable
class Criticising(Protocol):
    """A model that evaluates latent vectors with critics of their realism and their labels."""

    @property
    def wanted(self) -> WantedLabels:
        """The requested labels or levels."""
        ...

    @property
    def space(self) -> LatentVectors:
        """The latent space."""
        ...

    def unrealistic(self, z: Tensor) -> Tensor:
        """-log P (B,) that latent vectors (B, d) come from data, in nats; differentiable."""
        ...

    def mislabelled(self, z: Tensor, y: Tensor) -> Tensor:
        """-log P (B,) that latent vectors (B, d) have the labels y (B, C), in nats; differentiable."""
        ...


@runtime_checkable
class LabelCriticising(Criticising, Protocol):
    """A model whose critic decides whether latent vectors have the requested labels."""

    def has_labels(self, z: Tensor, y: Tensor) -> Tensor:
        """One (B,) if each label in y (B, C) of a latent vector z (B, d) is likelier than not, else zero."""
        ...


@runtime_checkable
class Rewarding(Protocol):
    """A model that was aligned to levels of rewards, starting from a pretrained model."""

    @property
    def reference(self) -> Denoising:
        """The pretrained model."""
        ...

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        """The attribute that each of the m rewards measures, by the name of the reward."""
        ...

    @property
    def levels(self) -> Tensor:
        """The lower bounds (m,) on the mean rewards.

        They are measured from the mean reward of the pretrained model, in standard deviations of its rewards.
        """
        ...

    def rewards_of(self, x: Tensor) -> Tensor:
        """The rewards (B, m) of samples (B, *S), in the unit of the levels; differentiable."""
        ...

    def rewards(self, x: Tensor) -> Tensor:
        """The mean rewards (m,) of samples (B, *S), in the unit of the levels."""
        ...
