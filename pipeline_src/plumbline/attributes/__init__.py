"""Attributes: numbers that are measured of a sample and can be differentiated by it, such as the slant of a digit.

Models are trained to reach levels of them on average. An attribute has
`value(x) -> (B,)` for samples (B, *S) in the data's own units, in batches, on any device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from plumbline._lazy import exports
from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor


class Attribute:
    """A number of each sample."""

    def value(self, x: Tensor) -> Tensor:
        """The numbers (B,) of samples (B, *S), differentiable in them."""
        raise NotImplementedError


class AttributeSpec(Kind):
    """Base of the attribute kinds."""

    def build(self, example: xr.Dataset, models: Mapping[str, Any]) -> Attribute:
        """The attribute.

        Args:
            example: a sample of the dataset with its coordinates and attributes.
            models: trained models by name, those that it is measured by.
        """
        raise NotImplementedError

    def depends_on(self) -> dict[str, str]:
        """The study's models that it is measured by, and what it needs of each."""
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
"""Public classes of the room's modules, imported when they are first asked for."""
