"""Results of the workflow, for notebooks and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plumbline.plan import COMPARISON

if TYPE_CHECKING:
    import xarray as xr


def open_results(study: str, results: str | Path = "results") -> xr.Dataset:
    """The comparison of a study: all that its report shows, as a lazy dataset.

    Args:
        study: the name of the study.
        results: the folder that the workflow writes to.

    Raises:
        FileNotFoundError: the study has not been compared there; the message names those that have.
        CorruptStoreError: the store cannot be read.
    """
    from plumbline.storage.store import open_store

    path = Path(results) / COMPARISON.format(study=study)
    if not path.is_dir():
        there = sorted(found.parent.name for found in Path(results).glob(COMPARISON.format(study="*")))
        raise FileNotFoundError(
            f"{path} is not there. {results} has the comparisons of {', '.join(there) or 'no study'}: run the workflow for "
            f"{study!r}, or name the folder of its results."
        )
    return open_store(path)
