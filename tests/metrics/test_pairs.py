"""Metrics of all pairs in blocks: the same values, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from plumbline.metrics import _pairs
from plumbline.metrics._pairs import Distances, Pairs
from plumbline.metrics.mmd import MMDSpec
from plumbline.metrics.precision_recall import PrecisionRecallSpec, fraction_on_manifold

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((203, 3)), 0.3 + 1.2 * RNG.standard_normal((203, 3))


@pytest.fixture(params=[1, 50, 10**4])
def in_blocks(request, monkeypatch):
    """Nothing is kept, and blocks have few distances."""
    monkeypatch.setattr(_pairs, "KEPT", 0)
    monkeypatch.setattr(_pairs, "BLOCK", request.param)
    monkeypatch.setattr(_pairs, "BINS", 8)


def values():
    pairs = Pairs.of(X, Y)
    metrics = (MMDSpec(), PrecisionRecallSpec(), PrecisionRecallSpec(neighbours=1))
    return [metric.values(p) for metric in metrics for p in (pairs, pairs.without(np.arange(0, 203, 7)))]


WHOLE = values()


def test_metrics_in_blocks_have_the_same_values(in_blocks):
    for whole, blocked in zip(WHOLE, values(), strict=True):
        assert blocked == pytest.approx(whole, rel=1e-12)
    assert fraction_on_manifold(X, Y, 3) == np.mean(
        (cdist(X, Y) <= np.sort(cdist(Y, Y), axis=1)[:, 3]).any(1)
    )


@pytest.mark.parametrize("points", [2, 3, 40, 41])
@pytest.mark.parametrize("kind", ["continuous", "ties", "equal"])
def test_the_median_in_blocks_is_exact(points, kind, in_blocks):
    x = {"continuous": X, "ties": np.round(X), "equal": np.ones_like(X)}[kind][:points]
    assert Distances(x, x).median_apart() == np.median(pdist(x))


def test_memory_is_that_of_a_few_blocks(monkeypatch):
    """3,000 samples: three matrices of 72 MB if they were kept, blocks of half a megabyte if not."""
    monkeypatch.setattr(_pairs, "KEPT", 0)
    monkeypatch.setattr(_pairs, "BLOCK", 2**16)
    x, y = RNG.standard_normal((3000, 2)), RNG.standard_normal((3000, 2))
    tracemalloc.start()
    MMDSpec().values(Pairs.of(x, y))
    PrecisionRecallSpec().values(Pairs.of(x, y))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6
