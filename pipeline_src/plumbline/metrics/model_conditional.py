r"""Distance to the model's own conditional distribution, for data whose exact one is not known.

A constrained sampler draws from a trained model. Its samples differ from the exact conditional distribution
by the error of the model and by its own. This metric estimates its own: it draws many unconstrained samples
from the model, conditions them by another way than sampling, and compares.

- `moments`, for linear equalities A x = k of data with one mode: with the mean m and covariance C of the free
  samples, the conditional moments are those of N(m, C) given A x = k, and the distance is the Gaussian
  2-Wasserstein distance, in units of the conditional standard deviation.
- `rejection`, for any constraint with a projection: of the free samples, the fraction nearest to the
  constraint is kept and projected, and the distance is the squared energy distance. Rejection is right in the
  limit of a small fraction. It is computed with a fraction four times as large as well; where the two
  distances differ much, take more `draws` and a smaller `fraction`.

The ratio of the spread of the samples to that of the reference shows a method that has collapsed or exploded;
a warning is logged below one half and above two.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._pairs import Pairs
from plumbline.metrics.energy_distance import EnergyDistanceSpec
from plumbline.models import Denoising
from plumbline.samplers import AnyDenoisingSampler, DenoisingSpec, HeunSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

    from plumbline.constraints import Constraint

logger = logging.getLogger("plumbline.evaluate")

# Number of samples drawn together.
CHUNK = 4096
# Ratios of spreads outside of which a warning is logged.
COLLAPSED, EXPLODED = 0.5, 2.0
# How many times as large the second fraction is.
WIDER = 4


class ModelConditionalSpec(MetricSpec):
    """Distance to a model's own conditional distribution, from many of its unconstrained samples."""

    kind: Literal["model_conditional"] = "model_conditional"
    model: str
    """Name of the model that the methods draw from."""
    constraint: str
    """Name of the constraint, which must be the same for all samples."""
    reference: Literal["moments", "rejection"]
    """How the unconstrained samples are conditioned."""
    sampler: AnyDenoisingSampler = HeunSpec(steps=32)
    """Draws the unconstrained samples."""
    draws: int = key("samples", ge=1000, default=20_000)
    """Number of unconstrained samples."""
    fraction: float = key(gt=0, le=0.25, default=0.01)
    """Fraction of them that `rejection` keeps."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        """The distance and the ratio of spreads.

        Raises:
            ValueError: the constraint has no moments or projection, differs between samples, or is not one of
                the study's.
        """
        import torch
        import xarray as xr

        bound = self._bound(by, samples)
        drawn = samples["state"].values.reshape(samples.sizes["sample"], -1).astype(np.float64)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            free = self._free(by, samples)
        conditioned = _by_moments if self.reference == "moments" else _by_rejection
        found, spread = conditioned(free, drawn, bound, self)
        ratio = float(np.sqrt(drawn.var(0).sum() / spread))
        if not COLLAPSED <= ratio <= EXPLODED:
            logger.warning(
                "the spread of these samples is %.2g times that of the model given %r: the method has %s.",
                ratio,
                self.constraint,
                "collapsed" if ratio < COLLAPSED else "exploded",
            )
        title = "spread over that of the model given the constraint"
        return xr.Dataset({**found, "model_spread_ratio": scalar(ratio, title, "neither")})

    def depends_on(self) -> dict[str, type]:
        return {self.model: Denoising}

    def _bound(self, by: EvaluationContext, samples: xr.Dataset) -> Callable[[int], Constraint]:
        """A function from a number of samples to the constraint bound to so many.

        Raises:
            ValueError: the study has no such constraint, or its targets differ between samples.
        """
        import torch

        if self.constraint not in by.constraints:
            raise ValueError(
                f"`{self.kind}`: `constraint`: {self.constraint!r} is not one of {', '.join(by.constraints)}."
            )
        constraint = by.constraints[self.constraint]
        state = torch.as_tensor(samples["state"].values, dtype=torch.float64, device=by.device)
        if constraint.differs(state):
            raise ValueError(
                f"`{self.kind}`: {self.constraint!r} has targets that differ between samples, and one set of "
                "unconstrained samples can be conditioned on one target only."
            )
        first = torch.zeros(1, dtype=torch.long, device=state.device)
        return lambda count: constraint.select(first.expand(count))

    def _free(self, by: EvaluationContext, samples: xr.Dataset) -> Tensor:
        """Unconstrained samples (N, *S), in the data's unit and double precision."""
        import torch

        from plumbline.models._spaces import batch_of
        from plumbline.samplers import Costs, SamplingTask
        from plumbline.samplers._denoising import denoise

        assert isinstance(self.sampler, DenoisingSpec)
        model, given = by.model(self.model, Denoising), batch_of(samples)
        parts = []
        for first in range(0, self.draws, CHUNK):
            rows = torch.arange(first, min(first + CHUNK, self.draws)) % samples.sizes["sample"]
            batch = {name: tensor[rows] for name, tensor in given.items()}
            task = SamplingTask(batch, device=by.device)
            parts.append(denoise(model, self.sampler, task, Costs()))
        return torch.cat(parts)


