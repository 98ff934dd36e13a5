r"""The Frechet distance of features (Heusel et al., NeurIPS 2017, https://arxiv.org/abs/1706.08500).

The features of the samples have the mean m_1 and covariance S_1, those of the test split m_2 and S_2. The
metric is the squared distance between the Gaussians with these moments:

    d^2 = |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)).

The features are those of a classifier of the study. Values are therefore not comparable with published FIDs,
which have the features of the Inception network (see `inception_frechet`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import StringConstraints

from plumbline.datasets import AnyDataset
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._classification import class_features
from plumbline.metrics._splits import values_of
from plumbline.models import FeatureExtracting
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class FrechetSpec(MetricSpec):
    """Frechet distance to the test split in the features of a trained classifier."""

    kind: Literal["frechet"] = "frechet"
    classifier: str
    """Name of the classifier, one of the study's `models`."""
    to: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], AnyDataset] = key(
        default_factory=dict
    )
    """Other datasets by name; the distance to the test split of each is computed as well."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        classifier = by.model(self.classifier, FeatureExtracting)
        drawn = class_features(classifier, samples["state"].values, by)
        tests = {"": values_of(dataset, "test")}
        shape = samples["state"].shape[1:]
        for name, other in self.to.items():
            tests[f"_to_{name}"] = other.draw_matching("test", shape, f"to.{name}")["state"].values
        found = {}
        for suffix, test in tests.items():
            title = f"Frechet distance{suffix.replace('_', ' ')} in features of {self.classifier}"
            distance = frechet_distance(drawn, class_features(classifier, test, by))
            # Real data bounds only the distance to its own distribution: a method can be nearer to another
            # dataset.
            found[f"frechet{suffix}"] = scalar(distance, title, "lower", "squared features", floor=not suffix)
        return xr.Dataset(found)

    def depends_on(self) -> dict[str, type]:
        return {self.classifier: FeatureExtracting}


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """d^2 between the Gaussians with the moments of two sets of features (N, F) and (M, F)."""
    means = first.mean(0), second.mean(0)
    a, b = (np.cov(features, rowvar=False) for features in (first, second))
    # tr (A B)^(1/2), from the eigenvalues of the symmetric A^(1/2) B A^(1/2), which are those of A B.
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    between = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(min=0)).sum()
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * between)
