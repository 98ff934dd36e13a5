"""A diffusion model with a restorer behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, FittedModelSpec

if TYPE_CHECKING:
    from plumbline.models.mirror._restored import RestoredDiffusion


class RestoredSpec(FittedModelSpec):
    """A diffusion model, in whatever space, what it draws restored; nothing is trained."""

    kind: Literal["restored"] = "restored"
    diffusion: str
    """Name of the diffusion model."""
    restorer: str
    """Name of the restorer."""

    def build(self, on: BuildContext) -> RestoredDiffusion:
        from plumbline.models.mirror._restored import RestoredDiffusion

        return RestoredDiffusion(on.models[self.diffusion], on.models[self.restorer])

    def depends_on(self) -> dict[str, str]:
        return {self.diffusion: "denoiser", self.restorer: "restorer"}
