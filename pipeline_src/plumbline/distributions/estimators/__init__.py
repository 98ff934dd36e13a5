r"""Estimators of the gradient of E[loss(z)] with respect to the parameters of a distribution of z.

An estimator gives a surrogate: its value estimates the expected loss, and its gradient, by automatic
differentiation, estimates that of the expectation. What the loss itself depends on (a decoder) is differentiated
through as usual, by every estimator. Notation: z ~ p(z | A z = k), f the loss, m' = E[z | A z = k].

| kind | forward | backward, in the distribution's parameters |
|---|---|---|
| `marginal_expectation` | exact sample | df/dz times the derivative of m' (Li et al. 2025) |
| `reparameterised` | exact sample | through the sample: unbiased |
| `score_function` | exact sample | (f - baseline) times the derivative of log p: unbiased |
| `straight_through` | exact sample | df/dz times the derivative of the free draw: biased |
| `projection` | projected free draw | through the projection: the expectation under another law |
| `closed_form` | none | of the expectation itself, where it has a closed form |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class EstimatorSpec(Kind):
    """Base of the estimator kinds."""

    def surrogate(self, distribution: Any, loss: Callable[[Tensor], Tensor], samples: int = 1) -> Tensor:
        """Surrogates (samples, *B) of the expected loss of a distribution with the batch shape *B.

        Raises:
            ValueError: the distribution lacks what the estimator needs.
        """
        raise NotImplementedError


AnyEstimator = Annotated[EstimatorSpec, ByKind()]
