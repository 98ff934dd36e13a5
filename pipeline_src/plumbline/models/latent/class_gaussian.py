"""One Gaussian per class in the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, FittedModelSpec, Labelled, LatentVariable, PosteriorEncoding
from plumbline.models._label_specs import AnyLabels, ClassLabelsSpec

if TYPE_CHECKING:
    from plumbline.models.latent._class_gaussian import ClassGaussian


class ClassGaussianSpec(FittedModelSpec):
    """One Gaussian per class or combination of labels, fitted in closed form: a baseline without training."""

    kind: Literal["class_gaussian"] = "class_gaussian"
    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    wanted: AnyLabels = ClassLabelsSpec()
    """The classes, or the labels to combine; for many labels, take `attribute_gaussian`."""

    def build(self, on: BuildContext) -> ClassGaussian:
        from plumbline.models.latent._class_gaussian import ClassGaussian

        return ClassGaussian(on.model(self.autoencoder, PosteriorEncoding), self.wanted.build(on))

    def depends_on(self) -> dict[str, type]:
        return {self.autoencoder: PosteriorEncoding, **self.wanted.depends_on()}

    def provides(self) -> tuple[type, ...]:
        return (LatentVariable, Labelled)
