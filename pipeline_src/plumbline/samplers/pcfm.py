r"""Physics-constrained flow matching (PCFM): Gauss-Newton steps on clean estimates, and relaxed corrections.

On the path y_t = t x + (1 - t) e with the first noise e, at each of N equal steps from t to t',

    x1 = y + (1 - t) v(y, t),            x1 <- x1 - J^T (J J^T)^{-1} h(x1),
    y' = t' x1 + (1 - t') e,             y <- argmin_u |u - y'|^2 + lambda |h(u + (1 - t') v(y, t))|^2.

h is the residual of the constraint and J its Jacobian. As in the published code, the velocity of the relaxed
correction is that of the step's start, and the minimum is sought by gradient descent with a fixed step size
from y'. The finished samples are projected, which the publication states as its last step, and which its code
leaves to the user.

Neither step has a safeguard. The Gauss-Newton step is long where J is small, such as at the centre of an
ellipse, where the first estimates lie; gradient descent diverges where lambda |J|^2 is above one over the
step size. `longest_step` bounds both.

Without the relaxed correction and for linear h, the sampler is `eci` without resampling.

Source: Utkarsh, Cai et al. (NeurIPS 2025), algorithm 1, https://arxiv.org/abs/2506.04171; the defaults are
those of https://github.com/cpfpengfei/PCFM.
"""

from __future__ import annotations

from typing import Literal

from plumbline.samplers._project_renoise import Relaxation, Renoising, RenoisingSpec
from plumbline.spec import key


class PCFMSpec(RenoisingSpec):
    """PCFM: one Gauss-Newton step an evaluation, and a relaxed correction (Utkarsh, Cai et al. 2025).

    Source: https://arxiv.org/abs/2506.04171. The constraint must be a smooth equation. It takes one network
    evaluation per step.
    """

    kind: Literal["pcfm"] = "pcfm"
    relaxation: float = key("squared unit of the model over that of the residual", ge=0, default=1.0)
    """lambda: weight of the squared residual in the relaxed correction; zero for none."""
    relaxation_steps: int = key(ge=1, default=20)
    """Gradient steps of the relaxed correction."""
    relaxation_step_size: float = key(gt=0, default=0.01)
    """Step size of this gradient descent."""
    longest_step: float | None = key("standard deviations of the model's space", gt=0, default=None)
    """Largest length of a Gauss-Newton step or of a gradient step; null for any, as published."""

    def renoising(self) -> Renoising:
        relaxation = Relaxation(self.relaxation, self.relaxation_steps, self.relaxation_step_size)
        return Renoising(
            newton=True,
            longest_step=self.longest_step,
            relaxation=relaxation if self.relaxation else None,
        )
