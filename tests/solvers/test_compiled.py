"""The compiled steps compared with those in torch, and what happens where they are not available."""

import logging
import math
import shutil

import pytest
import torch
from torch.autograd import forward_ad

from plumbline.solvers import _compiled, burgers, kolmogorov

SIDE = 2 * math.pi
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


@pytest.fixture
def in_torch(monkeypatch):
    """Calls a function with the compiled steps switched off."""

    def call(function, *arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(_compiled, "library", lambda dtype: None)
            return function(*arguments, **options)

    return call


@pytest.fixture
def fresh_library(monkeypatch, tmp_path):
    """An empty cache of compiled libraries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    _compiled.library.cache_clear()
    yield tmp_path / "plumbline"
    _compiled.library.cache_clear()


def velocities(batch: int, points: int, dtype=torch.float64) -> torch.Tensor:
    """Smooth velocities of very different size."""
    x = torch.arange(points, dtype=torch.float64) * SIDE / points
    phase = torch.arange(batch, dtype=torch.float64)[:, None]
    return (2.0 ** -(phase % 7) * (torch.sin(x + phase) + 0.3 * torch.cos(3 * x - phase) + 0.1)).to(dtype)


def vorticities(batch: int, points: int, dtype=torch.float64) -> torch.Tensor:
    noise = torch.randn(
        batch, points, points, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    k = torch.fft.fftfreq(points, 1 / points, dtype=torch.float64)
    field = torch.fft.ifft2(torch.fft.fft2(noise) * torch.exp(-0.1 * (k[:, None] ** 2 + k**2))).real
    field = field / field.std((1, 2), keepdim=True)
    return (3 * 2.0 ** -torch.arange(batch)[:, None, None] * field).to(dtype)


def solve_burgers(u0, times=(0.1, 0.2, 0.25), **options):
    return burgers.solve(u0, torch.tensor(times), length=SIDE, viscosity=0.05, **options)


def solve_kolmogorov(w0, times=(0.1, 0.2, 0.25), **options):
    return kolmogorov.solve(
        w0, torch.tensor(times), length=3.0, viscosity=0.01, drag=0.1, forcing_amplitude=1.0,
        forcing_wavenumber=2, **options,
    )  # fmt: skip


def distance(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest difference of a trajectory, relative to the trajectory's own size."""
    difference = (found - exact).double().flatten(1).norm(dim=1) / exact.double().flatten(1).norm(dim=1)
    return float(difference.max())


@needs_compiler
@pytest.mark.parametrize("scheme", ["etdrk4", "etdab4", "cnrk4", None])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
# Powers of two, lengths with factors three and five, one that is below a vector, and more or fewer
# trajectories than lanes.
@pytest.mark.parametrize(("points", "batch"), [(64, 3), (90, 40), (8, 1), (250, 16)])
def test_burgers_agrees_with_torch(in_torch, scheme, dtype, tolerance, points, batch):
    u0 = velocities(batch, points, dtype)
    options = {"scheme": scheme, "max_step": 0.004 if scheme else None}
    exact = in_torch(solve_burgers, u0, **options)
    assert distance(solve_burgers(u0, **options), exact) < tolerance


@needs_compiler
@pytest.mark.parametrize("scheme", ["etdrk4", "etdab4", "cnrk4", None])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-13), (torch.float32, 2e-5)])
@pytest.mark.parametrize(("points", "batch"), [(32, 3), (30, 1), (45, 2), (50, 2), (64, 1)])
def test_kolmogorov_agrees_with_torch(in_torch, scheme, dtype, tolerance, points, batch):
    w0 = vorticities(batch, points, dtype)
    options = {"scheme": scheme, "max_step": 0.004 if scheme else None}
    exact = in_torch(solve_kolmogorov, w0, **options)
    assert distance(solve_kolmogorov(w0, **options), exact) < tolerance


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_steps_have_the_same_bits_in_every_batch_and_on_every_number_of_threads(dtype):
    """Torch's transforms before and after the steps may round differently for other batches and threads."""
    flow = kolmogorov.compiled_system(32, 3.0, 0.01, 0.1, 1.0, 2, dtype)
    waves = burgers.compiled_system(64, SIDE, 0.05, dtype)
    modes = torch.view_as_real(torch.fft.rfft(velocities(40, 64, dtype), norm="forward")[:, :22]).flatten(1)
    blocks = burgers._in_blocks
    states = [
        (flow, lambda kept: kolmogorov.pack_columns(vorticities(5, 32, dtype))[kept], 5),
        (waves, lambda kept: blocks(modes[kept]), 40),
    ]
    threads = torch.get_num_threads()
    for system, state, batch in states:

        def solve(kept, system=system, state=state):
            u = system.advanced("etdab4", state(kept), (), 0.001, 20)[0]
            return u if system is flow else burgers._from_blocks(u)[: len(kept)]

        everything = torch.arange(batch)
        together = solve(everything)
        assert torch.equal(solve(everything.flip(0)).flip(0), together)
        assert torch.equal(solve(everything[1:2]), together[1:2])
        try:
            torch.set_num_threads(3)
            assert torch.equal(solve(everything), together)
        finally:
            torch.set_num_threads(threads)


