r"""A mixture of von Mises-Fisher distributions on a sphere, where the training samples lie too.

It is the conditional distribution of `sphere_mixture`, whose head has the formulas. There, the training
samples fill the space around the sphere. Here they lie on it, as in studies of models that are trained with
the residual of a constraint that their data satisfy. With one component at the centre, the default, the
points are uniform on the unit circle (Bastek, Sun, Kochmann 2025, appendix F.1,
https://arxiv.org/abs/2403.14404).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from plumbline.datasets._exact import Numbers
from plumbline.datasets.sphere_mixture import SphereMixtureSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class VonMisesFisherSpec(SphereMixtureSpec):
    """Points on a sphere in n dimensions, from a mixture of Gaussians given the norm.

    The samples of all splits lie on the sphere. A component at the centre gives uniform points.
    """

    kind: Literal["von_mises_fisher"] = "von_mises_fisher"  # type: ignore[assignment]
    radius: float = key(gt=0, default=1.0)
    """r, the norm of the samples."""
    means: tuple[tuple[float, ...], ...] = Field(default=((0.0, 0.0),), min_length=1)
    """The m_k: one point per component, which says the number of dimensions."""
    stds: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    """The s_k: one number per component. The concentration of a component is r |m_k| / s_k^2."""
    weights: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    """The w_k up to a common factor: one number per component."""

    def known(self) -> xr.Dataset:
        """The radius and the moments of the samples."""
        return super().known()[["radius", "conditional_mean", "conditional_covariance"]]

    def unconstrained(self, numbers: Numbers) -> np.ndarray:
        return self.constrained(numbers)
