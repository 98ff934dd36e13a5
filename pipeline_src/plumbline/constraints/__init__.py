"""Constraints: the residual of a sample and, for most kinds, the projection onto the feasible set.

Methods and metrics use the same constraint object, so both evaluate the same discretisation. Constraints
take samples in the data's units, on any device, in batches, and without a Python loop over samples. Results
are on the device of the samples. `to` moves a constraint there, so that its tensors are not copied anew in
each call; constraints are built and bound on the CPU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol, runtime_checkable

from plumbline._lazy import exports
from plumbline.distributions import LinearConstraint
from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from torch import Tensor, nn

    from plumbline.constraints._conditioner import Conditioner
    from plumbline.constraints._report import ProjectionReport


class InfeasibleConstraintError(ValueError):
    """No point satisfies the constraint."""


def smallest_number(x: Tensor) -> float:
    """The smallest positive normal number of the dtype of `x`, to use as a denominator instead of zero."""
    import torch

    return torch.finfo(x.dtype).tiny


class Constraint(ABC):
    """A constraint on samples x of shape (B, ...).

    Most constraints also have `project(x)`, which returns the nearest feasible points, and many can condition
    Gaussians (`conditioner`). The Protocols below name these capabilities.
    """

    unit: str = "1"
    """Unit of the residual."""
    tolerance: float = 1e-6
    """Largest relative violation at which a sample counts as feasible."""
    convex: bool = False
    """Whether the feasible set is convex and `project` returns its nearest point."""
    smooth: bool = False
    """Whether the residual is a smooth function and the feasible set is where it is zero."""

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """Signed residuals (B, ...), zero on the feasible set; differentiable."""

    def distance(self, x: Tensor) -> Tensor:
        """Mean absolute residual of each sample (B,); differentiable."""
        return self.residual(x).abs().flatten(1).mean(1)

    def violation(self, x: Tensor) -> Tensor:
        """The relative violation of each sample (B,): its largest absolute residual over its largest value.

        It is dimensionless. A constraint whose residual has another unit than the sample divides by a
        quantity of that unit instead.
        """
        residual, size = (values.abs().flatten(1).amax(1) for values in (self.residual(x), x))
        return residual / size.clamp(min=smallest_number(x))

    def satisfied(self, x: Tensor) -> Tensor:
        """Whether each sample (B,) is feasible to the tolerance."""
        return self.violation(x) <= self.tolerance

    def bind(self, known: Mapping[str, Tensor] | xr.Dataset) -> Constraint:
        """The constraint with the per-sample targets in `known`; itself if it has no such targets.

        Args:
            known: the variables of the samples, as a dataset or as tensors by name.
        """
        return self

    def select(self, which: Tensor) -> Constraint:
        """The constraint for some of the samples that it is bound to.

        Args:
            which: indices (b,) of these samples in the batch.
        """
        return self

    def conditioner(self, shift: Tensor, scale: Tensor) -> Conditioner:
        """Conditions Gaussians in the coordinates z of a model, where x = shift + scale z.

        Args:
            shift: the shift (*S) of each coordinate, in the data's unit.
            scale: the size (*S) of one unit of z.

        Returns:
            The conditioner of points z (B, n), which are flattened, for the samples that the constraint is
            bound to.

        Raises:
            TypeError: the constraint is not smooth.
        """
        if not self.smooth:
            raise TypeError(f"a Gaussian cannot be conditioned on {type(self).__name__}: project instead.")
        from plumbline.constraints._conditioner import SmoothConditioner

        def residual(z: Tensor) -> Tensor:
            return self.residual(shift.to(z) + scale.to(z) * z.view(len(z), *shift.shape)).flatten(1)

        return SmoothConditioner(residual)

    def differs(self, x: Tensor) -> bool:
        """Whether targets differ between the samples that it is bound to, by residuals at x (B, ...)."""
        import torch

        others = torch.arange(len(x), device=x.device).roll(1)
        return not torch.equal(self.residual(x), self.select(others).residual(x))

    def bind_models(self, models: Mapping[str, nn.Module]) -> Constraint:
        """The constraint with the trained models (by name) that it evaluates; itself if it needs none."""
        return self

    def to(self, device: str | torch.device) -> Constraint:
        """The constraint with its tensors on a device; itself if they are there.

        Tensors are moved that are attributes, or lie within attributes in tuples, lists, dictionaries,
        dataclasses or other constraints. A constraint that keeps tensors elsewhere overrides this.
        """
        import torch

        from plumbline.constraints._placement import with_attributes_on

        return with_attributes_on(self, torch.device(device), Constraint)


@runtime_checkable
class ProjectableConstraint(Protocol):
    """A constraint with a projection onto its feasible set."""

    def project(self, x: Tensor) -> Tensor:
        """The nearest feasible point of each sample (B, ...), in the data's unit and the dtype of `x`."""
        ...


