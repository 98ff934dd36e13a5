"""A Gaussian in the latent space, given attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, FittedModelSpec, Labelled, LatentVariable, PosteriorEncoding
from plumbline.models._label_specs import AnyLabels

if TYPE_CHECKING:
    from plumbline.models.latent._attribute_gaussian import AttributeGaussian


class AttributeGaussianSpec(FittedModelSpec):
    """A Gaussian of latent vectors whose mean is linear in the labels, for many combinations of labels."""

    kind: Literal["attribute_gaussian"] = "attribute_gaussian"
    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    wanted: AnyLabels
    """The labels."""

    def build(self, on: BuildContext) -> AttributeGaussian:
        from plumbline.models.latent._attribute_gaussian import AttributeGaussian

        return AttributeGaussian(on.model(self.autoencoder, PosteriorEncoding), self.wanted.build(on))

    def depends_on(self) -> dict[str, type]:
        return {self.autoencoder: PosteriorEncoding, **self.wanted.depends_on()}

    def provides(self) -> tuple[type, ...]:
        return (LatentVariable, Labelled)
