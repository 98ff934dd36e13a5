"""Projection onto constraints: a million unknowns without a matrix, and a comparison with Gauss-Newton steps.

Samples are fields u (times, places) in double precision, on one thread. There are two constraints:

- `total`: the sum over places is the same at all times. This is a linear equality, given as `Conserved` or as
  `Equations`.
- `energy`: the sum of u^4 / 4 + u^2 / 2 over places has a given value at each time. This is a curved
  equation, given as `Equations`.

The script prints two tables. The first has a thousand equations for a million unknowns; the Jacobian of one
sample would take eight gigabytes. The second compares our projection with batched Gauss-Newton steps with a
dense Jacobian, as in PCFM (https://arxiv.org/abs/2506.04171). These steps stop when the equations hold and do
not search for the nearest point. The methods are timed alternately in several rounds, and ratios are medians
of the ratio within a round.

    python benchmarks/projection.py            # about two minutes
    python benchmarks/projection.py --quick
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch

from plumbline.constraints import Conserved, Equations

ROUNDS = 5
TIMES, PLACES = 1000, 1000
# Batch, times and places of the second table.
SIZES = [(64, 4, 16), (16, 16, 64), (4, 32, 128), (4, 64, 256)]
# Relative residual at which the Gauss-Newton steps stop, and their maximum number.
SOLVED, STEPS = 1e-12, 50


def energy(u: torch.Tensor) -> torch.Tensor:
    """The energy at each time (B, times)."""
    return (u.pow(4) / 4 + u.square() / 2).sum(2)


def fields(batch: int, times: int, places: int) -> torch.Tensor:
    """Standard normal fields (batch, times, places), the same in every call."""
    g = torch.Generator().manual_seed(0)
    return torch.randn(batch, times, places, generator=g, dtype=torch.float64)


def has_energy(x: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """The residual (B, times) for a target energy of half the mean energy of the samples."""
    target = energy(x).mean() / 2
    return lambda u: energy(u) - target


def same_total(u: torch.Tensor) -> torch.Tensor:
    """The differences (B, times - 1) of later totals from the first one."""
    totals = u.sum(2)
    return totals[:, 1:] - totals[:, :1]


def gauss_newton(residual: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Undamped steps z <- z - J^T (J J^T)^{-1} h(z), with the dense J of the whole batch."""
    z, shape = x.flatten(1), x.shape[1:]

    def of_one(point: torch.Tensor) -> torch.Tensor:
        return residual(point.view(1, *shape))[0]

    jacobian_of = torch.func.vmap(torch.func.jacrev(of_one))
    for _ in range(STEPS):
        h = residual(z.view(x.shape))
        jacobian = jacobian_of(z)
        step = torch.linalg.solve(jacobian @ jacobian.mT, h[..., None])
        z = z - (jacobian.mT @ step).squeeze(-1)
        if bool((h.norm(dim=1) <= SOLVED * x.flatten(1).square().sum(1)).all()):
            break
    return z.view(x.shape)


def seconds(run: Callable[[], torch.Tensor]) -> float:
    """The wall-clock time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def large(rounds: int) -> None:
    """Prints time, memory and first-order optimality for a million unknowns."""
    x = fields(1, TIMES, PLACES)
    totals = Conserved((TIMES, PLACES), over=(1,), along=0)
    ways = {
        "`total` by Conserved": totals,
        "`total` by Equations": Equations(same_total, matrix_free=True),
        "`energy` by Equations": Equations(has_energy(x), matrix_free=True),
    }
    print(
        f"{TIMES * PLACES} unknowns, one sample; its Jacobian would take "
        f"{8 * TIMES**2 * PLACES / 2**30:.1f} GiB.\n"
    )
    print(
        "| constraint | equations | seconds | peak memory of the process, GiB | iterations | residual | "
        "KKT residual |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, constraint in ways.items():
        median = statistics.median(seconds(lambda c=constraint: c.project(x)) for _ in range(rounds))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows = constraint.residual(x).shape[1]
        if isinstance(constraint, Equations):
            report = constraint.project_with_report(x)
            results = (
                f"{int(report.iterations[0])} | {float(report.residual[0]):.1e} | {float(report.kkt[0]):.1e}"
            )
        else:
            results = (
                f"1 | {float(constraint.residual(constraint.project(x)).norm()):.1e} | 0, in closed form"
            )
        print(f"| {name} | {rows} | {median:.2f} | {peak:.2f} | {results} |", flush=True)
    by_equations, by_totals = ways["`total` by Equations"].project(x), totals.project(x)
    apart = float((by_equations - by_totals).norm() / by_totals.norm())
    print(f"\n`total`: the relative difference between the two projections is {apart:.1e}.\n")


def beside_gauss_newton(rounds: int) -> None:
    """Prints time and distance of our projection and their ratios to those of plain Gauss-Newton steps."""
    print(
        "| batch x times x places | constraint | ours, ms | Gauss-Newton, ms | ours / Gauss-Newton: "
        "time | distance |"
    )
    print("|---|---|---:|---:|---:|---:|")
    for batch, times, places in SIZES:
        x = fields(batch, times, places)
        for name, residual in (("total", same_total), ("energy", has_energy(x))):
            ways = {
                "ours": lambda r=residual, x=x: Equations(r).project(x),
                "gauss_newton": lambda r=residual, x=x: gauss_newton(r, x),
            }
            away = {way: float((run() - x).flatten(1).norm(dim=1).mean()) for way, run in ways.items()}
            found = [{way: seconds(run) for way, run in ways.items()} for _ in range(rounds)]
            ours, theirs = (1e3 * statistics.median(r[way] for r in found) for way in ways)
            ratio = statistics.median(r["ours"] / r["gauss_newton"] for r in found)
            print(
                f"| {batch} x {times} x {places} | {name} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} | "
                f"{away['ours'] / away['gauss_newton']:.4f} |",
                flush=True,
            )


def main() -> None:
    """Parses the options and prints two Markdown tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round per method")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 1 if options.quick else ROUNDS
    large(rounds)
    beside_gauss_newton(rounds)


if __name__ == "__main__":
    main()
