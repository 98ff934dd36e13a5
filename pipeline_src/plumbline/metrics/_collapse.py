"""Whether having what was asked for was bought with diversity.

A model that draws few images that the classifier cannot doubt is right more often than real data is: with a recall of less than
half of that of real data this is collapse, and marked as such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plumbline.metrics import scalar, standardised
from plumbline.metrics.precision_recall import fraction_on_manifold

if TYPE_CHECKING:
    import xarray as xr

# Share of the recall of real data below which an accuracy above that of real data is collapse.
LEAST_SHARE = 0.5


def beside_real_data(
    accuracy: float, real: float, samples: xr.Dataset, dataset: xr.Dataset, neighbours: int
) -> dict[str, xr.DataArray]:
    """Recall over that of the validation split, and whether samples have collapsed.

    Args:
        accuracy: how often samples have what was asked for.
        real: the same of the test split.
        samples: the samples.
        dataset: the data.
        neighbours: k of the nearest neighbours that recall is told by.
    """
    drawn, test = standardised(samples, dataset, "test")
    _, held = standardised(samples, dataset, "validation")
    recall, possible = (fraction_on_manifold(test, points, neighbours) for points in (drawn, held))
    collapsed = accuracy > real and recall < LEAST_SHARE * possible
    return {
        "recall_over_real": scalar(recall / possible, "recall over that of real data", "higher"),
        "collapsed": scalar(collapsed, "collapse", "neither"),
    }
