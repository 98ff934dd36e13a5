"""Whether a method has the requested labels at the cost of diversity.

A model that generates only a few unambiguous images is more accurate than real data. If its recall is also
less than half the recall of real data, its samples are marked as collapsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plumbline.metrics import scalar, standardised
from plumbline.metrics.precision_recall import fraction_on_manifold

if TYPE_CHECKING:
    import xarray as xr

# Fraction of real data's recall below which samples that are more accurate than real data are collapsed.
LEAST_FRACTION = 0.5


def beside_real_data(
    accuracy: float, real: float, samples: xr.Dataset, dataset: xr.Dataset, neighbours: int
) -> dict[str, xr.DataArray]:
    """The recall relative to that of the validation split, and whether the samples have collapsed.

    Args:
        accuracy: how often samples have the requested label.
        real: how often samples of the test split have their own label.
        samples: the samples.
        dataset: the dataset.
        neighbours: number of nearest neighbours for recall.
    """
    drawn, test = standardised(samples, dataset, "test")
    _, held = standardised(samples, dataset, "validation")
    recall, possible = (fraction_on_manifold(test, points, neighbours) for points in (drawn, held))
    collapsed = accuracy > real and recall < LEAST_FRACTION * possible
    return {
        "recall_over_real": scalar(recall / possible, "recall relative to real data", "higher"),
        "collapsed": scalar(collapsed, "collapse", "neither"),
    }
