r"""Attributes of pictures of something bright on a dark ground, such as handwritten digits.

**Ink** is the mean brightness. **Slant** is the shear that would put a picture upright, from the moments of its brightness I
about its centre (Castro et al., JMLR 2019, section 2.2): with x to the right and y downwards,

    slant = -sum I (x - x_c)(y - y_c) / sum I (y - y_c)^2,

positive for strokes that lean to the right. **Symmetry** is minus the mean absolute difference from the mirror image. **Area** is
the share of the picture that is brighter than half, with a soft edge. **Thickness** is twice the ink over the total variation: a
stroke of width w and length l has w l of the one and 2 l of the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from plumbline.attributes import Attribute, AttributeSpec
from plumbline.coordinates import require_rows_and_columns

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

# Brightness under the root of the moments, which keeps a black picture's slant finite.
LEAST_MOMENT = 1e-6
# Width of the soft edge of an area, in brightness.
EDGE = 0.1


class InkSpec(AttributeSpec):
    """Mean brightness."""

    kind: Literal["ink"] = "ink"

    def build(self, example: xr.Dataset, models: Mapping[str, Any]) -> Attribute:
        return _Ink()


class AreaSpec(AttributeSpec):
    """Share of the picture that is brighter than half of the largest brightness, one."""

    kind: Literal["area"] = "area"

    def build(self, example: xr.Dataset, models: Mapping[str, Any]) -> Attribute:
        return _Area()


class ThicknessSpec(AttributeSpec):
    """Width of strokes, in columns."""

    kind: Literal["thickness"] = "thickness"

    def build(self, example: xr.Dataset, models: Mapping[str, Any]) -> Attribute:
        require_rows_and_columns(example, f"`{self.kind}`")
        return _Thickness()


class SlantSpec(AttributeSpec):
    """Shear to the right, in columns a row."""

    kind: Literal["slant"] = "slant"

    def build(self, example: xr.Dataset, models: Mapping[str, Any]) -> Attribute:
        require_rows_and_columns(example, f"`{self.kind}`")
        return _Slant()


class SymmetrySpec(AttributeSpec):
    """Minus the mean absolute difference of a picture and its mirror image, left to right."""

    kind: Literal["symmetry"] = "symmetry"

    def build(self, example: xr.Dataset, models: Mapping[str, Any]) -> Attribute:
        require_rows_and_columns(example, f"`{self.kind}`")
        return _Symmetry()


class _Ink(Attribute):
    def value(self, x: Tensor) -> Tensor:
        return x.flatten(1).mean(1)


class _Area(Attribute):
    def value(self, x: Tensor) -> Tensor:
        return ((x - 0.5) / EDGE).sigmoid().flatten(1).mean(1)


class _Thickness(Attribute):
    def value(self, x: Tensor) -> Tensor:
        from torch.nn.functional import pad

        bright = x.clamp(min=0).reshape(len(x), -1, *x.shape[-2:]).sum(1)
        framed = pad(bright, (1, 1, 1, 1))
        down = (framed[:, 1:, :-1] - framed[:, :-1, :-1]).square()
        right = (framed[:, :-1, 1:] - framed[:, :-1, :-1]).square()
        variation = (down + right + LEAST_MOMENT**2).sqrt().sum((1, 2))
        return 2 * bright.sum((1, 2)) / (variation + LEAST_MOMENT)


class _Slant(Attribute):
    def value(self, x: Tensor) -> Tensor:
        import torch

        bright = x.clamp(min=0).reshape(len(x), -1, *x.shape[-2:]).sum(1)
        total = bright.sum((1, 2)) + LEAST_MOMENT
        down = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device)
        right = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)
        below = down[None] - (bright.sum(2) @ down / total)[:, None]
        beside = right[None] - (bright.sum(1) @ right / total)[:, None]
        mixed = torch.einsum("bhw,bh,bw->b", bright, below, beside)
        upright = torch.einsum("bhw,bh->b", bright, below.square())
        return -mixed / (upright + LEAST_MOMENT)


class _Symmetry(Attribute):
    def value(self, x: Tensor) -> Tensor:
        return -(x - x.flip(-1)).abs().flatten(1).mean(1)
