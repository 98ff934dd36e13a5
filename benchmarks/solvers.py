"""Speed of Plumbline's solvers compared with exponax, jax-cfd and torch-cfd.

All have the same grid, step, scheme, precision and number of threads. Each library runs in its own process,
pinned to one core per thread. In each round the processes are timed in turn while the others sleep. The table
shows the median over rounds of microseconds per step and trajectory, and the median of the ratio within a
round, which is robust to drifts of the machine's speed. Times are CPU times on one thread, which other jobs
affect little, and wall times on more, which need idle cores.

    python benchmarks/solvers.py                 # all cases, about half an hour
    python benchmarks/solvers.py --threads 1     # only those on one thread
    python benchmarks/solvers.py --quick         # one thread, single precision
    python benchmarks/solvers.py --parts         # a compiled step, a step in torch and its transforms alone
    python benchmarks/solvers.py --work-precision  # time to a given error for our schemes
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time

LENGTH = 2 * math.pi
VISCOSITY = {"burgers": 0.05, "kolmogorov": 1e-3}
DRAG = 0.1
STEP = {
    ("burgers", 256): 2e-3,
    ("kolmogorov", 64): 5e-3,
    ("kolmogorov", 128): 2.5e-3,
    ("kolmogorov", 256): 1.25e-3,
}
CASES = [("burgers", 256, 256), ("kolmogorov", 64, 16), ("kolmogorov", 128, 8), ("kolmogorov", 256, 2)]
# The peers of each problem, each with the scheme of ours that it also implements.
PEERS = {
    "burgers": [("exponax", "etdrk4"), ("jax-cfd", "cnrk4")],
    "kolmogorov": [("exponax", "etdrk4"), ("jax-cfd", "cnrk4"), ("torch-cfd", "cnrk4")],
}


def initial_field(problem: str, points: int, batch: int):
    """Smooth random fields (batch, ...) of unit standard deviation, the same for every library."""
    import numpy as np

    rng = np.random.default_rng(0)
    if problem == "burgers":
        x = np.arange(points) * LENGTH / points
        waves = np.arange(1, 5)[:, None]
        amplitude, phase = rng.standard_normal((batch, 4, 1)), rng.uniform(0, LENGTH, (batch, 4, 1))
        field = (amplitude / waves * np.sin(waves * x + phase)).sum(1)
    else:
        noise = rng.standard_normal((batch, points, points))
        k = np.fft.fftfreq(points, 1 / points)
        square = k[:, None] ** 2 + k[None, :] ** 2
        field = np.fft.ifft2(np.fft.fft2(noise) * np.exp(-square / 12) * (square > 0)).real
    return field / field.std((-2, -1), keepdims=True) if problem != "burgers" else field / field.std()


def advance_ours(problem: str, points: int, dtype: str, scheme: str):
    """Returns a function (field, steps) -> field that runs our solver."""
    import torch

    from plumbline.solvers import burgers, kolmogorov

    step = STEP[problem, points]
    torch_dtype = getattr(torch, dtype)

    def advance(field, steps):
        u = torch.as_tensor(field, dtype=torch_dtype)
        times = torch.tensor([steps * step], dtype=torch.float64)
        if problem == "burgers":
            return burgers.solve(
                u, times, length=LENGTH, viscosity=VISCOSITY[problem], max_step=step, scheme=scheme
            )[:, 0]
        return kolmogorov.solve(
            u, times, length=LENGTH, viscosity=VISCOSITY[problem], drag=DRAG, forcing_amplitude=0.0,
            forcing_wavenumber=1, max_step=step, scheme=scheme,
        )[:, 0]  # fmt: skip

    return lambda field, steps: advance(field, steps).numpy()


def advance_exponax(problem: str, points: int, dtype: str):
    """Returns a function (field, steps) -> field that runs exponax."""
    import exponax
    import jax
    import numpy as np

    step = STEP[problem, points]
    if problem == "burgers":
        stepper = exponax.stepper.Burgers(
            1, LENGTH, points, step, diffusivity=VISCOSITY[problem], order=4, conservative=True
        )
    else:
        stepper = exponax.stepper.KolmogorovFlowVorticity(
            2, LENGTH, points, step, diffusivity=VISCOSITY[problem], drag=-DRAG, injection_scale=0.0, order=4
        )
    axes = tuple(range(2, 3 if problem == "burgers" else 4))
    # exponax's vorticity has the opposite sign.
    sign = 1 if problem == "burgers" else -1

    def run(u, n):
        # The state stays in Fourier space between steps, as in our solver.
        hat = jax.numpy.fft.rfftn(u, axes=axes)
        hat = jax.lax.fori_loop(0, n, lambda _, v: jax.vmap(stepper.step_fourier)(v), hat)
        return jax.numpy.fft.irfftn(hat, s=u.shape[2:], axes=axes)

    compiled = jax.jit(run)

    def advance(field, steps):
        u = sign * np.asarray(field, dtype)[:, None]
        return sign * np.asarray(compiled(u, steps).block_until_ready())[:, 0]

    return advance


def advance_jax_cfd(problem: str, points: int, dtype: str):
    """Returns a function (field, steps) -> field that runs jax-cfd's spectral solvers."""
    import jax

    # jax-cfd 0.2.1 uses the old name of this function.
    jax.tree_map = jax.tree_util.tree_map
    import jax.numpy as jnp
    import numpy as np
    from jax_cfd.base import grids
    from jax_cfd.spectral import equations, time_stepping

    step = STEP[problem, points]
    if problem == "burgers":
        grid = grids.Grid((points,), domain=((0, LENGTH),))
        equation = equations.ForcedBurgersEquation(
            viscosity=VISCOSITY[problem], grid=grid, forcing_module=None
        )
    else:
        grid = grids.Grid((points, points), domain=((0, LENGTH), (0, LENGTH)))
        equation = equations.NavierStokes2D(VISCOSITY[problem], grid, drag=DRAG, smooth=True)
    stepper = time_stepping.crank_nicolson_rk4(equation, step)
    transform, back = (
        (jnp.fft.rfft, jnp.fft.irfft) if problem == "burgers" else (jnp.fft.rfft2, jnp.fft.irfft2)
    )

    def one(u, n):
        hat = transform(u)
        if problem == "burgers":
            return back(jax.lax.fori_loop(0, n, lambda _, s: stepper(s), (hat, 0.0))[0])
        return back(jax.lax.fori_loop(0, n, lambda _, s: stepper(s), hat))

    run = jax.jit(jax.vmap(one, in_axes=(0, None)))
    return lambda field, steps: np.asarray(run(np.asarray(field, dtype), steps).block_until_ready())


