r"""Expected losses of constrained Gaussians and their exact gradients, to test gradient estimators.

A sample is a problem: a Gaussian N(m, diag(s)) conditioned on A z = k, and a loss |z - b| or |z - b|^2,
summed over coordinates. The entries of m and b are standard normal, s ~ U(0.5, 1.5), A has standard normal
entries (or ones, for a single equality) and k = A b. `state` is the gradient of the expected loss with
respect to (m, s), from the closed form of Li et al. (2025, Proposition 5.1,
https://arxiv.org/abs/2502.05416). Problems cycle through the combinations of dimension, number of equalities
and loss. Smaller problems are padded with zeros at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

LOSSES = ("absolute", "squared")


class ExpectationsSpec(DatasetSpec):
    """Problems on a grid of dimensions and numbers of equalities, for both losses."""

    kind: Literal["expectations"] = "expectations"
    dimensions: tuple[Annotated[int, Field(ge=2)], ...] = Field(default=(2, 10, 100, 1000), min_length=1)
    """Dimensions n."""
    equalities: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1,), min_length=1)
    """Numbers of equalities m; combinations without m < n are omitted."""
    feasible_mean: bool = key(default=False)
    """Whether the mean satisfies the equalities; if so, the conditional mean has zero gradient in s."""

    @model_validator(mode="after")
    def _some_freedom(self) -> ExpectationsSpec:
        if min(self.dimensions) <= min(self.equalities):
            raise ValueError(f"no number of `equalities` leaves freedom in {min(self.dimensions)} dimensions")
        return self

    def cells(self) -> list[tuple[int, int, str]]:
        """Dimension, number of equalities and loss of each combination."""
        return [(n, m, loss) for n in self.dimensions for m in self.equalities if m < n for loss in LOSSES]

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        cells = self.cells()
        most, rows = max(self.dimensions), max(self.equalities)
        fields = {name: np.zeros((len(indices), most)) for name in ("mean", "variance", "target")}
        matrix = np.zeros((len(indices), rows, most))
        state = np.zeros((len(indices), 2, most), np.float32)
        chosen = [cells[i % len(cells)] for i in indices]
        for j, (i, (n, m, loss)) in enumerate(zip(indices, chosen, strict=True)):
            problem = self.problem(np.random.default_rng([self.seed, int(i)]), n, m)
            for name, values in fields.items():
                values[j, :n] = problem[name]
            matrix[j, :m, :n] = problem["matrix"]
            state[j, :, :n] = exact_gradient(**problem, loss=loss)
        grid = {"dimension": 0, "equalities": 1}
        return xr.Dataset(
            {
                "state": (("sample", "parameter", "coordinate"), state, {"long_name": "gradient"}),
                **{name: (("sample", "coordinate"), values) for name, values in fields.items()},
                "matrix": (("sample", "equality", "coordinate"), matrix),
                **{name: ("sample", np.array([cell[at] for cell in chosen])) for name, at in grid.items()},
                "loss": ("sample", np.array([LOSSES.index(cell[2]) for cell in chosen])),
            },
            coords={"parameter": ("parameter", ["mean", "variance"])},
            attrs={"title": "expected losses of constrained Gaussians"},
        )

    def problem(self, random: np.random.Generator, n: int, m: int) -> dict[str, np.ndarray]:
        """Draws one problem: the mean (n,), variance (n,), target b (n,) and matrix A (m, n).

        Args:
            random: the random generator of this sample.
            n: dimension.
            m: number of equalities.
        """
        mean, target = random.standard_normal((2, n))
        variance = random.uniform(0.5, 1.5, n)
        matrix = np.ones((1, n)) if m == 1 else random.standard_normal((m, n))
        if self.feasible_mean:
            mean = mean + np.linalg.pinv(matrix) @ (matrix @ (target - mean))
        return {"mean": mean, "variance": variance, "target": target, "matrix": matrix}


def exact_gradient(
    mean: np.ndarray, variance: np.ndarray, target: np.ndarray, matrix: np.ndarray, loss: str
) -> np.ndarray:
    """The gradient of the expected loss with respect to mean and variance (2, n), in closed form.

    Args:
        mean: m (n,).
        variance: s (n,).
        target: b (n,).
        matrix: A (m, n).
        loss: `absolute` or `squared`.
    """
    from scipy.special import erf

    scaled = matrix * variance
    gram = scaled @ matrix.T
    leverage = matrix.T @ np.linalg.solve(gram, matrix)
    multipliers = np.linalg.solve(gram, matrix @ (target - mean))
    d = mean + variance * (matrix.T @ multipliers) - target
    spread = np.maximum(variance - variance**2 * np.diag(leverage), 1e-300)
    if loss == "absolute":
        by_mean = erf(d / np.sqrt(2 * spread))
        by_spread = np.exp(-(d**2) / (2 * spread)) / np.sqrt(2 * np.pi * spread)
    else:
        by_mean, by_spread = 2 * d, np.ones_like(d)
    gradient = by_mean - matrix.T @ np.linalg.solve(gram, scaled @ by_mean)
    through = by_spread * (1 - 2 * variance * np.diag(leverage)) + (by_spread * variance**2) @ leverage**2
    return np.stack([gradient, (matrix.T @ multipliers) * gradient + through])