def _by_moments(
    free: Tensor, drawn: np.ndarray, bound: Callable[[int], Constraint], spec: ModelConditionalSpec
) -> tuple[dict[str, xr.DataArray], float]:
    """The Gaussian distance to the conditioned moments of free samples, and their total variance."""
    import torch

    from plumbline.constraints import LinearEqualityConstraint
    from plumbline.linalg.spectral import covariance_of
    from plumbline.metrics.conditional_gaussian import gaussian_wasserstein

    constraint = bound(1)
    if not isinstance(constraint, LinearEqualityConstraint):
        raise ValueError(
            f"`{spec.kind}`: `reference: moments` requires a linear equality, and {spec.constraint!r} is "
            "none: set `reference: rejection`."
        )
    flat = free.flatten(1)
    covariance = covariance_of([flat], dimension=flat.shape[1], rank=None)
    zeros = torch.zeros_like(free[0])
    given = constraint.conditioner(zeros, zeros + 1)(flat.mean(0, keepdim=True), covariance)
    matrix = given.covariances(torch.eye(flat.shape[1]).to(flat)).cpu().numpy()
    total = float(matrix.trace())
    distance = gaussian_wasserstein(drawn.mean(0), np.cov(drawn.T), given.mean[0].cpu().numpy(), matrix)
    title = "distance to the model given the constraint, by moments"
    unit = "conditional standard deviations"
    return {"model_conditional_gaussian": scalar(distance / np.sqrt(total), title, "lower", unit)}, total


def _by_rejection(
    free: Tensor, drawn: np.ndarray, bound: Callable[[int], Constraint], spec: ModelConditionalSpec
) -> tuple[dict[str, xr.DataArray], float]:
    """The energy distances to the nearest free samples, and the total variance of the nearest."""
    from plumbline.constraints import ProjectableConstraint

    order = bound(len(free)).distance(free).argsort()
    scale = np.sqrt(drawn.var(0).mean())
    distances, totals = [], []
    for share in (spec.fraction, min(1.0, WIDER * spec.fraction)):
        kept = free[order[: round(share * len(free))]]
        constraint = bound(len(kept))
        if not isinstance(constraint, ProjectableConstraint):
            raise ValueError(
                f"`{spec.kind}`: {spec.constraint!r} has no projection, which `rejection` requires."
            )
        reference = constraint.project(kept).flatten(1).cpu().numpy()
        totals.append(float(reference.var(0).sum()))
        pairs = Pairs.of(drawn / scale, reference / scale)
        distances.append(EnergyDistanceSpec().values(pairs)["energy_distance"])
    title = "squared energy distance to the model given the constraint"
    change = "its change with four times the fraction"
    unit = "standard deviations"
    found = {
        "model_conditional_energy": scalar(distances[0], title, "lower", unit),
        "model_conditional_change": scalar(distances[1] - distances[0], change, "neither", unit),
    }
    return found, totals[0]
