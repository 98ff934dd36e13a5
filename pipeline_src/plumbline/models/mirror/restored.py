"""A diffusion model whose samples are restored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, Denoising, FittedModelSpec, Restoring

if TYPE_CHECKING:
    from plumbline.models.mirror._restored import RestoredDiffusion


class RestoredSpec(FittedModelSpec):
    """A diffusion model in any space, followed by a restorer; nothing is trained."""

    kind: Literal["restored"] = "restored"
    diffusion: str
    """Name of the diffusion model."""
    restorer: str
    """Name of the restorer."""

    def build(self, on: BuildContext) -> RestoredDiffusion:
        from plumbline.models.mirror._restored import RestoredDiffusion

        return RestoredDiffusion(on.model(self.diffusion, Denoising), on.model(self.restorer, Restoring))

    def depends_on(self) -> dict[str, type]:
        return {self.diffusion: Denoising, self.restorer: Restoring}
