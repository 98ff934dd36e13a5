"""A Gaussian a class in the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, FittedModelSpec
from plumbline.models._label_specs import AnyLabels, ClassLabelsSpec

if TYPE_CHECKING:
    from plumbline.models.latent._class_gaussian import ClassGaussian


class ClassGaussianSpec(FittedModelSpec):
    """A Gaussian for each class, or combination of labels, fitted to the latent vectors of its training samples: the baseline
    without training."""

    kind: Literal["class_gaussian"] = "class_gaussian"
    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    wanted: AnyLabels = ClassLabelsSpec()
    """The classes, or the labels that are combined; of many labels, take `attribute_gaussian`."""

    def build(self, on: BuildContext) -> ClassGaussian:
        from plumbline.models.latent._class_gaussian import ClassGaussian

        return ClassGaussian(on.models[self.autoencoder], self.wanted.build(on))

    def depends_on(self) -> dict[str, str]:
        return {self.autoencoder: "posterior", **self.wanted.depends_on()}

    def provides(self) -> tuple[str, ...]:
        return ("latents", "labels")
