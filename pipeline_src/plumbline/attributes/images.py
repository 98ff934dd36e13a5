r"""Attributes of images of bright objects on a dark background, such as handwritten digits.

**Ink** is the mean brightness. **Slant** is the shear that would make a digit upright. It is computed from
the moments of the brightness I about its centre (Castro et al., JMLR 2019, section 2.2,
https://arxiv.org/abs/1809.10780): with x to the right and y downwards,

    slant = -sum I (x - x_c)(y - y_c) / sum I (y - y_c)^2,

which is positive for strokes that lean to the right. **Symmetry** is minus the mean absolute difference
between an image and its mirror image. **Area** is the fraction of the image that is brighter than one half,
with a soft threshold. **Thickness** is twice the total brightness divided by the total variation: a stroke of
width w and length l has a total brightness of w l and a total variation of 2 l.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from plumbline.attributes import Attribute, AttributeSpec
from plumbline.coordinates import require_rows_and_columns

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor, nn

# Added to total brightness, moments and total variation, so that attributes of a black image are finite.
LEAST_MOMENT = 1e-6
# Width of the soft threshold of the area, in brightness.
EDGE = 0.1


class InkSpec(AttributeSpec):
    """Mean brightness."""

    kind: Literal["ink"] = "ink"

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
        return _Ink()


class AreaSpec(AttributeSpec):
    """Fraction of the image that is brighter than one half, where the largest brightness is one."""

    kind: Literal["area"] = "area"

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
        return _Area()


class ThicknessSpec(AttributeSpec):
    """Width of the strokes, in columns."""

    kind: Literal["thickness"] = "thickness"

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
        require_rows_and_columns(example, f"`{self.kind}`")
        return _Thickness()


class SlantSpec(AttributeSpec):
    """Shear to the right, in columns per row."""

    kind: Literal["slant"] = "slant"

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
        require_rows_and_columns(example, f"`{self.kind}`")
        return _Slant()


class SymmetrySpec(AttributeSpec):
    """Minus the mean absolute difference between an image and its mirror image, left to right."""

    kind: Literal["symmetry"] = "symmetry"

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
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
