"""Cost of conditioning a Gaussian on A z = k, by dimension and number of equalities, beside alternatives.

Each variant builds one conditional distribution and draws 16 samples, forward pass only, in double
precision on one thread:

- `sum`: one total as a `GroupSum`, diagonal covariance, O(n);
- `dense`: a dense A, diagonal covariance, O(n m^2);
- `low rank`: one total, covariance low-rank plus diagonal with 8 factors;
- `formed`: the conditional covariance as an explicit n-by-n matrix, factorised by `torch.linalg.cholesky`;
- `cvxpylayers`: the projection of one sample by a differentiable layer for general convex programmes.

In each round all variants are timed in turn; a ratio is the median over rounds of the ratio within a round.
`--training` instead times a step of diffusion training with the conditional distribution and without.

    python benchmarks/conditioning.py            # a few minutes
    python benchmarks/conditioning.py --training
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from plumbline.constraints import LinearEquality
from plumbline.distributions import ConstrainedGaussian
from plumbline.linalg.covariance import Diagonal, LowRankPlusDiagonal
from plumbline.linalg.maps import GroupSum

DRAWS = 16
ROUNDS = 7
# Largest dimension per variant; beyond it, a variant would need many gigabytes or minutes.
LARGEST = {"formed": 1_000, "cvxpylayers": 1_000}
LARGEST_MATRIX = 10_000_000


def problem(n: int, m: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    matrix = (
        torch.ones(1, n, dtype=torch.float64)
        if m == 1
        else torch.randn(m, n, generator=g, dtype=torch.float64)
    )
    return {
        "mean": torch.randn(n, generator=g, dtype=torch.float64),
        "variance": torch.rand(n, generator=g, dtype=torch.float64) + 0.5,
        "factor": torch.randn(n, 8, generator=g, dtype=torch.float64),
        "matrix": matrix,
        "target": torch.zeros(m, dtype=torch.float64),
    }


def variants(n: int, m: int) -> dict[str, Callable[[], torch.Tensor]]:
    p = problem(n, m)
    dense = LinearEquality(p["matrix"], p["target"])
    runs: dict[str, Callable[[], torch.Tensor]] = {
        "dense": lambda: ConstrainedGaussian(
            p["mean"], Diagonal(p["variance"]), dense, validate_args=False
        ).sample((DRAWS,))
    }
    if m == 1:
        total = LinearEquality(GroupSum(torch.zeros(n, dtype=torch.long)), p["target"])
        runs["sum"] = lambda: ConstrainedGaussian(
            p["mean"], Diagonal(p["variance"]), total, validate_args=False
        ).sample((DRAWS,))
        runs["low rank"] = lambda: ConstrainedGaussian(
            p["mean"], LowRankPlusDiagonal(p["factor"], p["variance"]), total, validate_args=False
        ).sample((DRAWS,))
    if n <= LARGEST["formed"]:
        runs["formed"] = lambda: formed(p)
    if n <= LARGEST["cvxpylayers"]:
        runs["cvxpylayers"] = projection_layer(p)
    return runs


def formed(p: dict[str, torch.Tensor]) -> torch.Tensor:
    """Samples (16, n) from the conditional mean and the explicit n-by-n conditional covariance."""
    a, covariance = p["matrix"], torch.diag(p["variance"])
    gain = torch.linalg.solve(a @ covariance @ a.mT, a @ covariance).mT
    mean = p["mean"] + gain @ (p["target"] - a @ p["mean"])
    conditional = covariance - gain @ a @ covariance
    jitter = 1e-9 * torch.eye(len(mean), dtype=mean.dtype)
    root = torch.linalg.cholesky(conditional + jitter)
    return mean + torch.randn(DRAWS, len(mean), dtype=mean.dtype) @ root.mT


def projection_layer(p: dict[str, torch.Tensor]) -> Callable[[], torch.Tensor]:
    """Returns a function that draws one sample and projects it with a general convex layer."""
    import cvxpy
    from cvxpylayers.torch import CvxpyLayer

    n = len(p["mean"])
    z, x = cvxpy.Variable(n), cvxpy.Parameter(n)
    equality = p["matrix"].numpy() @ z == p["target"].numpy()
    layer = CvxpyLayer(cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(z - x)), [equality]), [x], [z])
    return lambda: layer(p["mean"] + torch.randn(n, dtype=torch.float64))[0]


def seconds(run: Callable[[], torch.Tensor]) -> float:
    """Mean seconds per call, over repeated calls for at least a hundredth of a second."""
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < 0.01:
        run()
        calls += 1
    return (time.perf_counter() - start) / calls


def table(sizes: list[tuple[int, int]]) -> None:
    print("| n | m | variant | milliseconds | ratio to `sum` or `dense` |\n|---:|---:|---|---:|---:|")
    for n, m in sizes:
        runs = variants(n, m)
        for run in runs.values():
            run()
        rounds = [{name: seconds(run) for name, run in runs.items()} for _ in range(ROUNDS)]
        base = "sum" if "sum" in runs else "dense"
        for name in runs:
            median = 1e3 * statistics.median(r[name] for r in rounds)
            ratio = statistics.median(r[name] / r[base] for r in rounds)
            print(f"| {n:,} | {m} | {name} | {median:.3g} | {ratio:.3g} |", flush=True)


def training_overhead() -> None:
    """Times a step of diffusion training on 8 x 8 images, with a given total and without."""
    from plumbline.constraints.sum import SumSpec
    from plumbline.datasets.digits import DigitsSpec
    from plumbline.models import BuildContext
    from plumbline.models._spaces import batch_of
    from plumbline.models.constrained.constrained_diffusion import ConstrainedDiffusionSpec

    splits = {"train": 256, "validation": 2, "test": 2}
    data = DigitsSpec(brightness=19.5, parts=1, splits=splits).draw_part(0)
    batch = {name: tensor[:128] for name, tensor in batch_of(data).items()}
    constraint = SumSpec(total=19.5).build(data)
    print("| network | likelihood | milliseconds per step | ratio to `independent` |\n|---|---|---:|---:|")
    for network in (
        {"kind": "mlp", "width": 256, "blocks": 4},
        {"kind": "unet", "channels": (32, 64), "blocks": (2, 2)},
    ):
        runs = {}
        for likelihood in ("independent", "projected", "conditioned"):
            spec = ConstrainedDiffusionSpec(
                network=network,
                likelihood={"kind": likelihood},
                objective={"kind": "likelihood"},
                constraint="total",
            )
            model = spec.build(BuildContext(data, {"total": constraint}))
            model.prepare(batch_of(data))
            optimiser = torch.optim.AdamW(model.parameters(), fused=True)
            runs[likelihood] = (model, optimiser)
        times: dict[str, list[float]] = {likelihood: [] for likelihood in runs}
        for _ in range(60):
            for likelihood, (model, optimiser) in runs.items():
                start = time.perf_counter()
                optimiser.zero_grad(set_to_none=True)
                model.loss(batch)[0].backward()
                optimiser.step()
                times[likelihood].append(time.perf_counter() - start)
        for likelihood in runs:
            ratio = statistics.median(
                a / b for a, b in zip(times[likelihood], times["independent"], strict=True)
            )
            milliseconds = 1e3 * statistics.median(times[likelihood])
            print(f"| {network['kind']} | {likelihood} | {milliseconds:.3g} | {ratio:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--training", action="store_true", help="time the overhead in diffusion training instead"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.training:
        training_overhead()
        return
    dimensions = [100, 1_000, 10_000, 100_000, 1_000_000]
    table([(n, m) for m in (1, 10, 100) for n in dimensions if n * m <= LARGEST_MATRIX and m < n])


if __name__ == "__main__":
    main()
