r"""Independent rows of a matrix A, and the check that the target k does not contradict them.

The rank is determined after scaling the rows to unit length, so it does not depend on the units of a row.
Let eps be the rounding of the dtype in which A was given. Singular values of the m rows, relative to the
largest one, are treated as follows:

- up to `DEPENDENT` sqrt(m) eps they count as zero, because rounding of dependent rows leaves such values;
- from there to eps^(2/3) they are rejected, because a row made of rounding errors would move samples
  arbitrarily;
- above that they are used, with a warning up to the larger of sqrt(eps) and `SMALL`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import InfeasibleConstraintError
from plumbline.linalg.checks import require

logger = logging.getLogger("plumbline.constraints")

# Number of rounding errors of A by which the singular value of a single row may be off.
DEPENDENT = 16
# Relative size below which a singular value is always reported, because values stored in double precision may
# have been computed in single precision.
SMALL = 1e-6
# Rows whose lengths differ by at most this factor are decomposed without scaling.
SIMILAR_LENGTHS = 1e3
# Relative size below which a singular value of a rescaled A counts as zero; A itself was checked before.
RESCALED = 1e-10
# k may leave the range of A by this fraction of |k|, or by this number of rounding errors if that is larger.
CONTRADICTION, ROUNDINGS = 1e-6, 64


class IllConditionedError(ValueError):
    """The rank of A is not determined, because rows are nearly dependent."""


@dataclass(frozen=True)
class IndependentRows:
    """Orthonormal rows V_r^T with the span of those of A = diag(lengths) U_r S_r V_r^T.

    Attributes:
        rows: V_r^T.
        transform: the matrix T with (k - A x) T = S_r^{-1} U_r^T diag(lengths)^{-1} k - V_r^T x.
        left: U_r.
        lengths: the factors that rows of A were divided by.
    """

    rows: Float[Tensor, "r n"]
    transform: Float[Tensor, "m r"]
    left: Float[Tensor, "m r"]
    lengths: Float[Tensor, " m"]

    @property
    def rank(self) -> int:
        """The number of independent rows r."""
        return len(self.rows)

    def require_no_contradiction(
        self, target: Float[Tensor, "*B m"], size: Float[Tensor, "*B m"], eps: float
    ) -> None:
        """Checks that each target k is in the range of A.

        Args:
            target: k.
            size: the magnitude that rounding errors of k are relative to, in its unit; at least |k|.
            eps: relative rounding of k and A.

        Raises:
            InfeasibleConstraintError: no x satisfies A x = k; the message gives the residual.
        """
        if self.rank == len(self.lengths) or not target.numel():
            return
        left, lengths = self.left.to(target), self.lengths.to(target)
        relative = target / lengths
        outside = (relative - relative @ left @ left.mT).abs()
        allowed = max(CONTRADICTION, ROUNDINGS * eps) * (size / lengths).amax(-1, keepdim=True)

        def contradiction() -> InfeasibleConstraintError:
            worst = int((outside - allowed).flatten().argmax())
            sample, row = divmod(worst, len(lengths))
            of_sample = f" for sample {sample}" if target.ndim > 1 else ""
            return InfeasibleConstraintError(
                f"rows of A depend on each other and k contradicts them{of_sample}: no x satisfies A x = k, "
                f"and the nearest leaves a residual of {float((outside * lengths).flatten()[worst]):.3g} in "
                f"row {row}, where k is "
                f"{float(target.flatten()[worst]):.6g}. Correct k, or remove the row."
            )

        expected = "k does not contradict rows of A that depend on each other"
        require(~(outside > allowed).any(), contradiction, expected)


def independent_rows(matrix: Float[Tensor, "m n"], eps: float) -> IndependentRows:
    """The independent rows of A, in double precision.

    Args:
        matrix: A, finite and not zero, in double precision.
        eps: relative rounding of the entries of A.

    Raises:
        IllConditionedError: rows are nearly dependent, so that rounding does not determine the rank.
    """
    lengths = matrix.norm(dim=1)
    lengths = torch.where(lengths > 0, lengths, lengths.max())
    decomposed = torch.linalg.svd(matrix / lengths[:, None], full_matrices=False)
    relative = decomposed[1] / decomposed[1][0]
    rank = int((relative > DEPENDENT * len(matrix) ** 0.5 * eps).sum())
    smallest = float(relative[rank - 1])
    if smallest < eps ** (2 / 3):
        in_double = ", or give A in double precision" if eps > torch.finfo(torch.float64).eps else ""
        raise IllConditionedError(
            f"rows of A nearly depend on each other: at unit length their smallest singular value is "
            f"{smallest:.3g} of the largest, and entries of A are rounded to {eps:.1g}. Remove rows that "
            f"follow from others{in_double}."
        )
    if smallest < max(eps**0.5, SMALL):
        logger.warning(
            "A is ill-conditioned: its rows at unit length have the condition number %.3g. Rounding errors "
            "of A and k are amplified by up to this factor in feasible samples.",
            1 / smallest,
        )
    if float(lengths.max() / lengths.min()) > SIMILAR_LENGTHS:
        return _kept(decomposed, lengths, rank)
    return _kept(torch.linalg.svd(matrix, full_matrices=False), torch.ones_like(lengths), rank)


def rescaled_rows(matrix: Float[Tensor, "m n"], most: int) -> IndependentRows:
    """At most `most` independent rows of A diag(scale), without a check of the condition number."""
    lengths = matrix.norm(dim=1)
    lengths = torch.where(lengths > 0, lengths, lengths.max())
    if float(lengths.max() / lengths.min()) <= SIMILAR_LENGTHS:
        lengths = torch.ones_like(lengths)
    decomposed = torch.linalg.svd(matrix / lengths[:, None], full_matrices=False)
    rank = min(most, int((decomposed[1] > RESCALED * decomposed[1][0]).sum()))
    return _kept(decomposed, lengths, rank)


def _kept(decomposed: tuple[Tensor, Tensor, Tensor], lengths: Tensor, rank: int) -> IndependentRows:
    left, singular, right = decomposed
    transform = left[:, :rank] / singular[:rank] / lengths[:, None]
    return IndependentRows(right[:rank], transform, left[:, :rank], lengths)