def advance_torch_cfd(problem: str, points: int, dtype: str):
    """Returns a function (field, steps) -> field that runs torch-cfd's spectral solver."""
    import torch
    from torch_cfd.grids import Grid
    from torch_cfd.spectral import NavierStokes2DSpectral, RK4CrankNicolsonStepper

    torch.set_default_dtype(getattr(torch, dtype))
    grid = Grid((points, points), domain=((0, LENGTH), (0, LENGTH)))
    solver = NavierStokes2DSpectral(
        viscosity=VISCOSITY[problem], grid=grid, drag=DRAG, smooth=True, step_fn=RK4CrankNicolsonStepper()
    ).to(getattr(torch, dtype))

    def advance(field, steps):
        hat = torch.fft.rfft2(torch.as_tensor(field, dtype=getattr(torch, dtype)))
        with torch.no_grad():
            hat, _ = solver(hat, STEP[problem, points], steps=steps)
        return torch.fft.irfft2(hat).numpy()

    return advance


def work(library: str, threads: int, dtype: str) -> None:
    """Runs a worker, which reads one JSON order per line from stdin: to set up a case, or to time it."""
    os.sched_setaffinity(0, range(threads))
    if library == "ours" or library == "torch-cfd":
        import torch

        torch.set_num_threads(threads)
    else:
        import jax

        jax.config.update("jax_enable_x64", dtype == "float64")
    makers = {"exponax": advance_exponax, "jax-cfd": advance_jax_cfd, "torch-cfd": advance_torch_cfd}
    advance, field, steps = None, None, 1
    for line in sys.stdin:
        order = json.loads(line)
        if "case" in order:
            problem, points, batch = order["case"]
            field, steps = initial_field(problem, points, batch), order["steps"]
            if library == "ours":
                advance = advance_ours(problem, points, dtype, order["scheme"])
            else:
                advance = makers[library](problem, points, dtype)
            answer = {
                "checksum": advance(field, 20).astype("float64")[0].ravel()[:: max(1, points // 8)].tolist()
            }
        else:
            clock = time.process_time if threads == 1 else time.perf_counter
            started = clock()
            advance(field, steps)
            answer = {"seconds": clock() - started}
        print(json.dumps(answer), flush=True)


class Worker:
    """A process that runs one library."""

    def __init__(self, library: str, threads: int, dtype: str) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
            "JAX_PLATFORMS": "cpu",
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", library, str(threads), dtype],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return json.loads(line) if line else None


def compare(case, threads: int, dtype: str, rounds: int) -> None:
    """Times one case with ours and each peer, and prints one line per peer."""
    problem, points, batch = case
    steps = {("burgers", 256): 200, ("kolmogorov", 64): 80, ("kolmogorov", 128): 30, ("kolmogorov", 256): 16}[
        problem, points
    ]
    for peer, scheme in PEERS[problem]:
        pair = {"ours": Worker("ours", threads, dtype), peer: Worker(peer, threads, dtype)}
        answers = {name: worker.ask(case=case, steps=steps, scheme=scheme) for name, worker in pair.items()}
        label = f"{problem} {points} x {batch}, {dtype}, {threads} thread{'s' * (threads > 1)}"
        if None in answers.values():
            print(f"| {label} | {scheme} | {peer} | did not run | | | |", flush=True)
            continue
        for worker in pair.values():
            worker.ask(time=True)
        seconds = {name: [] for name in pair}
        for _ in range(rounds):
            for name, worker in pair.items():
                seconds[name].append(worker.ask(time=True)["seconds"])
        unit = 1e6 / steps / batch
        ours, theirs = (statistics.median(s) * unit for s in seconds.values())
        ratio = statistics.median(b / a for a, b in zip(*seconds.values()))
        first, second = (a["checksum"] for a in answers.values())
        scale = max(abs(v) for v in first)
        difference = max(abs(a - b) for a, b in zip(first, second)) / scale
        print(
            f"| {label} | {scheme} | {peer} | {ours:.2f} | {theirs:.2f} | {ratio:.2f} | {difference:.1e} |",
            flush=True,
        )
        for worker in pair.values():
            worker.process.stdin.close()
            worker.process.wait()


def parts(rounds: int) -> None:
    """Prints the CPU time of an ETDRK4 step, compiled and in torch, and of transforms alone.

    The transforms are real transforms by torch of the whole grid, as many as four evaluations need: one each
    way for Burgers and two each way for Kolmogorov flow.
    """
    import torch

    from plumbline.solvers import _compiled

    torch.set_num_threads(1)
    columns = ("compiled step", "step in torch", "torch's transforms alone", "step / compiled")
    print(f"| case, us per step and trajectory | {' | '.join(columns)} | transforms / compiled |")
    print("|---|---|---|---|---|---|")
    library = _compiled.library
    for dtype in ("float32", "float64"):
        for problem, points, batch in CASES:
            field, steps = initial_field(problem, points, batch), 50
            advance = advance_ours(problem, points, dtype, "etdrk4")
            fields = torch.as_tensor(field, dtype=getattr(torch, dtype))
            stacked = fields if problem == "burgers" else torch.stack([fields, fields])
            axes = (-1,) if problem == "burgers" else (-2, -1)

            def transforms(stacked=stacked, axes=axes, steps=steps):
                for _ in range(4 * steps):
                    modes = torch.fft.rfftn(stacked, dim=axes)
                    torch.fft.irfftn(modes, s=stacked.shape[axes[0] :], dim=axes)

            def in_torch(advance=advance, field=field, steps=steps):
                _compiled.library = lambda dtype: None
                advance(field, steps)
                _compiled.library = library

            seconds = []
            for function in (lambda: advance(field, steps), in_torch, transforms) * (rounds + 1):  # noqa: B023
                started = time.process_time()
                function()
                seconds.append(time.process_time() - started)
            # The first round warms up.
            rows = [seconds[i : i + 3] for i in range(3, len(seconds), 3)]
            medians = [statistics.median(column) * 1e6 / steps / batch for column in zip(*rows)]
            ratios = [statistics.median(row[i] / row[0] for row in rows) for i in (1, 2)]
            figures = " | ".join(f"{value:.2f}" for value in (*medians, *ratios))
            print(f"| {problem} {points} x {batch}, {dtype} | {figures} |", flush=True)


def work_precision() -> None:
    """Prints error and CPU time of ETDRK4 and ETDAB4 by number of steps, on one thread in float64."""
    import torch

    from plumbline.solvers import burgers, kolmogorov

    torch.set_num_threads(1)
    print("| problem | scheme | steps | relative error | milliseconds |\n|---|---|---|---|---|")
    for problem, points, batch, counts in (
        ("burgers", 256, 32, (50, 100, 200, 400, 800)),
        ("kolmogorov", 64, 4, (25, 50, 100, 200, 400)),
    ):
        u0 = torch.as_tensor(initial_field(problem, points, batch))

        def run(steps, scheme, problem=problem, u0=u0):
            options = {"length": LENGTH, "max_step": 1.0 / steps, "scheme": scheme}
            if problem == "burgers":
                return burgers.solve(u0, torch.tensor([1.0]), viscosity=0.05, **options)
            return kolmogorov.solve(
                u0,
                torch.tensor([1.0]),
                viscosity=1e-2,
                drag=DRAG,
                forcing_amplitude=1.0,
                forcing_wavenumber=4,
                **options,
            )

        truth = run(6400, "etdrk4")
        for scheme in ("etdrk4", "etdab4"):
            for steps in counts:
                result = run(steps, scheme)
                times = []
                for _ in range(5):
                    started = time.process_time()
                    run(steps, scheme)
                    times.append(time.process_time() - started)
                error = float((result - truth).norm() / truth.norm())
                case = f"{problem} {points} x {batch}"
                print(f"| {case} | {scheme} | {steps} | {error:.1e} | {1e3 * min(times):.1f} |", flush=True)


def main() -> None:
    """Parses the options and prints a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--work-precision", action="store_true")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker[0], int(options.worker[1]), options.worker[2])
    if options.parts:
        return parts(options.rounds)
    if options.work_precision:
        return work_precision()
    columns = ("case", "scheme", "peer", "ours, us per step and trajectory", "peer", "peer / ours")
    print(f"| {' | '.join((*columns, 'difference after 20 steps'))} |")
    print("|---|---|---|---|---|---|---|")
    for dtype in ("float32",) if options.quick else ("float32", "float64"):
        for threads in (1,) if options.quick else options.threads:
            for case in CASES:
                compare(case, threads, dtype, options.rounds)
    return None


if __name__ == "__main__":
    main()
