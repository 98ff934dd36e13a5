"""Variational autoencoders with a constrained output, a constrained latent space, or neither."""

from __future__ import annotations

from typing import Any

from plumbline.models import BuildContext
from plumbline.models._output_specs import FeasibleModelSpec
from plumbline.networks import AnyDecoder, AnyEncoder
from plumbline.networks.perceptron import PerceptronSpec
from plumbline.spec import key


class AutoencoderSpec(FeasibleModelSpec):
    """What the plain and the ladder autoencoder share: networks, and the law of the output."""

    encoder: AnyEncoder = PerceptronSpec(width=256, layers=2)
    """The network from a sample to features."""
    decoder: AnyDecoder = PerceptronSpec(width=256, layers=2)
    """The network from a latent vector to features."""
    importance_samples: int = key("draws", ge=1, default=100)
    """Draws of the importance-sampled likelihood."""

    def shared(self, on: BuildContext) -> dict[str, Any]:
        """The keyword arguments that all autoencoders take."""
        return {
            "encoder": self.encoder,
            "decoder": self.decoder,
            "by": self.supervision(),
            "scaling": self.scaling,
            "constraint": on.constraint(self.constraint),
            "initial_std": self.initial_std,
            "min_std": self.min_std,
            "importance_samples": self.importance_samples,
        }

    def provides(self) -> tuple[str, ...]:
        return ("prior",)