@needs_compiler
def test_the_compiled_steps_are_used_only_without_gradients():
    u0 = velocities(2, 32)
    assert _compiled.usable(u0, 16)
    assert not _compiled.usable(u0, 14)
    assert not _compiled.usable(u0.to("meta"), 16)
    with torch.no_grad():
        assert _compiled.usable(u0.clone().requires_grad_(), 16)
    assert not _compiled.usable(u0.clone().requires_grad_(), 16)


def test_forward_derivatives_are_those_of_torch():
    """A central difference of the compiled solution, along a direction that the tangent must follow."""
    u0, direction, h = velocities(2, 32), velocities(2, 32).flip(0), 1e-5
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(solve_burgers(forward_ad.make_dual(u0, direction))).tangent
    expected = (solve_burgers(u0 + h * direction) - solve_burgers(u0 - h * direction)) / (2 * h)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    _, found = torch.func.jvp(solve_burgers, (u0,), (direction,))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    gradient = torch.func.grad(lambda u: solve_burgers(u).square().sum())(u0)
    h = 1e-4
    energies = [solve_burgers(u0 + s * h * direction).square().sum() for s in (1, -1)]
    torch.testing.assert_close((gradient * direction).sum(), (energies[0] - energies[1]) / (2 * h))


@needs_compiler
def test_the_library_is_compiled_once(fresh_library):
    assert _compiled.library(torch.float64) is not None
    (path,) = fresh_library.iterdir()
    compiled_at = path.stat().st_mtime_ns
    _compiled.library.cache_clear()
    assert _compiled.library(torch.float64) is not None
    assert _compiled.library(torch.float32) is not None
    assert path.stat().st_mtime_ns == compiled_at
    assert len(list(fresh_library.iterdir())) == 2


@pytest.mark.parametrize(
    ("variables", "level", "words"),
    [
        ({"CC": "no-such-compiler"}, logging.INFO, "no C compiler found (no-such-compiler)"),
        ({"CC": "false"}, logging.WARNING, "ended with status 1"),
        ({"PLUMBLINE_COMPILED_SOLVERS": "0"}, None, ""),
    ],
)
def test_without_a_compiler_the_solver_runs_in_torch(
    fresh_library, monkeypatch, caplog, in_torch, variables, level, words
):
    u0 = velocities(2, 32)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.INFO, logger="plumbline.solvers"):
        found = solve_burgers(u0)
    assert [(record.levelno, words in record.message) for record in caplog.records] == (
        [(level, True)] if level else []
    )
    assert torch.equal(found, in_torch(solve_burgers, u0))


@needs_compiler
def test_a_folder_that_cannot_be_written_does_not_prevent_compiling(fresh_library, monkeypatch, tmp_path):
    occupied = tmp_path / "file"
    occupied.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(occupied))
    assert _compiled.library(torch.float64) is not None
