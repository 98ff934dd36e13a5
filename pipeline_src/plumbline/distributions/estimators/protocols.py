"""What estimators ask of a distribution."""

from __future__ import annotations

from typing import Any, Protocol


class Estimable(Protocol):
    """A torch distribution; the typing of torch's own is too loose to say more."""

    has_rsample: bool
    mean: Any
    sample: Any
    log_prob: Any
    expected_l1: Any
    expected_l2: Any
