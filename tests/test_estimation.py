"""Estimates: counts of small networks by hand, resources that follow from them, and every bundled study."""

import json
import logging
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from plumbline.estimate_command import print_sum
from plumbline.estimates import FOLDER, JobEstimate, StudyEstimate, Work, remember, remembered
from plumbline.estimating import RunRequests, remembered_estimates
from plumbline.estimation import estimate_study
from plumbline.estimation._counts import Fake, count_real
from plumbline.estimation._meter import Meter
from plumbline.machine import MachineSpec, ResourcesSpec
from plumbline.plan import Plan
from plumbline.resources import FIXED, LEAST_MINUTES, Requests, duration, jobs_of, total
from plumbline.solvers import burgers
from plumbline.solvers._compiled import library, usable
from plumbline.spec import digest
from plumbline.study import REAL, Study, load_study

ROOT = Path(__file__).parents[1]
STUDIES = sorted(path.stem for path in (ROOT / "config" / "studies").glob("*.yaml"))
QUIET = logging.getLogger("quiet")


def study_of(name: str, scale: str = "laptop") -> Study:
    return load_study(ROOT / "config" / "studies" / f"{name}.yaml", scale)


@pytest.fixture(scope="module")
def estimated() -> tuple[Study, StudyEstimate]:
    study = study_of("combustion")
    return study, estimate_study(study)


def step(network: nn.Module, x: torch.Tensor) -> None:
    network(x).square().sum().backward()


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 10))


def test_operations_are_those_of_torch_and_of_a_count_by_hand():
    with Meter() as meter:
        step(network(), torch.ones(4, 3, 8, 8))
    with FlopCounterMode(display=False) as counter:
        step(network(), torch.ones(4, 3, 8, 8))
    assert meter.flops == counter.get_total_flops()
    # Two for each product: forward, the gradient of the weights, and of the inputs of the last layer alone.
    convolution, linear = 2 * 4 * 8 * 64 * 27, 2 * 4 * 10 * 8 * 64
    assert meter.flops == 2 * convolution + 3 * linear


