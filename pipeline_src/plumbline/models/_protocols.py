"""Protocols that models require of other models, and metrics of models.

Those that samplers require are in `plumbline.samplers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from plumbline.models._preparing import SampleBlock
    from plumbline.models._spaces import Standardisation
    from plumbline.samplers._models import WantedLabels


@runtime_checkable
class Preparing(Protocol):
    """A model that fits, once and before training, what has a closed form."""

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits standardisation, moments and the like to the training data.

        Args:
            data: tensors (N, ...) by name, `state` in the data's unit. Tensors (N, ...) that the method adds
                become part of the training batches.
        """
        ...


@runtime_checkable
class PreparingInBlocks(Preparing, Protocol):
    """A model that can be prepared from blocks of its training data, which need not fit into memory."""

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits what `prepare` fits, up to rounding, and adds no tensors.

        Args:
            blocks: the training data in its order, each block as tensors (n, ...) by name. They can be passed
                through several times, and a tensor may be read when it is looked up.
        """
        ...


@runtime_checkable
class TakesOverWeights(Protocol):
    """A model that takes over the weights of another kind of model."""

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Loads the usable ones of the weights, tensors by name, of the model named by `initialise`."""
        ...


@runtime_checkable
class MirrorMap(Protocol):
    """A model that maps samples to a space without the constraint, and back."""

    @property
    def space(self) -> Standardisation:
        """The scaling of samples, in which the maps work."""
        ...

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of one `decoded`."""
        ...

    def image(self, z: Tensor) -> Tensor:
        """The images g(z) (B, *S) of scaled samples (B, *S), in their dtype."""
        ...

    def decoded(self, y: Tensor) -> Tensor:
        """The scaled samples f(y) (B, *S) of generated images (B, *S), in their dtype."""
        ...


@runtime_checkable
class Restoring(Protocol):
    """A model that moves generated samples closer to a constraint."""

    @property
    def space(self) -> Standardisation:
        """The scaling of samples, in which the model works."""
        ...

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of one `decoded`."""
        ...

    def decoded(self, y: Tensor) -> Tensor:
        """The restored samples (B, *S) for generated ones (B, *S), both scaled, in their dtype."""
        ...


@runtime_checkable
class Labelled(Protocol):
    """A model with labels or levels that can be requested of samples."""

    @property
    def wanted(self) -> WantedLabels:
        """The labels or levels."""
        ...


@runtime_checkable
class AttributePredicting(Protocol):
    """A model that predicts which attributes a sample has."""

    def logits(self, x: Tensor) -> Tensor:
        """The logits (B, attributes) of samples (B, *S) in the data's unit: positive if predicted."""
        ...


@runtime_checkable
class FeatureExtracting(Protocol):
    """A model that extracts features of samples, in which samples are compared."""

    def features(self, x: Tensor) -> Tensor:
        """The dimensionless features (B, F) of samples (B, *S) in the data's unit."""
        ...