@runtime_checkable
class ReportingConstraint(ProjectableConstraint, Protocol):
    """A constraint whose projection is iterative and reports the outcome for each sample."""

    def project_with_report(self, x: Tensor) -> ProjectionReport:
        """The nearest feasible points (B, ...), with iterations, residual and outcome of each sample."""
        ...


@runtime_checkable
class GaussianConditioning(Protocol):
    """A constraint that a Gaussian with any covariance can be conditioned on."""

    def conditioner(self, shift: Tensor, scale: Tensor) -> Conditioner:
        """Conditions Gaussians in the coordinates z of a model, where x = shift + scale z (*S)."""
        ...


@runtime_checkable
class LinearEqualityConstraint(ProjectableConstraint, GaussianConditioning, LinearConstraint, Protocol):
    """A linear equality A x = k on the flattened sample."""

    @property
    def matrix(self) -> Tensor:
        """Independent rows (r, n) with the same span as the rows of A, in double precision."""
        ...

    def complete(self, x: Tensor) -> Tensor:
        """The samples (B, ...) with their last coordinates solved from the others, in the data's unit."""
        ...

    def bind(self, known: Mapping[str, Tensor] | xr.Dataset) -> LinearEqualityConstraint:
        """The equality with the per-sample targets in `known`; itself if it has no such targets."""
        ...

    def rescaled(self, shift: Tensor, scale: Tensor) -> LinearEqualityConstraint:
        """The equality for z, where x = shift + scale z and shift and scale (...) are in the data's unit."""
        ...


@runtime_checkable
class MatrixConstraint(LinearEqualityConstraint, Protocol):
    """A linear equality A x = k with few rows, given as a matrix."""


@runtime_checkable
class Counting(Protocol):
    """A model that counts objects in a sample."""

    def count(self, x: Tensor) -> Tensor:
        """The counts (B,) of samples (B, ...) in the data's unit, not rounded; differentiable."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights; `count` takes samples in their dtype."""
        ...

    def to(self, device: torch.device) -> Counting:
        """The model, moved to a device."""
        ...


class ConstraintSpec(Kind):
    """Base of the constraint kinds."""

    convex: ClassVar[bool] = False
    """Whether the feasible set is convex and `project` returns its nearest point."""
    smooth: ClassVar[bool] = False
    """Whether the residual is a smooth function and the feasible set is where it is zero."""

    def build(self, example: xr.Dataset) -> Constraint:
        """The constraint for samples like those of `example`, a dataset with coordinates and attributes."""
        raise NotImplementedError

    def depends_on(self) -> dict[str, type]:
        """The study's models that the constraint evaluates, by name, and the Protocol each must satisfy."""
        return {}

    def provides(self) -> tuple[type, ...]:
        """The Protocols that the constraint satisfies beyond residual and distance."""
        return ()


AnyConstraint = Annotated[ConstraintSpec, ByKind()]

__getattr__ = exports(
    __name__,
    {
        "_linear_equality": ("LinearEquality",),
        "_burgers_residual": (
            "BurgersResidual",
            "BurgersDifferences",
        ),
        "_kolmogorov_residual": ("KolmogorovResidual",),
        "_darcy_residual": ("DarcyResidual",),
        "_divergence_free": (
            "DivergenceFree",
            "BackwardDivergence",
        ),
        "_tiling": ("Tiling",),
        "_learned_count": ("LearnedCount",),
        "_rows": ("IllConditionedError",),
        "_equations": ("Equations",),
        "_quadratic": ("Quadratic",),
        "_report": ("ProjectionReport",),
        "_fields": (
            "Conserved",
            "Fixed",
        ),
        "_jointly": ("Jointly",),
        "_bounds": ("Bounds",),
        "_polytope": ("Polytope",),
        "_simplex": ("Simplex",),
        "_ball": (
            "Ball",
            "Sphere",
        ),
        "ball": ("BallSpec",),
        "bounds": ("BoundsSpec",),
        "burgers_residual": ("BurgersResidualSpec",),
        "conserved": ("ConservedSpec",),
        "darcy_residual": ("DarcyResidualSpec",),
        "divergence_free": ("DivergenceFreeSpec",),
        "equations": ("EquationsSpec",),
        "fixed": ("FixedSpec",),
        "jointly": ("JointlySpec",),
        "kolmogorov_residual": ("KolmogorovResidualSpec",),
        "learned_count": ("LearnedCountSpec",),
        "linear_equality": ("LinearEqualitySpec",),
        "polytope": ("PolytopeSpec",),
        "quadratic": ("QuadraticSpec",),
        "simplex": ("SimplexSpec",),
        "sphere": ("SphereSpec",),
        "sum": ("SumSpec",),
        "tiling": ("TilingSpec",),
    },
)
"""Public classes of this package's modules, imported on first access."""
