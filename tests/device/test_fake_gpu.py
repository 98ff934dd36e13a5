"""The fake device itself: it computes as the CPU does, refuses what a GPU refuses, and notes waits."""

import copy

import numpy as np
import pytest
import torch
from tests.device.fake_gpu import DEVICE, MixedDevicesError, fake_gpu


@pytest.fixture
def gpu():
    with fake_gpu() as device:
        yield device


def test_values_and_random_numbers_are_those_of_the_cpu(gpu):
    torch.manual_seed(0)
    x = torch.randn(3, 4, device=DEVICE)
    torch.manual_seed(0)
    on_cpu = torch.randn(3, 4)
    assert x.device == DEVICE and torch.equal(x.cpu(), on_cpu)
    assert torch.equal(torch.linalg.svd(x)[1].cpu(), torch.linalg.svd(on_cpu)[1])
    x[1].add_(1)  # through a view
    on_cpu[1].add_(1)
    assert torch.equal(x.cpu(), on_cpu)


def test_a_training_step_is_that_of_the_cpu(gpu):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1))
    other = copy.deepcopy(network).to(DEVICE)
    x = torch.randn(16, 4)
    for module, given in ((network, x), (other, x.to(DEVICE))):
        optimiser = torch.optim.AdamW(module.parameters(), lr=0.1, fused=True)
        module(given).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 0.1)
        optimiser.step()
    assert next(other.parameters()).device == DEVICE
    for name, value in network.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name].cpu(), value)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda x: x + torch.ones(3),
        lambda x: torch.stack([x[0], torch.zeros(())]),
        lambda x: x @ torch.ones(3, 3),
        lambda x: x.index_add(0, torch.arange(3), x),
        lambda x: torch.where(x > 0, x, torch.ones(3)),
    ],
    ids=["add", "stack", "matmul", "index_add", "where"],
)
def test_mixtures_are_refused(gpu, mixed):
    with pytest.raises(MixedDevicesError, match="fakegpu:0"):
        mixed(torch.ones(3, device=DEVICE))


def test_what_a_gpu_allows_is_allowed(gpu):
    x = torch.arange(3.0, device=DEVICE)
    assert (x + torch.tensor(1.0)).tolist() == [1, 2, 3]
    assert torch.where(x > 1, x, torch.tensor(0.0)).tolist() == [0, 0, 2]
    assert x[torch.tensor([2, 0])].tolist() == [2, 0]


@pytest.mark.parametrize("read", [lambda x: x.numpy(), np.asarray], ids=["numpy", "asarray"])
def test_numpy_does_not_see_the_device(gpu, read):
    with pytest.raises(RuntimeError, match="numpy"):
        read(torch.ones(3, device=DEVICE))


def test_generators_of_the_cpu_do_not_draw_on_the_device(gpu):
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(3, device=DEVICE, generator=torch.Generator())


@pytest.mark.parametrize(
    ("waiting", "count"),
    [
        (lambda x: x.sum().item(), 1),
        (lambda x: bool((x > 0).all()), 1),
        (lambda x: x[x > 0], 1),
        (lambda x: x.cpu(), 1),
        (lambda x: torch.tensor([1.0, 2.0], device=DEVICE), 1),
        (lambda x: x.unique(), 1),
        (lambda x: torch.linalg.cholesky(torch.diag(x)), 1),
        (lambda x: torch.where(x > 0, x, 0.0).cumsum(0) @ x, 0),
        (lambda x: torch.full((), 3.0, device=DEVICE), 0),
        (lambda x: torch.linalg.cholesky_ex(torch.diag(x)), 0),
        (lambda x: torch.ones(3).to(DEVICE, non_blocking=True), 0),
    ],
    ids=[
        "item",
        "bool",
        "mask",
        "cpu",
        "tensor",
        "unique",
        "cholesky",
        "where",
        "full",
        "cholesky_ex",
        "async",
    ],
)
def test_waits_are_noted(gpu, waiting, count):
    x = torch.ones(3, device=DEVICE)
    with gpu.recording() as waits:
        waiting(x)
    assert len(waits) == count, "; ".join(map(str, waits))
