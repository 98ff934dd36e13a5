"""Products of trained diffusion models, whose weights dual ascent finds (Khalafi, Hounie, Ding, Ribeiro, 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from plumbline.models import BuildContext, ModelSpec
from plumbline.models.distributional._multiplier_specs import AnyWeights, SimplexAscentSpec
from plumbline.samplers import AnyDenoisingSampler, DenoisingSpec
from plumbline.samplers.annealed_langevin import AnnealedLangevinSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.distributional._product import Product


class ProductSpec(ModelSpec):
    """The distribution that is nearest to the expert that it is farthest from: a product of powers of the experts."""

    kind: Literal["product"] = "product"
    experts: tuple[str, ...] = Field(min_length=2)
    """Names of the diffusion models."""
    weights: AnyWeights = SimplexAscentSpec(learning_rate=0.02)
    """How the powers are set, which sum to one: by ascent, or all alike."""
    sampler: AnyDenoisingSampler = AnnealedLangevinSpec()
    """How samples are drawn that divergences are estimated on; those of the report by the sampler of the method."""
    smoothing: float = key("standard deviations of the first expert's data", gt=0, default=0.1)
    """Noise on both sides of a divergence."""

    def build(self, on: BuildContext) -> Product:
        from plumbline.models.distributional._product import Product

        assert isinstance(self.sampler, DenoisingSpec)
        return Product(
            {name: on.models[name] for name in self.experts},
            powers=self.weights.build(len(self.experts)),
            sampler=self.sampler,
            smoothing=self.smoothing,
        )

    def depends_on(self) -> dict[str, str]:
        return dict.fromkeys(self.experts, "denoiser")

    def bounds(self) -> dict[str, tuple[str, float | None]]:
        return {name: (f"divergence_{name}", None) for name in self.experts}
