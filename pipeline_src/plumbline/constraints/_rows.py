r"""Independent rows of a matrix A, and what they make of the target k.

The rank is that of the rows at unit length, so that the units of a row do not decide whether it counts. Of m rows,
a singular value relative to the largest, where eps is the rounding of the dtype that A was given in, is

- zero up to `DEPENDENT` sqrt(m) eps, what rounding leaves of rows that depend on each other;
- refused from there to eps^(2/3): a row that rounding alone made would move samples anywhere;
- used above, with a warning up to the larger of sqrt(eps) and `SMALL`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import InfeasibleConstraintError

logger = logging.getLogger("plumbline.constraints")

# Roundings of A that a singular value of a single row may be off by.
DEPENDENT = 16
# Relative size under which a singular value is reported even where rounding is smaller: numbers in double precision
# may have been computed in single precision.
SMALL = 1e-6
# Rows whose lengths are within this factor of each other are decomposed as they are.
SIMILAR_LENGTHS = 1e3
# Relative size under which a singular value of a rescaled A is zero; A itself was judged before.
RESCALED = 1e-10
# Share of |k| by which k may leave the range of A: the larger of this and of so many roundings.
CONTRADICTION, ROUNDINGS = 1e-6, 64


class IllConditionedError(ValueError):
    """The numbers of A do not say what its rank is."""


@dataclass(frozen=True)
class IndependentRows:
    """Orthonormal rows V_r^T that span those of A = diag(lengths) U_r S_r V_r^T.

    Attributes:
        rows: V_r^T.
        transform: the matrix T by which (k - A x) T = S_r^{-1} U_r^T diag(lengths)^{-1} k - V_r^T x.
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
            size: what rounding errors of k are relative to, in its unit; at least |k|.
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
        if bool((outside > allowed).any()):
            worst = int((outside - allowed).flatten().argmax())
            sample, row = divmod(worst, len(lengths))
            of_sample = f" for sample {sample}" if target.ndim > 1 else ""
            raise InfeasibleConstraintError(
                f"rows of A depend on each other and k contradicts them{of_sample}: no x satisfies A x = k, and "
                f"the nearest leaves a residual of {float((outside * lengths).flatten()[worst]):.3g} in row {row}, "
                f"where k is {float(target.flatten()[worst]):.6g}. Correct k, or remove the row."
            )


def independent_rows(matrix: Float[Tensor, "m n"], eps: float) -> IndependentRows:
    """The independent rows of A, in double precision.

    Args:
        matrix: A, finite and not zero, in double precision.
        eps: relative rounding of the numbers of A.

    Raises:
        IllConditionedError: rows nearly depend on each other, by more than rounding and too little to be used.
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
            f"rows of A nearly depend on each other: at unit length their smallest singular value is {smallest:.3g} "
            f"of the largest, and numbers of A are rounded to {eps:.1g}. Remove rows that follow from others{in_double}."
        )
    if smallest < max(eps**0.5, SMALL):
        logger.warning(
            "A is ill-conditioned: its rows at unit length have the condition number %.3g. Rounding errors of A and k "
            "move feasible samples by up to so many times their size.",
            1 / smallest,
        )
    if float(lengths.max() / lengths.min()) > SIMILAR_LENGTHS:
        return _kept(decomposed, lengths, rank)
    return _kept(torch.linalg.svd(matrix, full_matrices=False), torch.ones_like(lengths), rank)


def rescaled_rows(matrix: Float[Tensor, "m n"], most: int) -> IndependentRows:
    """The independent rows of A diag(scale), at most as many as A has, whatever its condition number."""
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
