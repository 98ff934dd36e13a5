"""Points on a sphere, of which the training samples are too."""

import numpy as np
import pytest
import torch
from scipy import stats

from plumbline.constraints.sphere import SphereSpec
from plumbline.datasets.von_mises_fisher import VonMisesFisherSpec

from .exact import SPLITS


def test_samples_of_all_splits_lie_on_the_circle_at_uniform_angles():
    """20,000 angles of the train split against the uniform distribution. False alarms: 1e-4."""
    spec = VonMisesFisherSpec(parts=1, splits={"train": 20_000, "validation": 40, "test": 40})
    data = spec.draw_part(0)
    circle = SphereSpec(radius="radius").build(data)
    assert (circle.violation(torch.as_tensor(data["state"].values)) < 1e-6).all()
    x = data["state"].values[:20_000]
    angles = np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) + 0.5
    assert stats.kstest(angles, "uniform").pvalue > 1e-4
    np.testing.assert_allclose(data["conditional_covariance"], np.eye(2) / 2, atol=1e-5)
    assert "component_means" not in data


def test_a_component_off_the_centre_is_a_von_mises_distribution():
    """Of the concentration r |m| / s^2 = 2 * 1.5 / 2.25, around the direction of m. False alarms: 1e-4."""
    spec = VonMisesFisherSpec(radius=2.0, means=((0.0, 1.5),), stds=(1.5,), parts=1, splits=SPLITS)
    x = spec.draw_exact(20_000, 0)
    angles = np.arctan2(-x[:, 0], x[:, 1])  # from the direction of m
    assert stats.kstest(angles, stats.vonmises(3.0 / 2.25).cdf).pvalue > 1e-4
    assert np.linalg.norm(x, axis=1) == pytest.approx(2.0, rel=1e-12)
