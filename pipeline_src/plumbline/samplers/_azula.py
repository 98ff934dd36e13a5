"""Samplers and constraints applied to any azula denoiser, without a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from azula.denoise import Denoiser
from torch import Tensor

from plumbline.constraints import Constraint
from plumbline.linalg.spectral import SpectralCovariance
from plumbline.samplers import DenoisingSpec
from plumbline.samplers._denoising import CorrectedDenoiser, DenoisingContext
from plumbline.samplers._posterior import ConditionedPosterior
from plumbline.samplers._task import Costs, SamplingTask


class DataSpace:
    """The space of a denoiser that works in the data's units.

    Args:
        covariance: the covariance (n, n) of flattened samples, if it is known.
    """

    scale = torch.ones(())

    def __init__(self, covariance: Tensor | None = None) -> None:
        self.covariance = None if covariance is None else SpectralCovariance.of(covariance)

    def encode(self, x: Tensor) -> Tensor:
        """The samples (B, *S), unchanged."""
        return x

    def decode(self, z: Tensor) -> Tensor:
        """The points (B, *S), unchanged."""
        return z


class BareDenoiser:
    """Wraps an azula denoiser as a model that samplers can draw from.

    Args:
        denoiser: the denoiser of samples (B, *S) in the data's units.
        conditions: keyword arguments that every call of the denoiser receives.
        null_conditions: keyword arguments that make the denoiser unconditional, if there are any.
        covariance: the covariance (n, n) of flattened samples, if it is known.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        conditions: Mapping[str, object] | None = None,
        null_conditions: Mapping[str, object] | None = None,
        covariance: Tensor | None = None,
    ) -> None:
        self.denoiser = denoiser
        self._space = DataSpace(covariance)
        self._conditions = dict(conditions or {})
        self._null_conditions = null_conditions

    def space_of(self, batch: dict[str, Tensor]) -> DataSpace:
        """The data space: no scaling."""
        return self._space

    def conditions(self, batch: dict[str, Tensor]) -> Mapping[str, object]:
        """The keyword arguments of the denoiser."""
        return self._conditions

    def null_conditions(self, batch: dict[str, Tensor]) -> Mapping[str, object]:
        """The keyword arguments of the denoiser without a condition.

        Raises:
            ValueError: there are none.
        """
        if self._null_conditions is None:
            raise ValueError(
                "this sampler also evaluates the denoiser without its condition: give `null_conditions`."
            )
        return self._null_conditions


class ConditionedDenoiser(CorrectedDenoiser):
    """A denoiser whose means are conditioned on a constraint, for azula's own samplers.

    Args:
        denoiser: a denoiser of samples (B, *S) in the data's units.
        constraint: a constraint that a Gaussian can be conditioned on, bound to the samples' targets.
        shape: the shape (*S) of a sample.
        covariance: the covariance (n, n) of flattened samples, as in the sampler `conditioned`; None for the
            identity.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        constraint: Constraint,
        *,
        shape: tuple[int, ...],
        covariance: Tensor | None = None,
    ) -> None:
        task = SamplingTask({"state": torch.zeros(1, *shape)}, {"constraint": constraint})
        context = DenoisingContext(task, DataSpace(covariance), Costs())
        form: Literal["isotropic", "data"] = "isotropic" if covariance is None else "data"
        super().__init__(denoiser, ConditionedPosterior.of("constraint", context, form).mean)


def draw(
    denoiser: Denoiser,
    sampler: DenoisingSpec,
    *,
    shape: tuple[int, ...],
    constraints: Mapping[str, Constraint] | None = None,
    conditions: Mapping[str, object] | None = None,
    null_conditions: Mapping[str, object] | None = None,
    covariance: Tensor | None = None,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Draws samples from any azula denoiser with a sampler of this library, and finishes them.

    Example:
        >>> import torch
        >>> from azula.denoise import GaussianDenoiser
        >>> from azula.linalg.covariance import IsotropicCovariance
        >>> from azula.noise import VPSchedule
        >>> from plumbline.constraints import LinearEquality
        >>> from plumbline.samplers import ConditionedSpec, HeunSpec, draw
        >>> prior = IsotropicCovariance(torch.tensor(1.0))
        >>> denoiser = GaussianDenoiser(torch.zeros(4), prior, VPSchedule())
        >>> total = LinearEquality(torch.ones(1, 4), torch.tensor([2.0]))
        >>> sampler = ConditionedSpec(constraint="total", base=HeunSpec(steps=16))
        >>> x = draw(
        ...     denoiser, sampler, shape=(64, 4), constraints={"total": total}, covariance=torch.eye(4)
        ... )
        >>> bool((x.sum(1) - 2).abs().max() < 1e-5)
        True

    Args:
        denoiser: a denoiser of samples (B, *S) in the data's units.
        sampler: the sampler. Its `constraint` is a key of `constraints`.
        shape: the shape (B, *S) of the samples.
        constraints: constraints by name, already bound to per-sample targets if they have any.
        conditions: keyword arguments of the denoiser.
        null_conditions: keyword arguments that make the denoiser unconditional, for `classifier_free`.
        covariance: the covariance (n, n) of flattened samples, for samplers that use it.
        device: the device to draw on, which must hold the denoiser.

    Returns:
        Samples (B, *S) on the device, in single precision.

    Raises:
        ValueError: `constraints` lacks a constraint that the sampler uses, or the sampler requires
            `null_conditions` or `covariance`.
    """
    known = dict(constraints or {})
    missing = [name for name in sampler.constraint_names() if name not in known]
    if missing:
        raise ValueError(
            f"the sampler uses {', '.join(missing)}, and `constraints` has {', '.join(known) or 'none'}"
        )
    task = SamplingTask({"state": torch.zeros(shape)}, known, device=device)
    return sampler.sample(BareDenoiser(denoiser, conditions, null_conditions, covariance), task).state
