"""Latent constraints: critics and actors in an autoencoder's latent space (Engel, Hoffman, Roberts, ICLR 2018)."""

from __future__ import annotations

from plumbline.models import ModelSpec
from plumbline.models._label_specs import AnyWanted, ClassLabelsSpec


class LatentSpec(ModelSpec):
    """Base of the models in the latent space of an autoencoder."""

    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    wanted: AnyWanted = ClassLabelsSpec()
    """What samples are to have: a class, attributes, or levels of them."""

    def depends_on(self) -> dict[str, str]:
        return {self.autoencoder: "posterior", **self.wanted.depends_on()}
