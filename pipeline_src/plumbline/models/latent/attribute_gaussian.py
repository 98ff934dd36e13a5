"""A Gaussian given attributes in the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, FittedModelSpec
from plumbline.models._label_specs import AnyLabels

if TYPE_CHECKING:
    from plumbline.models.latent._attribute_gaussian import AttributeGaussian


class AttributeGaussianSpec(FittedModelSpec):
    """A Gaussian of latent vectors whose mean is linear in the labels, for labels of which there are too many combinations."""

    kind: Literal["attribute_gaussian"] = "attribute_gaussian"
    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    wanted: AnyLabels
    """The labels."""

    def build(self, on: BuildContext) -> AttributeGaussian:
        from plumbline.models.latent._attribute_gaussian import AttributeGaussian

        return AttributeGaussian(on.models[self.autoencoder], self.wanted.build(on))

    def depends_on(self) -> dict[str, str]:
        return {self.autoencoder: "posterior", **self.wanted.depends_on()}

    def provides(self) -> tuple[str, ...]:
        return ("latents", "labels")
