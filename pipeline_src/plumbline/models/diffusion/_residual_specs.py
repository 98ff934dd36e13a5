"""Specs of the losses that train a denoiser with the residual of a constraint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models.diffusion._estimates import ResidualLoss


class ResidualSpec(Spec):
    """Base of the losses with the residual of a constraint, in the data's units."""

    constraint: str
    """Name of the constraint, one of the study's `constraints`. An inequality is penalised where it does not
    hold."""

    def build(self, training_steps: int) -> ResidualLoss:
        """Builds the loss for a training of this number of steps."""
        raise NotImplementedError


class VirtualObservationsSpec(ResidualSpec):
    """Physics-informed diffusion models (PIDM): residuals as virtual observations with a variance.

    Source: Bastek, Sun, Kochmann (ICLR 2025), https://arxiv.org/abs/2403.14404.
    """

    kind: Literal["virtual_observations"] = "virtual_observations"
    weight: float = key(ge=0, default=1e-3)
    """c: the residual is observed to be zero with the variance of a reverse step over c (published: 0.001 for
    Darcy flow, and 0.1 for the mean and 0.005 for the sample on a circle)."""
    estimate: Literal["mean", "sample"] = "mean"
    """What the residual is evaluated of: the denoiser's mean, or a sample of a few deterministic steps that
    are differentiated through."""
    evaluations: int = key("network evaluations", ge=2, default=2)
    """Network evaluations of an estimate by a sample: one more than its steps (published: 2)."""
    steps: int = key("reverse steps", ge=2, default=100)
    """Number of reverse steps whose variances are used (published: 100)."""
    snr_cap: float | None = key(gt=0, default=5.0)
    """Largest weight of the squared error of the mean, which is otherwise the ratio of signal and noise
    (published: 5); null for the weight of the model's own loss."""
    penalty_cap: float | None = key(gt=0, default=None)
    """Largest square of a residual over twice its variance, beyond which the residual has no gradient
    (published: 27.631 on the circle, none for Darcy flow); null for no limit."""

    def build(self, training_steps: int) -> ResidualLoss:
        from plumbline.models.diffusion._virtual_observations import VirtualObservations

        return VirtualObservations(
            weight=self.weight,
            steps=self.steps,
            snr_cap=self.snr_cap,
            estimate=self.estimate,
            evaluations=self.evaluations,
            penalty_cap=self.penalty_cap,
        )


class ConflictFreeSpec(ResidualSpec):
    """Physics-based flow matching (PBFM): residuals of unrolled estimates, with conflict-free gradients.

    Source: Baldan et al. (2025), https://arxiv.org/abs/2506.08604.
    """

    kind: Literal["conflict_free"] = "conflict_free"
    unroll: int = key("network evaluations", ge=1, default=4)
    """Largest number of network evaluations of an estimate. It grows from one in equal parts of the training
    (published: 4)."""

    def build(self, training_steps: int) -> ResidualLoss:
        from plumbline.models.diffusion._conflict_free import ConflictFree

        return ConflictFree(unroll=self.unroll, training_steps=training_steps)


AnyResidual = Annotated[VirtualObservationsSpec | ConflictFreeSpec, Field(discriminator="kind")]
