"""What the specs of the variational autoencoders share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict

from plumbline.constraints import LinearEqualityConstraint
from plumbline.models import BuildContext, PriorSampling
from plumbline.models._output_specs import FeasibleModelSpec, Supervision
from plumbline.networks import AnyDecoder, AnyEncoder
from plumbline.networks.perceptron import PerceptronSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models._spaces import Scaling


class OutputOptions(TypedDict):
    """Keyword arguments of `Autoencoder` about its output; all autoencoders pass them on."""

    by: Supervision
    scaling: Scaling
    constraint: LinearEqualityConstraint | None
    initial_std: NotRequired[float]
    min_std: NotRequired[float]
    importance_samples: NotRequired[int]


class AutoencoderSpec(FeasibleModelSpec):
    """Base of the autoencoders: networks, and the likelihood of the output."""

    encoder: AnyEncoder = PerceptronSpec(width=256, layers=2)
    """Network from a sample to features."""
    decoder: AnyDecoder = PerceptronSpec(width=256, layers=2)
    """Network from a latent vector to features."""
    importance_samples: int = key("draws", ge=1, default=100)
    """Latent samples in the importance-sampled likelihood."""

    def output_options(self, on: BuildContext) -> OutputOptions:
        """The keyword arguments about the output."""
        return {
            "by": self.supervision(),
            "scaling": self.scaling,
            "constraint": on.linear(self.constraint),
            "initial_std": self.initial_std,
            "min_std": self.min_std,
            "importance_samples": self.importance_samples,
        }

    def provides(self) -> tuple[type, ...]:
        return (PriorSampling,)
