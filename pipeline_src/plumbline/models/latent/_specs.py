"""What the specs of the latent critics and actors share."""

from __future__ import annotations

from plumbline.models import ModelSpec, PosteriorEncoding
from plumbline.models._label_specs import AnyWanted, ClassLabelsSpec


class LatentSpec(ModelSpec):
    """Base of the models in the latent space of an autoencoder."""

    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    wanted: AnyWanted = ClassLabelsSpec()
    """Labels to request of samples: a class, attributes, or levels of attributes."""

    def depends_on(self) -> dict[str, type]:
        return {self.autoencoder: PosteriorEncoding, **self.wanted.depends_on()}