def test_fake_tensors_count_as_real_ones_do():
    fake, model = Fake(), network()
    with Meter() as meter:
        step(model, torch.ones(4, 3, 8, 8))
    model.zero_grad()
    fakes = fake.take_values(model)
    found = fake.count(lambda: step(fakes, fake.tensors({"x": torch.ones(1, 3, 8, 8)}, 4)["x"]))
    assert found.work.flops == meter.flops
    assert found.work.bytes == pytest.approx(meter.traffic, rel=0.02)
    assert found.peak == pytest.approx(meter.peak, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_solvers_leave_fake_tensors_alone(dtype):
    """They would write to memory that a fake tensor does not have."""
    fake = Fake().tensors({"x": torch.ones(1, 64, dtype=dtype)}, 4)["x"]
    assert not usable(fake, 96)
    assert usable(torch.ones(4, 64, dtype=dtype), 96) == (library(dtype) is not None)


def test_solvers_keep_no_fake_constants():
    """What is counted on real samples afterwards would meet tensors without values."""

    def solved(fields: torch.Tensor) -> torch.Tensor:
        return burgers.solve(fields.requires_grad_(), torch.tensor([0.0, 0.1]), viscosity=0.1, length=1.0)

    fake = Fake()
    fields = fake.tensors({"x": torch.ones(1, 30)}, 2)["x"]
    fake.count(lambda: float(solved(fields).detach().sum()))
    assert torch.isfinite(solved(torch.ones(2, 30))).all()


def test_memory_is_freed_with_the_last_tensor_that_shares_it():
    with Meter() as meter:
        x = torch.zeros(1000)
        view = x[:10].view(2, 5)
        del x
        assert meter.live == 4000
        del view
        assert meter.live == 0
        torch.zeros(500)
    assert meter.peak == 4000


def test_factorisations_and_ffts_count():
    a = torch.eye(12, dtype=torch.float64)
    with Meter() as meter:
        torch.linalg.cholesky(a)
    assert meter.flops == pytest.approx(12**3 / 3)
    with Meter() as meter:
        torch.fft.fft(torch.ones(5, 64, dtype=torch.complex64))
    assert meter.flops == 5 * 5 * 64 * 6


def test_counts_of_few_samples_are_extrapolated():
    weights = torch.ones(7, 3)
    found = count_real(lambda n: (torch.ones(n, 7) @ weights).sum() and None, 100)
    assert found.work.flops == 2 * 100 * 7 * 3


def test_a_training_is_counted_as_its_network_is(estimated):
    study, estimate = estimated
    job = estimate.of("train", "diffusion")
    assert not job.note, "it needs no real samples"
    training = study.models["diffusion"].training
    assert job.steps == training.steps
    # Each weight of the network takes part in a product forward and in two backward, for each sample; biases,
    # norms and the embedding of noise levels are few.
    whole = 6 * training.batch * job.parameters
    assert 0.8 * whole < job.flops_per_step < whole
    assert job.work.flops == pytest.approx(training.steps * job.flops_per_step, rel=0.01)


def test_memory_holds_data_weights_gradients_moments_and_average(estimated):
    study, estimate = estimated
    job = estimate.of("train", "diffusion")
    samples = 4 * study.dataset.splits.total * 12
    assert job.memory > samples + 5 * 4 * job.parameters


def test_a_sampler_costs_what_it_evaluates(estimated):
    study, estimate = estimated
    heun, best = estimate.of("sample", "unconstrained"), estimate.of("sample", "best_of_n")
    draws = study.methods["best_of_n"].sampler.draws
    assert heun.network_evaluations == 2 * study.methods["unconstrained"].sampler.steps + 1
    assert best.network_evaluations == draws * heun.network_evaluations
    assert best.work.flops == pytest.approx(draws * heun.work.flops, rel=0.05)


def test_a_training_over_several_machines_is_counted_on_one(estimated):
    study, found = estimated
    models = {
        name: spec.model_copy(update={"training": spec.training.model_copy(update={"nodes": 2})})
        for name, spec in study.models.items()
        if not spec.depends_on()
    }
    spread = estimate_study(study.model_copy(update={"models": study.models | models}))
    for name in models:
        assert spread.of("train", name).work.operations == found.of("train", name).work.operations


def test_missing_data_is_stated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = estimate_study(study_of("fair_celeba"))
    assert not found.jobs and "does not exist yet" in found.problem


def test_estimates_are_remembered(tmp_path):
    written = StudyEstimate({"train/a": JobEstimate(Work(1, 2, 3, 4), 5, 6, 7)})
    remember(written, tmp_path / "one.json")
    assert remembered(tmp_path / "one.json") == written
    (tmp_path / "one.json").write_text(json.dumps({"version": 0, "jobs": {}, "problem": ""}))
    assert remembered(tmp_path / "one.json") is None


def test_rules_ask_for_the_estimate_with_its_margin():
    study = study_of("gaussian")
    plan = Plan(study)
    machine = MachineSpec(overhead=1.0, throughput=10.0, bandwidth=100.0)
    spec = ResourcesSpec(margin=3, start=5, memory=250, core=machine)
    work = Work(operations=600, flops=6000, bytes=60000, seconds=1)
    estimate = StudyEstimate({"train/gaussian": JobEstimate(work, memory=1e9)})
    requests = Requests([plan], {"gaussian": estimate}, spec, "laptop")
    request = requests.of("train", plan.trained_name("gaussian"))
    assert request.seconds == 5 + 600 + 600 + 600 + 1
    assert request.runtime() == -(-3 * 1806 // 60) and request.runtime(2) == 2 * request.runtime()
    assert request.mem_mb() == 3800 and request.mem_mb(3) == 3 * 3800
    # Without an estimate, fixed amounts; no job asks for less than the least time.
    assert requests.of("sample", "gaussian/ddpm").mem_mb() == 8000
    assert (
        Requests([plan], {"gaussian": StudyEstimate({"compare": JobEstimate()})}, spec, "laptop")
        .of("compare", "gaussian")
        .runtime()
        == LEAST_MINUTES
    )


def test_jobs_on_a_gpu_use_its_speed():
    study = study_of("combustion", "paper")
    plan = Plan(study)
    work = Work(flops=1e15)
    estimate = {"combustion": StudyEstimate({"train/diffusion": JobEstimate(work)})}
    found = Requests([plan], estimate, ResourcesSpec(start=0), "paper").of(
        "train", plan.trained_name("diffusion")
    )
    assert found.gpus == 1
    assert found.seconds == pytest.approx(1e15 / ResourcesSpec().gpu.throughput)


def test_priorities_are_paths_to_the_report():
    """What a job waits for is more urgent, and the long training of Burgers comes before all others."""
    studies = {name: study_of(name) for name in ("burgers", "gaussian")}
    plans = {name: Plan(study) for name, study in studies.items()}
    requests = Requests(plans.values(), {}, ResourcesSpec(), "laptop")
    burgers = plans["burgers"]
    chain = [
        requests.of("generate", burgers.dataset_name()),
        requests.of("rehearse", burgers.dataset_name()),
        requests.of("train", burgers.trained_name("diffusion")),
        requests.of("sample", "burgers/ddpm"),
        requests.of("evaluate", "burgers/ddpm"),
        requests.of("compare", "burgers"),
        requests.of("report"),
    ]
    paths = [one.path for one in chain]
    assert all(a > b for a, b in pairwise(paths))
    assert paths[0] == pytest.approx(sum(one.seconds for one in chain))
    trainings = {job.of: one.path for job, one in requests.requests.items() if job.stage == "train"}
    assert max(trainings, key=trainings.__getitem__) == burgers.trained_name("diffusion")
    assert len(trainings) > 2


def test_the_sum_counts_every_part_and_seed_once():
    plan = Plan(study_of("burgers"))
    requests = Requests([plan], {}, ResourcesSpec(), "laptop")
    found = total([plan, plan], {}, requests)
    jobs = list(jobs_of(plan))
    assert found.jobs == 1 + sum(count for _, _, count in jobs)
    expected = sum(count * requests.of(*job).seconds for job, _, count in jobs)
    assert found.core_seconds == pytest.approx(expected + requests.of("report").seconds)


def test_estimates_are_read_and_started_without_torch(tmp_path):
    program = (
        "import sys, logging; from pathlib import Path; from plumbline.estimating import *; "
        f"from plumbline.study import load_study; study = load_study({str(ROOT)!r} + "
        "'/config/studies/gaussian.yaml', 'laptop'); "
        "found = estimates_of([study], Path('known'), logging.getLogger()); "
        "assert found['gaussian'].of('sample', 'ddpm').network_evaluations == 129, found; "
        "assert 'torch' not in sys.modules"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=300)
    assert len(list((tmp_path / "known").glob("*.json"))) == 1


def test_requests_of_a_run_follow_the_estimate_once_it_is_known(tmp_path):
    """Before that, and for a study whose estimate is remembered, nothing waits."""
    study = study_of("gaussian")
    plan = Plan(study)
    requests = RunRequests([plan], ResourcesSpec(), "laptop", tmp_path, QUIET)
    job = ("evaluate", "gaussian/ddpm")
    assert requests.of(*job).fixed is not None and not list(tmp_path.iterdir())
    assert not requests.refreshed(wait=False)
    assert requests.of(*job).fixed is not None
    assert requests.refreshed(wait=True)
    expected = Requests([plan], remembered_estimates([study], tmp_path), ResourcesSpec(), "laptop")
    assert requests.of(*job) == expected.of(*job) and expected.of(*job).fixed is None
    assert not requests.refreshed(wait=False)
    again = RunRequests([plan], ResourcesSpec(), "laptop", tmp_path, QUIET)
    assert not again.missing and again.of(*job) == expected.of(*job)


def test_only_a_changed_study_is_estimated_again(tmp_path):
    kept, changed = study_of("gaussian"), study_of("process")
    remember(StudyEstimate(), tmp_path / f"{digest(kept.canonical())}.json")
    remember(StudyEstimate(), tmp_path / f"{digest(changed.canonical())}.json")
    changed = changed.model_copy(update={"seeds": (0, 1, 2, 3, 4, 5)})
    found = RunRequests([Plan(kept), Plan(changed)], ResourcesSpec(), "laptop", tmp_path, QUIET)
    assert [study.name for study in found.missing] == ["process"]


def test_a_run_prints_the_sum_and_a_dry_run_only_if_it_is_known(tmp_path, monkeypatch, capsys):
    """The sum is that of the estimates, with the start of jobs that are forks or are not."""
    monkeypatch.chdir(tmp_path)
    print_sum(["gaussian"], "laptop", 1, compute=False, forks=False)
    assert capsys.readouterr().out == ""
    study = study_of("gaussian")
    known = {name: JobEstimate() for name in ("generate", "rehearse", "train/gaussian", "compare")}
    known |= {f"sample/{name}": JobEstimate() for name in study.methods}
    known |= {f"evaluate/{name}": JobEstimate() for name in (REAL, *study.methods)}
    remember(StudyEstimate(known), FOLDER / f"{digest(study.canonical())}.json")
    settings = ResourcesSpec()
    for forks, start in ((False, settings.start), (True, settings.fork)):
        print_sum(["gaussian"], "laptop", 1, compute=False, forks=forks)
        jobs = sum(count for _, _, count in jobs_of(Plan(study)))
        seconds = duration(jobs * start + FIXED["report"].seconds)
        assert f"{jobs + 1} jobs: {seconds} on CPU cores" in capsys.readouterr().out


@pytest.mark.parametrize(("estimate", "scale"), [(False, "laptop"), (True, "smoke")])
def test_runs_that_need_no_estimate_start_none(tmp_path, estimate, scale):
    plan = Plan(study_of("gaussian", scale))
    requests = RunRequests([plan], ResourcesSpec(estimate=estimate), scale, tmp_path, QUIET)
    assert not requests.refreshed(wait=True) and not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="NOT RUN: only Linux ends a process with its parent")
def test_the_estimation_ends_with_the_run(tmp_path):
    """A run that is killed leaves no process behind, and no estimate that failed."""
    program = (
        "import os, signal; from pathlib import Path; from plumbline.estimating import Estimation; "
        f"from plumbline.study import load_study; study = load_study({str(ROOT)!r} + "
        "'/config/studies/process.yaml', 'laptop'); "
        "print(Estimation([study], Path('known')).process.pid, flush=True); "
        "input(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process = Path("/proc") / run.stdout.readline().strip()
    while b"plumbline.estimation" not in (process / "cmdline").read_bytes() or not libraries(process):
        time.sleep(0.01)
    run.communicate("\n", timeout=60)
    end = time.monotonic() + 10
    while state(process) not in ("", "Z") and time.monotonic() < end:
        time.sleep(0.01)
    assert state(process) in ("", "Z")
    assert not list(tmp_path.rglob("*.json"))


def libraries(process: Path) -> bool:
    """Whether a process has loaded torch."""
    return "libtorch_cpu" in (process / "maps").read_text()


def state(process: Path) -> str:
    """The state letter of a process; empty if there is none."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_estimated_at_smoke_scale(name, data_of_study):
    data_of_study(name)
    study = study_of(name, "smoke")
    found = estimate_study(study)
    if found.problem:
        pytest.skip(f"NOT RUN, no data: {found.problem}")
    assert not list(found.unknown())
    for model, spec in study.models.items():
        job = found.of("train", model)
        assert job.steps == spec.training.steps
        assert job.work.operations > 0 or not job.steps
    assert remembered_estimates([study], Path("nowhere")) == {}
