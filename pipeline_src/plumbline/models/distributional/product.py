"""Products of trained diffusion models, with powers found by dual ascent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from plumbline.models import BuildContext, Denoising, ModelSpec
from plumbline.models.distributional._multiplier_specs import AnyWeights, SimplexAscentSpec
from plumbline.samplers import AnyDenoisingSampler, DenoisingSpec
from plumbline.samplers.annealed_langevin import AnnealedLangevinSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.distributional._product import Product


class ProductSpec(ModelSpec):
    """The distribution that minimises its largest divergence from the experts: a product of their powers.

    Source: Khalafi, Hounie, Ding, Ribeiro (NeurIPS 2025), algorithm 3, https://arxiv.org/abs/2508.19104.
    """

    kind: Literal["product"] = "product"
    experts: tuple[str, ...] = Field(min_length=2)
    """Names of the diffusion models."""
    weights: AnyWeights = SimplexAscentSpec(learning_rate=0.02)
    """Powers of the experts, which sum to one: by dual ascent, or all equal."""
    sampler: AnyDenoisingSampler = AnnealedLangevinSpec()
    """Sampler for estimating the divergences; the report's samples come from the sampler of the method."""
    smoothing: float = key("standard deviations of the first expert's data", gt=0, default=0.1)
    """Noise on both distributions of a divergence."""

    def build(self, on: BuildContext) -> Product:
        from plumbline.models.distributional._product import Product

        assert isinstance(self.sampler, DenoisingSpec)
        return Product(
            {name: on.model(name, Denoising) for name in self.experts},
            powers=self.weights.build(len(self.experts)),
            sampler=self.sampler,
            smoothing=self.smoothing,
        )

    def depends_on(self) -> dict[str, type]:
        return dict.fromkeys(self.experts, Denoising)

    def bounds(self) -> dict[str, tuple[str, float | None]]:
        return {name: (f"divergence_{name}", None) for name in self.experts}
