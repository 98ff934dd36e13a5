"""Projection onto constraints: a million unknowns without a matrix, and a comparison with Gauss-Newton steps.

Samples are fields u (times, places) in double precision, on one thread. There are two constraints:

- `total`: the sum over places is the same at all times. This is a linear equality, given as `Conserved` or as
  `Equations`.
- `energy`: the sum of u^4 / 4 + u^2 / 2 over places has a given value at each time. This is a curved
  equation, given as `Equations`.

The script prints three tables. The first has a thousand equations for a million unknowns; the Jacobian of one
sample would take eight gigabytes. The second compares our projection with batched Gauss-Newton steps with a
dense Jacobian, as in PCFM (https://arxiv.org/abs/2506.04171). These steps stop when the equations hold and do
not search for the nearest point. The methods are timed alternately in several rounds, and ratios are medians
of the ratio within a round.

The third table projects onto random polytopes A x <= b, with three methods: ours, a Newton method for the
dual; Douglas-Rachford splitting between the graph of A and the limits, as in Pi-net
(https://arxiv.org/abs/2508.10480); and one solve per sample of a parametrised CVXPY problem by Clarabel, as
in the forward pass of cvxpylayers (https://arxiv.org/abs/1910.12430). The splitting stops at a relative
change of 1e-8.

    python benchmarks/projection.py            # about two minutes
    python benchmarks/projection.py --quick
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import cvxpy
import torch

from plumbline.constraints import Conserved, Equations, Polytope

ROUNDS = 5
TIMES, PLACES = 1000, 1000
# Batch, times and places of the second table.
SIZES = [(64, 4, 16), (16, 16, 64), (4, 32, 128), (4, 64, 256)]
# Relative residual at which the Gauss-Newton steps stop, and their maximum number.
SOLVED, STEPS = 1e-12, 50
# Batch, unknowns and inequalities of the third table.
POLYTOPES = [(256, 10, 5), (256, 50, 20), (64, 200, 50)]
# Relative change at which the splitting stops, and its maximum number of rounds.
UNCHANGED, ROUNDS_OF_SPLITTING = 1e-8, 20_000


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


def splitting(x: torch.Tensor, matrix: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """The projection of x (B, n) onto A x <= b by Douglas-Rachford splitting in (x, s) with s = A x."""
    unknowns = matrix.shape[1]
    gram = torch.linalg.inv(torch.eye(unknowns, dtype=x.dtype) + matrix.mT @ matrix)
    z = torch.cat([x, x @ matrix.mT], dim=1)
    for _ in range(ROUNDS_OF_SPLITTING):
        # The nearest point of the graph s = A x, and the proximal step of |x - x_0|^2 / 2 and of s <= b.
        nearest = (z[:, :unknowns] + z[:, unknowns:] @ matrix) @ gram
        graph = torch.cat([nearest, nearest @ matrix.mT], dim=1)
        reflected = 2 * graph - z
        proximal = torch.cat(
            [(reflected[:, :unknowns] + x) / 2, reflected[:, unknowns:].minimum(limit)], dim=1
        )
        change = proximal - graph
        z = z + change
        if float(change.abs().max()) <= UNCHANGED * float(z.abs().max()):
            break
    return graph[:, :unknowns]


def solver(matrix: torch.Tensor, limit: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """The projection onto A x <= b of one sample after another by a parametrised problem of CVXPY."""
    point, start = cvxpy.Variable(matrix.shape[1]), cvxpy.Parameter(matrix.shape[1])
    problem = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.sum_squares(point - start)), [matrix.numpy() @ point <= limit.numpy()]
    )

    def project(x: torch.Tensor) -> torch.Tensor:
        found = []
        for one in x:
            start.value = one.numpy()
            problem.solve(solver=cvxpy.CLARABEL)
            found.append(torch.as_tensor(point.value))
        return torch.stack(found)

    return project


def onto_polytopes(rounds: int) -> None:
    """Prints the table of projections onto polytopes."""
    print(
        "\n| batch | unknowns | inequalities | ours (s) | splitting, ratio to ours | solver, ratio to ours |",
        end="",
    )
    print(" largest violation: ours | splitting | solver | largest difference from the solver: ours |")
    print("|" + "---:|" * 10)
    for batch, unknowns, rows in POLYTOPES:
        g = torch.Generator().manual_seed(0)
        matrix = torch.randn(rows, unknowns, generator=g, dtype=torch.float64) / unknowns**0.5
        limit = torch.rand(rows, generator=g, dtype=torch.float64) / 2
        x = 2 * torch.randn(batch, unknowns, generator=g, dtype=torch.float64)
        ours = Polytope(matrix, limit)
        by_solver = solver(matrix, limit)
        methods: list[Callable[[], torch.Tensor]] = [
            lambda ours=ours, x=x: ours.project(x),
            lambda x=x, matrix=matrix, limit=limit: splitting(x, matrix, limit),
            lambda by_solver=by_solver, x=x: by_solver(x),
        ]
        points = [method() for method in methods]
        times = [[seconds(method) for method in methods] for _ in range(rounds)]
        ratios = [statistics.median(t[i] / t[0] for t in times) for i in (1, 2)]
        violations = " | ".join(f"{float((p @ matrix.mT - limit).clamp(min=0).max()):.1e}" for p in points)
        print(
            f"| {batch} | {unknowns} | {rows} | {statistics.median(t[0] for t in times):.3g} "
            f"| {ratios[0]:.3g} | {ratios[1]:.3g} | {violations} "
            f"| {float((points[0] - points[2]).abs().max()):.1e} |"
        )


def main() -> None:
    """Parses the options and prints three Markdown tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round per method")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 1 if options.quick else ROUNDS
    large(rounds)
    beside_gauss_newton(rounds)
    onto_polytopes(rounds)


if __name__ == "__main__":
    main()
