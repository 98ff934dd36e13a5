"""Problems whose conditional distribution is known: what their datasets share.

Training samples are unconstrained. Validation and test samples follow the exact distribution given the
constraint, so a constrained sampler with a model of the unconstrained distribution should reproduce them.

What is known of the distributions is stored beside the samples, in variables without the dimension `sample`:

- `component_weights`, `component_means` and covariances: the unconstrained distribution, where it is a
  mixture of Gaussians (see the model `exact_mixture`);
- `conditional_mean` (*S) and `conditional_covariance` (n, n): moments of the conditional distribution;
- `branch_fractions` (branch): probabilities of its branches (see the metric `branch_fractions`);
- the matrices and targets of the constraint.

Two distributions are called conditional on h(x) = 0, where J = dh/dx and p is the unconstrained density:

- `conditioning`, the limit of |h| < eps, has the density p / sqrt(det J J^T) on the surface. It depends on
  how the constraint is written: f(x) h(x) = 0 has another one.
- `restriction`, the limit of a tube of constant width, has the density p on the surface.

For linear equalities they agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.datasets._random import uniforms

if TYPE_CHECKING:
    import xarray as xr

Distribution = Literal["conditioning", "restriction"]
"""Which distribution on a curved surface is meant."""
LARGEST_ROUNDS = 10_000
"""Number of rounds of proposals after which a rejection sampler gives up."""


@dataclass(frozen=True)
class Numbers:
    """Random numbers of consecutive samples, in independent streams. Each sample has its own.

    Attributes:
        seed: random seed.
        indices: consecutive indices of the samples.
        purpose: what the samples are for: 0 for a dataset, 1 + seed for exact samples beside it.
    """

    seed: int
    indices: np.ndarray
    purpose: int = 0

    def uniforms(self, width: int, stream: int = 0) -> np.ndarray:
        """Uniform random numbers in (0, 1), float64 (samples, width)."""
        words = np.random.SeedSequence([self.seed, self.purpose, stream]).generate_state(2, np.uint64)
        return uniforms(int(words[0]) | int(words[1]) << 64, self.indices, width)

    def normals(self, width: int, stream: int = 0) -> np.ndarray:
        """Standard normal random numbers, float64 (samples, width)."""
        from scipy.special import ndtri

        return ndtri(self.uniforms(width, stream))


class ExactConditionalSpec(DatasetSpec):
    """Base of the problems whose conditional distribution is known."""

    def layout(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """The dimensions of a sample, and the attributes of `state`."""
        return ("coordinate",), {"long_name": "coordinate", "units": "1"}

    def known(self) -> xr.Dataset:
        """Coordinates, the constraint, and what is known of the distributions."""
        raise NotImplementedError

    def unconstrained(self, numbers: Numbers) -> np.ndarray:
        """Samples (N, *S) of the unconstrained distribution, in double precision."""
        raise NotImplementedError

    def constrained(self, numbers: Numbers) -> np.ndarray:
        """Samples (N, *S) of the exact conditional distribution, in double precision."""
        raise NotImplementedError

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        drawn = []
        for chosen, sampled in (
            (indices[splits == "train"], self.unconstrained),
            (indices[splits != "train"], self.constrained),  # after those of the train split
        ):
            if len(chosen):
                drawn.append(sampled(Numbers(self.seed, chosen)))
        dims, attrs = self.layout()
        state = np.concatenate(drawn).astype(np.float32)
        return self.known().assign(state=(("sample", *dims), state, attrs))

    def draw_exact(self, count: int, seed: int) -> np.ndarray:
        return self.constrained(Numbers(self.seed, np.arange(count), 1 + seed))


Proposal = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def first_accepted(numbers: Numbers, width: int, propose: Proposal, *, tries: int, stream: int) -> np.ndarray:
    """The first accepted proposal of each sample, by rejection sampling.

    Args:
        numbers: the random numbers of the samples.
        width: number of uniform random numbers that a proposal takes.
        propose: function from uniform random numbers (M, width) to proposals (M, *S), and whether each is
            accepted (M,).
        tries: number of proposals of each sample in a round.
        stream: the first stream of random numbers; each round takes one, from there on.

    Raises:
        ValueError: the acceptance rate is too low.
    """
    found: np.ndarray | None = None
    pending = np.arange(len(numbers.indices))
    for round_ in range(LARGEST_ROUNDS):
        drawn = numbers.uniforms(tries * width, stream + round_)[pending]
        points, accepted = propose(drawn.reshape(-1, width))
        points = points.reshape(len(pending), tries, *points.shape[1:])
        accepted = accepted.reshape(len(pending), tries)
        if found is None:
            found = np.empty((len(pending), *points.shape[2:]))
        some = accepted.any(1)
        found[pending[some]] = points[some, accepted[some].argmax(1)]
        pending = pending[~some]
        if not len(pending):
            return found
    raise ValueError(
        f"rejection sampling accepted none of {LARGEST_ROUNDS * tries} proposals for {len(pending)} samples: "
        "the constraint is too unlikely."
    )
