"""Attributes: differentiable quantities that are measured of each sample, such as the slant of a digit.

Models can be trained to reach given levels of them on average. An attribute has `value(x) -> (B,)` for a
batch of samples (B, *S) in the data's units, on any device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

from plumbline._lazy import exports
from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor, nn


class Attribute:
    """A scalar quantity of each sample."""

    def value(self, x: Tensor) -> Tensor:
        """The values (B,) of samples (B, *S) in the data's units, differentiable in x."""
        raise NotImplementedError


@runtime_checkable
class Classifying(Protocol):
    """A model that predicts class probabilities of samples."""

    def log_probabilities(self, x: Tensor) -> Tensor:
        """The log-probabilities (B, classes) of samples (B, *S) in the data's units, differentiable in x."""
        ...


class AttributeSpec(Kind):
    """Base of the attribute kinds."""

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
        """Builds the attribute.

        Args:
            example: a sample of the dataset with its coordinates and attributes.
            models: the trained models that it depends on, by name.

        Raises:
            ValueError: the attribute is not defined for samples of this kind.
            TypeError: a model does not satisfy the required Protocol.
        """
        raise NotImplementedError

    def depends_on(self) -> dict[str, type]:
        """The study's models that the attribute uses, and the Protocol that each must satisfy."""
        return {}


AnyAttribute = Annotated[AttributeSpec, ByKind()]

__getattr__ = exports(
    __name__,
    {
        "class_score": ("ClassScoreSpec",),
        "fields": (
            "EnstrophySpec",
            "BandEnergySpec",
        ),
        "forms": (
            "LinearSpec",
            "NearnessSpec",
        ),
        "minus": ("MinusSpec",),
        "images": (
            "InkSpec",
            "AreaSpec",
            "ThicknessSpec",
            "SlantSpec",
            "SymmetrySpec",
        ),
    },
)
"""Public classes of the room's modules, imported when first used."""
